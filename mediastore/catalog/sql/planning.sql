-- name: plan_tenants
-- What is due, by tenant; $1 overrides the tenants' trash policy, $2 revive delay in seconds, $3 how many tenants.
WITH clock AS MATERIALIZED (SELECT catalog_clock() AS now),
trash AS (
    SELECT o.tenant, count(*) AS count, sum(o.size) AS bytes FROM objects AS o
    WHERE o.purge_at IS NOT NULL
      AND CASE WHEN $1::bigint IS NULL THEN o.purge_at ELSE o.deleted_at + make_interval(secs => $1) END
          <= (SELECT now FROM clock)
      AND NOT object_is_held_v1(o.tenant, o.owner, o.id)
      AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = o.blob)
    GROUP BY o.tenant
), garbage AS (
    SELECT d.tenant, count(*) AS count, sum(b.size) AS bytes
    FROM (SELECT DISTINCT p.tenant, g.blob FROM garbage AS g JOIN purged_objects AS p ON p.blob = g.blob
          WHERE g.since <= (SELECT now FROM clock) - make_interval(secs => $2) AND NOT blob_is_held_v1(g.blob)
            AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = g.blob)) AS d
    JOIN blobs AS b ON b.hash = d.blob GROUP BY d.tenant
)
SELECT tenant, coalesce(t.count, 0) AS trash_objects, coalesce(t.bytes, 0)::bigint AS trash_bytes,
       coalesce(g.count, 0) AS garbage_blobs, coalesce(g.bytes, 0)::bigint AS garbage_bytes
FROM trash AS t FULL JOIN garbage AS g USING (tenant)
ORDER BY coalesce(t.bytes, 0) + coalesce(g.bytes, 0) DESC, tenant LIMIT $3;

-- name: plan_ages
-- What is due, by how many days ago it became so: under 1, 7, 30, or more. $3: recovery window with its margin.
WITH clock AS MATERIALIZED (SELECT catalog_clock() AS now),
due AS (
    SELECT 'trash' AS stage, o.size::bigint AS size,
           CASE WHEN $1::bigint IS NULL THEN o.purge_at ELSE o.deleted_at + make_interval(secs => $1) END AS due
    FROM objects AS o WHERE o.purge_at IS NOT NULL AND NOT object_is_held_v1(o.tenant, o.owner, o.id)
      AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = o.blob)
    UNION ALL
    SELECT 'garbage', b.size, g.since + make_interval(secs => $2)
    FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob WHERE NOT blob_is_held_v1(g.blob)
      AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = g.blob)
    UNION ALL
    SELECT 'doomed', d.size, d.since + make_interval(secs => $3)
    FROM doomed AS d WHERE NOT EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = d.hash)
)
SELECT d.stage, CASE WHEN d.age < interval '1 day' THEN 1 WHEN d.age < interval '7 days' THEN 7
                     WHEN d.age < interval '30 days' THEN 30 END AS days_under,
       count(*) AS count, coalesce(sum(d.size), 0)::bigint AS bytes
FROM (SELECT due.stage, due.size, clock.now - due.due AS age FROM due CROSS JOIN clock WHERE due.due <= clock.now) AS d
GROUP BY 1, 2 ORDER BY 1 DESC, 2 NULLS LAST;
