-- name: upload_find
SELECT tenant, owner, state, "offset", length, created_at, expires_at FROM uploads WHERE id = $1;

-- name: blob_standing
SELECT b.size, b.refs, b.created_at, g.since AS garbage_since, length(m.entries) / 40 AS chunks,
       q.since AS put_aside_since
FROM blobs AS b LEFT JOIN garbage AS g ON g.blob = b.hash LEFT JOIN manifests AS m ON m.blob = b.hash
LEFT JOIN blob_quarantine AS q ON q.blob = b.hash
WHERE b.hash = $1;

-- name: blob_objects
SELECT id, tenant, owner, deleted_at, purge_at FROM objects WHERE blob = $1 ORDER BY id LIMIT $2;

-- name: blob_variants
SELECT blob, transform FROM variants WHERE result = $1 ORDER BY blob, transform LIMIT $2;

-- name: blob_tombstones
SELECT id, size, length(entries) / 40 AS chunks, since FROM tombstones WHERE blob = $1 ORDER BY id DESC LIMIT $2;

-- name: blob_unlinking
SELECT coalesce(sum(length(entries) / 40 - cursor), 0)::bigint FROM unlinking WHERE blob = $1;

-- name: tombstone_doomed
-- Keys of a removed blob that still wait.
SELECT count(*) AS count, coalesce(sum(d.size), 0)::bigint AS bytes, min(d.since) AS oldest, max(d.since) AS newest,
       count(d.claimed_at) AS claimed
FROM (SELECT DISTINCT m.hash FROM tombstones AS t CROSS JOIN LATERAL manifest_entries_v1(t.entries) AS m
      WHERE t.id = $1) AS e JOIN doomed AS d ON d.hash = e.hash;

-- name: chunk_standing
SELECT generation, size, refs, stored, damaged_at FROM chunks WHERE hash = $1;

-- name: chunk_doomed
SELECT d.generation, d.size, d.since, d.claimed_at, d.retry_at, d.attempts, d.last_error, d.kept_by_recount,
       (SELECT count(*) FROM held_keys AS h WHERE h.hash = d.hash) AS holds
FROM doomed AS d WHERE d.hash = $1 ORDER BY d.generation;

-- name: chunk_quarantined
SELECT min(since) FROM quarantine WHERE hash = $1;

-- name: chunk_in_uploads
SELECT upload, count(*) AS times FROM upload_chunks WHERE hash = $1 GROUP BY upload ORDER BY upload;

-- name: chunk_in_unlinking
SELECT u.id, count(*) AS times FROM unlinking AS u
CROSS JOIN LATERAL manifest_entries_v1(substr(u.entries, u.cursor * 40 + 1)) AS e
WHERE position($1 IN u.entries) > 0 AND e.hash = $1 GROUP BY u.id ORDER BY u.id;

-- name: chunk_in_manifests
-- One page behind $1: how many manifests, the last one, and those that name $2 with how often.
WITH page AS MATERIALIZED (SELECT blob, entries FROM manifests WHERE blob > $1 ORDER BY blob LIMIT $3)
SELECT (SELECT count(*) FROM page) AS rows, (SELECT blob FROM page ORDER BY blob DESC LIMIT 1) AS last,
       array(SELECT blob FROM page WHERE position($2 IN entries) > 0 ORDER BY blob) AS blobs,
       array(SELECT (SELECT count(*) FROM manifest_entries_v1(p.entries) AS e WHERE e.hash = $2)
             FROM page AS p WHERE position($2 IN entries) > 0 ORDER BY blob) AS times;

-- name: manifests_about
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'manifests'::regclass;
