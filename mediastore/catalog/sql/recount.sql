-- name: recount_start
-- Committed before the pass reads anything: only rows doomed by then can be cleared by it (INV-7).
INSERT INTO recounts (incarnation, snapshot, started_at)
SELECT incarnation, pg_current_snapshot(), catalog_clock() FROM gc_state WHERE incarnation = $1
RETURNING id, started_at, pg_postmaster_start_time() AS server_started_at;

-- name: recount_expectation
SELECT (SELECT count(*) FROM manifests) AS manifests,
       EXISTS (SELECT 1 FROM chunks) AS has_chunks;

-- name: recount_unlinking_last
SELECT coalesce(max(id), 0) FROM unlinking;

-- name: recount_removed_since
-- An hour is longer than any transaction of the collector, so no removal is missed.
SELECT count(*) FROM tombstones WHERE since >= $1::timestamptz - interval '1 hour';

-- name: recount_doomed_count
SELECT count(*) FROM doomed;

-- name: recount_doomed
SELECT hash FROM doomed;

-- name: recount_upload_chunks_count
SELECT count(*) FROM upload_chunks;

-- name: recount_upload_chunks
SELECT hash FROM upload_chunks;

-- name: recount_unlinking_lists
-- Entries at and past the cursor; long lists ($3 bytes) are read piece by piece.
SELECT id, NULL AS size, cursor * 40 AS start, length(entries) AS length,
       CASE WHEN length(entries) - cursor * 40 <= $3 THEN substr(entries, cursor * 40 + 1) END AS entries
FROM unlinking WHERE id > $1 AND id <= $2 ORDER BY id;

-- name: recount_unlinking_piece
SELECT substr(entries, $2 + 1, $3) FROM unlinking WHERE id = $1;

-- name: recount_manifest_lists
SELECT b.hash, b.size, 0 AS start, length(m.entries) AS length,
       CASE WHEN length(m.entries) <= $2 THEN m.entries END AS entries
FROM blobs AS b LEFT JOIN manifests AS m ON m.blob = b.hash
WHERE b.hash > $1 ORDER BY b.hash;

-- name: recount_manifest_piece
SELECT substr(entries, $2 + 1, $3) FROM manifests WHERE blob = $1;

-- name: recount_erased
SELECT EXISTS (SELECT 1 FROM doomed WHERE erased_at IS NOT NULL);

-- name: recount_tombstone_lists
-- What blobs were made of that were removed within the window ($3, in seconds), but for what was erased.
SELECT id, size, 0 AS start, length(entries) AS length, CASE WHEN length(entries) <= $2 THEN entries END AS entries
FROM tombstones
WHERE id > $1 AND erasure IS NULL AND since > (SELECT catalog_clock()) - make_interval(secs => $3) ORDER BY id;

-- name: recount_tombstone_piece
SELECT substr(entries, $2 + 1, $3) FROM tombstones WHERE id = $1;

-- name: recount_spare
-- Keys of erased chunks that somebody else had as well wait for their window like any others.
SELECT recount_spare_v1($1);

-- name: recount_keep
-- Of the hashes that the filter let through, those that are doomed indeed.
WITH kept AS (
    INSERT INTO recount_kept (recount, hash)
    SELECT $1, h.hash FROM (SELECT DISTINCT u.hash FROM unnest($2::bytea[]) AS u (hash)) AS h
    WHERE EXISTS (SELECT 1 FROM doomed AS d WHERE d.hash = h.hash)
    ORDER BY h.hash
    ON CONFLICT DO NOTHING RETURNING 1
) SELECT count(*) FROM kept;

-- name: recount_finish
-- Only of the server that it began on: behind a failover that lost commits, a reference may be back where the pass has
-- been already (docs/model/recount.pml).
UPDATE recounts SET finished_at = catalog_clock(), references_read = $2, manifests_read = $3, tombstones_read = true
WHERE id = $1 AND finished_at IS NULL AND incarnation = (SELECT incarnation FROM gc_state)
  AND pg_postmaster_start_time() = $4
RETURNING id;

-- name: recount_last
SELECT r.id, r.started_at, r.finished_at, r.references_read, r.manifests_read,
       (SELECT count(*) FROM recount_kept AS k WHERE k.recount = r.id) AS hashes_seen
FROM recounts AS r JOIN gc_state AS s ON s.incarnation = r.incarnation
WHERE r.finished_at IS NOT NULL ORDER BY r.id DESC LIMIT 1;
