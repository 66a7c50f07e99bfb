-- name: erasure_scope
-- What an erasure of a tenant ($1), one of its owners ($2) or one object ($3) would mean now, and the first hold on it.
WITH live AS (
    SELECT count(*) FILTER (WHERE deleted_at IS NULL) AS objects, count(*) FILTER (WHERE deleted_at IS NOT NULL) AS trash,
           coalesce(sum(size), 0)::bigint AS bytes FROM objects
    WHERE tenant = $1 AND ($2::text IS NULL OR owner = $2) AND ($3::uuid IS NULL OR id = $3)
), gone AS (
    SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes FROM purged_objects
    WHERE tenant = $1 AND ($2::text IS NULL OR owner = $2) AND ($3::uuid IS NULL OR id = $3)
), begun AS (
    SELECT count(*) AS uploads, coalesce(sum("offset"), 0)::bigint AS bytes FROM uploads
    WHERE tenant = $1 AND ($2::text IS NULL OR owner = $2) AND ($3::uuid IS NULL OR id = $3)
)
SELECT live.objects AS live, live.trash, gone.objects AS purged, begun.uploads,
       live.bytes + gone.bytes + begun.bytes AS bytes, h.id AS hold, h.why AS hold_why
FROM live, gone, begun, erasure_hold_v1($1, $2, $3) AS h;

-- name: erasure_tenant_of
SELECT tenant FROM objects WHERE id = $1 UNION SELECT tenant FROM purged_objects WHERE id = $1
UNION SELECT tenant FROM uploads WHERE id = $1
UNION SELECT e.tenant FROM erasures AS e WHERE e.object = $1 AND e.finished_at IS NULL LIMIT 1;

-- name: erasure_tenant_known
SELECT EXISTS (SELECT 1 FROM tenants WHERE id = $1);

-- name: erasure_unfinished_same
-- One that was asked for already and covers all there is.
SELECT e.id FROM erasures AS e
WHERE e.finished_at IS NULL AND e.tenant = $1 AND e.owner IS NOT DISTINCT FROM $2 AND e.object IS NOT DISTINCT FROM $3
  AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.tenant = $1 AND ($2::text IS NULL OR o.owner = $2)
                  AND ($3::uuid IS NULL OR o.id = $3) AND o.created_at > e.asked_at)
  AND NOT EXISTS (SELECT 1 FROM uploads AS u WHERE u.tenant = $1 AND ($2::text IS NULL OR u.owner = $2)
                  AND ($3::uuid IS NULL OR u.id = $3) AND u.created_at > e.asked_at)
ORDER BY e.asked_at LIMIT 1;

-- name: erasure_add
SELECT erasure_add_v1($1, $2, $3, $4, $5, $6);

-- name: erasure_get
SELECT id, tenant, owner, object, why, asked_at, recorded_at, removed_at, marked_at, finished_at, keys, key_bytes
FROM erasures WHERE id = $1;

-- name: erasures_list
SELECT id, tenant, owner, object, why, asked_at, recorded_at, removed_at, marked_at, finished_at, keys, key_bytes
FROM erasures WHERE finished_at IS NULL OR NOT $1 ORDER BY asked_at, id LIMIT $2;

-- name: erasures_to_remove
-- Those whose rows can go now: no hold keeps any of it.
SELECT id, tenant, owner, object, why, asked_at, recorded_at, removed_at, marked_at, finished_at, keys, key_bytes
FROM erasures AS e
WHERE finished_at IS NULL AND removed_at IS NULL AND (erasure_hold_v1(e.tenant, e.owner, e.object)).id IS NULL
ORDER BY asked_at, id LIMIT $1;

-- name: erasures_to_mark
SELECT id FROM erasures WHERE finished_at IS NULL AND removed_at IS NOT NULL AND marked_at IS NULL ORDER BY asked_at, id
LIMIT $1;

-- name: erasures_known
SELECT id FROM erasures WHERE id = ANY ($1);

-- name: erasure_recorded
UPDATE erasures SET recorded_at = catalog_clock() WHERE id = $1 AND recorded_at IS NULL;

-- name: erase_upload
SELECT erase_upload_v1($1, $2);

-- name: erase_objects
SELECT objects, last, mended FROM erase_objects_v2($1, $2, $3);

-- name: erase_purged
SELECT erase_purged_v1($1, $2);

-- name: erasure_removed
SELECT erasure_removed_v2($1);

-- name: erasure_waits
-- For transactions that were under way when it was asked for: they may have made objects that nobody sees yet. Those of
-- the server's other databases count as well, which costs time and nothing else.
SELECT removed_at IS NULL AND transaction >= pg_snapshot_xmin(pg_current_snapshot()) FROM erasures WHERE id = $1;

-- name: erase_variants
SELECT erase_variants_v2($1, $2);

-- name: erasure_mark
SELECT erasure_mark_v2($1, $2);

-- name: erasures_finish
WITH finished AS (
    UPDATE erasures AS e SET finished_at = catalog_clock()
    WHERE e.marked_at IS NOT NULL AND e.finished_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM doomed AS d WHERE d.erasure = e.id)
      AND NOT EXISTS (SELECT 1 FROM erased_other_keys AS k
                      JOIN doomed AS d ON d.hash = k.hash AND d.generation = k.generation WHERE k.erasure = e.id)
    RETURNING 1
) SELECT count(*) FROM finished;

-- name: erasure_standing
-- Keys that still wait: for a recount or a worker (`ready`), or for their window, since somebody else had them as well.
SELECT (SELECT count(*) FROM erased_objects AS o WHERE o.erasure = $1 AND o.kind = 'object') AS objects,
       (SELECT count(*) FROM erased_objects AS o WHERE o.erasure = $1 AND o.kind = 'upload') AS uploads,
       (SELECT coalesce(sum(o.size), 0)::bigint FROM erased_objects AS o WHERE o.erasure = $1) AS bytes,
       d.ready AS waiting_keys, d.ready_bytes AS waiting_bytes, d.others AS window_keys, d.others_bytes AS window_bytes,
       d.newest AS window_newest, s.chunks AS shared_chunks, s.bytes AS shared_bytes
FROM (SELECT count(*) FILTER (WHERE is_ready) AS ready,
             coalesce(sum(size) FILTER (WHERE is_ready), 0)::bigint AS ready_bytes,
             count(*) FILTER (WHERE NOT is_ready) AS others,
             coalesce(sum(size) FILTER (WHERE NOT is_ready), 0)::bigint AS others_bytes,
             max(since) FILTER (WHERE NOT is_ready) AS newest
      FROM (SELECT w.size, w.since, w.erased_at IS NOT NULL OR w.claimed_at IS NOT NULL AS is_ready
            FROM (SELECT m.* FROM doomed AS m WHERE m.erasure = $1
                  UNION ALL
                  SELECT o.* FROM erased_other_keys AS k
                  JOIN doomed AS o ON o.hash = k.hash AND o.generation = k.generation WHERE k.erasure = $1) AS w) AS u)
      AS d,
     (SELECT count(*) AS chunks, coalesce(sum(size), 0)::bigint AS bytes FROM erased_shared_chunks WHERE erasure = $1)
     AS s;

-- name: erasure_contents
-- What was erased, by id; a blob that is still there is somebody else's as well.
SELECT o.id, o.kind, o.blob, o.size, EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = o.blob AND b.refs > 0) AS shared
FROM erased_objects AS o WHERE o.erasure = $1 AND o.id > $2 ORDER BY o.id LIMIT $3;

-- name: erasure_of_object
SELECT e.id, e.asked_at FROM erased_objects AS o JOIN erasures AS e ON e.id = o.erasure
WHERE o.id = $1 ORDER BY e.asked_at DESC LIMIT 1;

-- name: erasures_old
SELECT id FROM erasures WHERE finished_at <= (SELECT catalog_clock()) - make_interval(secs => $1) ORDER BY finished_at
LIMIT $2;

-- name: erasures_forget
WITH gone AS (DELETE FROM erasures WHERE id = ANY ($1) AND finished_at IS NOT NULL RETURNING 1)
SELECT count(*) FROM gone;
