-- name: stage_counts
-- Exact in this snapshot: what was folded, and what has changed since.
SELECT stage, hour, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
FROM (SELECT stage, hour, count, bytes FROM stage_counts UNION ALL SELECT stage, hour, count, bytes FROM stage_changes)
    AS c
GROUP BY stage, hour HAVING sum(count) <> 0 OR sum(bytes) <> 0 ORDER BY stage, hour;

-- name: stage_changes_fold
SELECT stage_changes_fold_v1($1);

-- name: stage_counts_rebuild
SELECT stage_counts_rebuild_v2();

-- name: uncounted_stages
-- Stages that are small when collectors run: looked at, up to $1 rows each.
SELECT 'uploads_expired' AS stage, count(*) AS rows, count(*) AS count, coalesce(sum("offset"), 0)::bigint AS bytes,
       min(expires_at) AS oldest
FROM (SELECT "offset", expires_at FROM uploads WHERE expires_at <= (SELECT catalog_clock()) AND state = 'open'
      ORDER BY expires_at LIMIT $1) AS u
UNION ALL
SELECT 'unlinking', count(*), coalesce(sum(rest), 0)::bigint, 0, min(since)
FROM (SELECT length(entries) / 40 - cursor AS rest, since FROM unlinking ORDER BY id LIMIT $1) AS u
UNION ALL
SELECT 'erasures', count(*), count(*), 0, min(asked_at)
FROM (SELECT asked_at FROM erasures WHERE finished_at IS NULL ORDER BY asked_at LIMIT $1) AS e
UNION ALL
SELECT 'quarantine', count(*), count(*), coalesce(sum(size), 0)::bigint, min(since)
FROM (SELECT c.size, q.since FROM quarantine AS q LEFT JOIN chunks AS c ON c.hash = q.hash ORDER BY q.id LIMIT $1) AS q
UNION ALL
SELECT 'blob_quarantine', count(*), count(*), coalesce(sum(size), 0)::bigint, min(since)
FROM (SELECT b.size, q.since FROM blob_quarantine AS q JOIN blobs AS b ON b.hash = q.blob LIMIT $1) AS q
UNION ALL
SELECT 'damaged', count(*), count(*), coalesce(sum(size), 0)::bigint, min(damaged_at)
FROM (SELECT size, damaged_at FROM chunks WHERE damaged_at IS NOT NULL ORDER BY damaged_at LIMIT $1) AS d;
