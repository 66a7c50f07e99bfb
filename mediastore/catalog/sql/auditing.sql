-- name: audit_keys
-- Every key that a row names between two keys ($1, $2 not included; $3, $4 included), in the store's order: chunks and
-- doomed in one statement, because a key moves from one to the other.
SELECT k.hash, k.generation, k.size, k.state FROM (
    (SELECT c.hash, c.generation, c.size,
            CASE WHEN NOT c.stored THEN 'unstored' WHEN c.damaged_at IS NULL THEN 'stored' ELSE 'damaged' END AS state
     FROM chunks AS c
     WHERE c.hash >= $1 AND c.hash <= $3 AND (c.hash, c.generation) > ($1, $2::bigint)
       AND (c.hash, c.generation) <= ($3, $4::bigint)
     ORDER BY c.hash LIMIT $5)
    UNION ALL
    (SELECT d.hash, d.generation, d.size, 'doomed' FROM doomed AS d
     WHERE (d.hash, d.generation) > ($1, $2::bigint) AND (d.hash, d.generation) <= ($3, $4::bigint)
     ORDER BY d.hash, d.generation LIMIT $5)
) AS k ORDER BY k.hash, k.generation LIMIT $5;

-- name: audit_key_is_stored
SELECT EXISTS (SELECT 1 FROM chunks WHERE hash = $1 AND generation = $2 AND stored AND (damaged_at IS NULL OR $3));

-- name: audit_orphans_doom
SELECT keys, bytes FROM orphans_doom_v1($1, $2, $3, $4, $5, $6);

-- name: audit_estimate
-- Rows of a table as the planner believes, for progress; 0 when it was never analysed.
SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class AS c
WHERE c.relname = ANY ($1::text[]) AND c.relnamespace = current_schema()::regnamespace;

-- name: audit_chunks
SELECT hash, generation, refs, stored FROM chunks WHERE hash >= $1 AND hash <= $2;

-- name: audit_upload_chunks
SELECT hash FROM upload_chunks WHERE hash >= $1 AND hash <= $2;

-- name: audit_unlinking
SELECT id, cursor * 40 AS start, length(entries) AS length,
       CASE WHEN length(entries) - cursor * 40 <= $1 THEN substr(entries, cursor * 40 + 1) END AS entries
FROM unlinking;

-- name: audit_manifests
SELECT b.hash, b.size, length(m.entries) AS length,
       CASE WHEN length(m.entries) <= $1 THEN m.entries END AS entries
FROM blobs AS b LEFT JOIN manifests AS m ON m.blob = b.hash;

-- name: audit_blobs
-- What is wrong with each blob of a page, in one snapshot; objects and variants are counted by their indexes.
SELECT p.hash, p.refs, p.counted, p.is_garbage, p.is_put_aside
FROM (SELECT b.hash, b.refs, EXISTS (SELECT 1 FROM garbage AS g WHERE g.blob = b.hash) AS is_garbage,
             EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = b.hash) AS is_put_aside,
             (SELECT count(*) FROM objects AS o WHERE o.blob = b.hash)
             + (SELECT count(*) FROM variants AS v WHERE v.result = b.hash) AS counted
      FROM blobs AS b WHERE b.hash > $1 AND b.hash <= $2 ORDER BY b.hash LIMIT $3) AS p
ORDER BY p.hash;

-- name: audit_uploads
-- Is what an upload has acknowledged referenced without a gap, and stored (INV-1, INV-8)? Its content is the rows of
-- pass 1 below `rechunked` and those of pass 0 past it, which may overlap by one row. Not looked at: uploads that have
-- expired and parts that are being joined; their rows go, or move, in steps.
SELECT p.id, p."offset", r.gap, r.reached, r.stored
FROM (SELECT u.id, u."offset", coalesce(u.rechunked, 0) AS rechunked,
             u.joined_into IS NULL AND u.expires_at > catalog_clock() AS is_settled
      FROM uploads AS u WHERE u.id > $1 ORDER BY u.id LIMIT $2) AS p
LEFT JOIN LATERAL (
    SELECT coalesce(bool_or(e."offset" > e.reached), false) AS gap, coalesce(max(e."offset" + e.size), 0) AS reached,
           coalesce(bool_and(e.stored), true) AS stored
    FROM (SELECT c."offset", c.size,
                 coalesce(max(c."offset" + c.size) OVER (
                     ORDER BY c."offset", c.pass DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS reached,
                 coalesce((SELECT k.stored FROM chunks AS k WHERE k.hash = c.hash AND k.size = c.size), false)
                     AS stored
          FROM upload_chunks AS c
          WHERE c.upload = p.id AND c."offset" < p."offset"
            AND CASE c.pass WHEN 1 THEN c."offset" + c.size <= p.rechunked
                            ELSE c."offset" + c.size > p.rechunked END) AS e
) AS r ON p.is_settled
ORDER BY p.id;

-- name: audit_revived
-- INV-3: a doomed key that a chunk row names.
SELECT d.hash, d.generation FROM doomed AS d JOIN chunks AS c ON c.hash = d.hash AND c.generation = d.generation
ORDER BY d.hash LIMIT $1;

-- name: audit_quarantine
SELECT DISTINCT hash FROM quarantine ORDER BY hash LIMIT $1;

-- name: audit_chunk_mend
SELECT chunk_mend_v1($1, $2, $3);

-- name: audit_blob_mend
SELECT blob_mend_v2($1);

-- name: audit_lock
SELECT pg_try_advisory_lock(1835361385);

-- name: audit_unlock
SELECT pg_advisory_unlock(1835361385);

-- name: scrub_keys
SELECT hash, generation, size FROM chunks
WHERE hash > $1 AND hash <= $2 AND stored AND damaged_at IS NULL ORDER BY hash LIMIT $3;

-- name: scrub_objects_since
-- Ids are UUIDv7: they ascend with the time an upload began.
SELECT id, blob, size FROM objects WHERE id > $1 ORDER BY id LIMIT $2;

-- name: scrub_lift
-- The bytes have been put back under the row's own key, and read (INV-2).
UPDATE chunks SET damaged_at = NULL WHERE hash = $1 AND generation = $2 AND damaged_at IS NOT NULL RETURNING hash;

-- name: hurt_objects
SELECT id, tenant, owner, name, blob FROM objects WHERE blob = ANY ($1::bytea[]) ORDER BY id LIMIT $2;

-- name: hurt_uploads
SELECT DISTINCT upload FROM upload_chunks WHERE hash = ANY ($1::bytea[]) ORDER BY upload LIMIT $2;
