-- name: hold_add
SELECT hold, keys, claimed FROM hold_add_v1($1, $2, $3, $4);

-- name: holds_list
SELECT h.id, h.tenant, h.owner, h.object, h.why, h.created_at,
       (SELECT count(*) FROM held_keys AS k WHERE k.hold = h.id) AS keys
FROM holds AS h ORDER BY h.id;

-- name: holds_count
SELECT count(*) FROM holds;

-- name: hold_remove
DELETE FROM holds WHERE id = $1 RETURNING id;

-- name: holds_of
SELECT id, tenant, owner, object, why, created_at, 0::bigint AS keys FROM holds
WHERE tenant = $1 AND (owner IS NULL OR owner = $2) AND (object IS NULL OR object = $3) ORDER BY id;

-- name: held_due
-- What a hold keeps of what would be due, or a blob that was put aside, by stage and hour as kept counts have it: of trash, of garbage (revive delay
-- $1) and of doomed keys (recovery window with its margin $2), in seconds. Collectors leave little of what is due but
-- what is held, so looking at the first $3 that are due finds it; `looked` is how many there were.
WITH clock AS MATERIALIZED (SELECT catalog_clock() AS now),
trash AS (
    SELECT 'trash' AS stage, o.purge_at AS at, o.size::bigint AS size, object_is_held_v1(o.tenant, o.owner, o.id) AS held,
           EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = o.blob) AS aside
    FROM objects AS o WHERE o.purge_at <= (SELECT now FROM clock) ORDER BY o.purge_at LIMIT $3
), garbage AS (
    SELECT 'garbage' AS stage, g.since AS at, b.size, blob_is_held_v1(g.blob) AS held,
           EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = g.blob) AS aside
    FROM (SELECT blob, since FROM garbage WHERE since <= (SELECT now FROM clock) - make_interval(secs => $1)
          ORDER BY since LIMIT $3) AS g JOIN blobs AS b ON b.hash = g.blob
), doomed AS (
    SELECT 'doomed' AS stage, d.since AS at, d.size::bigint AS size,
           EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = d.hash) AND d.claimed_at IS NULL
           AND d.kept_by_recount IS NULL AND d.retry_at IS NULL AND d.erased_at IS NULL AS held, false AS aside
    FROM (SELECT * FROM doomed WHERE since <= (SELECT now FROM clock) - make_interval(secs => $2)
          ORDER BY since LIMIT $3) AS d
), looked AS (
    SELECT * FROM trash UNION ALL SELECT * FROM garbage UNION ALL SELECT * FROM doomed
)
SELECT stage, hour_of_v1(at) AS hour, count(*) FILTER (WHERE held AND NOT aside) AS count,
       coalesce(sum(size) FILTER (WHERE held AND NOT aside), 0)::bigint AS bytes,
       count(*) FILTER (WHERE aside) AS aside_count, coalesce(sum(size) FILTER (WHERE aside), 0)::bigint AS aside_bytes,
       count(*) AS looked
FROM looked GROUP BY stage, hour_of_v1(at) ORDER BY stage, hour_of_v1(at);
