-- name: collector_state
SELECT incarnation, batch_counter, clock_high, paused_at, paused_why, catalog_clock() AS now FROM gc_state;

-- name: collector_lock
SELECT clock_high AS now, batch_counter FROM collector_lock_v1($1, $2, $3);

-- name: collector_pause
UPDATE gc_state SET paused_at = catalog_clock(), paused_why = $1;

-- name: collector_resume
UPDATE gc_state SET paused_at = NULL, paused_why = NULL;

-- name: uploads_expire
SELECT uploads, bytes, entries FROM uploads_expire_v4($1, $2);

-- name: trash_purge
SELECT objects, garbage_blobs, put_aside FROM trash_purge_v4($1, $2);

-- name: garbage_remove
SELECT blobs, bytes, put_aside FROM garbage_remove_v3($1, $2);

-- name: references_release
SELECT entries, doomed_keys, doomed_bytes, quarantined FROM references_release_v3($1);

-- name: doomed_claim
SELECT counter, kept, hashes, generations, sizes FROM doomed_claim_v3($1, $2, $3, $4, $5, $6, $7, $8);

-- name: doomed_forget
SELECT doomed_forget_v1($1, $2);

-- name: doomed_refused
SELECT doomed_refused_v1($1, $2, $3);

-- name: collection_stages
-- How much waits where. $1 overrides the tenants' trash policy, $2 revive delay, $3 recovery window with its
-- margin, $4 claim timeout, $5 how long after an erasure was asked for its keys wait for a recount to
-- share, all in seconds. `next_due` is when the first of a waiting stage moves on.
WITH clock AS MATERIALIZED (SELECT catalog_clock() AS now),
held AS MATERIALIZED (SELECT EXISTS (SELECT 1 FROM holds) AS any_hold),
newest AS MATERIALIZED (
    SELECT r.id, r.snapshot, r.started_at, r.tombstones_read FROM recounts AS r JOIN gc_state AS s ON s.incarnation = r.incarnation
    WHERE r.finished_at IS NOT NULL ORDER BY r.id DESC LIMIT 1
),
trash AS (
    SELECT o.blob, o.size, o.deleted_at, clock.now,
           (SELECT any_hold FROM held) AND object_is_held_v1(o.tenant, o.owner, o.id) AS held,
           CASE WHEN $1::bigint IS NULL THEN o.purge_at ELSE o.deleted_at + make_interval(secs => $1) END AS due
    FROM objects AS o CROSS JOIN clock WHERE o.purge_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = o.blob)
)
SELECT 'now' AS stage, 0::bigint AS count, 0::bigint AS bytes, now AS oldest, NULL::timestamptz AS next_due FROM clock
UNION ALL
SELECT 'uploads_expired' AS stage, count(*) AS count, coalesce(sum("offset"), 0)::bigint AS bytes,
       min(expires_at) AS oldest, NULL::timestamptz AS next_due
FROM uploads WHERE expires_at <= (SELECT now FROM clock) AND (state = 'open' OR upload_is_damaged_v1(id))
UNION ALL
SELECT CASE WHEN due > now THEN 'trash_waiting' WHEN held THEN 'trash_held' ELSE 'trash_due' END,
       count(*), sum(size)::bigint, min(deleted_at), min(due)
FROM trash GROUP BY 1
UNION ALL
-- What the due trash would free: blobs that nothing else references.
SELECT 'trash_freed', count(*), coalesce(sum(b.size), 0)::bigint, NULL, NULL
FROM (SELECT blob, count(*) AS due FROM trash WHERE trash.due <= now AND NOT held GROUP BY blob) AS t
JOIN blobs AS b ON b.hash = t.blob WHERE t.due >= b.refs
UNION ALL
SELECT CASE WHEN g.since + make_interval(secs => $2) > clock.now THEN 'garbage_waiting'
            WHEN (SELECT any_hold FROM held) AND blob_is_held_v1(g.blob) THEN 'garbage_held' ELSE 'garbage_due' END,
       count(*), sum(b.size)::bigint, min(g.since), min(g.since) + make_interval(secs => $2)
FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob CROSS JOIN clock
WHERE NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = g.blob) GROUP BY 1
UNION ALL
-- Lists of references on their way out; counted in references, their bytes are not known here.
SELECT 'unlinking', coalesce(sum(length(entries) / 40 - cursor), 0)::bigint, 0, min(since), NULL FROM unlinking
UNION ALL
-- Erasures whose rows can be removed, or keys marked, now.
SELECT 'erasures', count(*), 0, min(asked_at), NULL FROM erasures AS e
WHERE finished_at IS NULL AND marked_at IS NULL
  AND (removed_at IS NOT NULL OR (erasure_hold_v1(e.tenant, e.owner, e.object)).id IS NULL)
UNION ALL
SELECT d.stage, count(*), sum(d.size)::bigint, min(d.since), min(d.due)
FROM (SELECT x.size, x.since,
             least(x.since + make_interval(secs => $3), e.asked_at + make_interval(secs => $5)) AS due, CASE
          WHEN x.erased_at IS NULL AND x.since + make_interval(secs => $3) > clock.now THEN 'doomed_waiting'
          WHEN x.claimed_at + make_interval(secs => $4) > clock.now THEN 'doomed_claimed'
          WHEN (SELECT any_hold FROM held) AND EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = x.hash)
              THEN 'doomed_held'
          WHEN newest.id IS NULL OR NOT pg_visible_in_snapshot(x.transaction, newest.snapshot)
              OR x.since > newest.started_at
              OR x.since + make_interval(secs => $3) > clock.now
                 AND (x.erased_at > newest.started_at OR NOT newest.tombstones_read)
              THEN CASE WHEN least(x.since + make_interval(secs => $3), e.asked_at + make_interval(secs => $5))
                             > clock.now THEN 'doomed_erased' ELSE 'doomed_unrecounted' END
          WHEN x.kept_by_recount = newest.id THEN 'doomed_kept'
          WHEN x.retry_at > clock.now THEN 'doomed_refused'
          ELSE 'doomed_due' END AS stage
      FROM doomed AS x CROSS JOIN clock LEFT JOIN newest ON true
      LEFT JOIN erasures AS e ON e.id = x.erasure AND x.erased_at IS NOT NULL) AS d GROUP BY d.stage
UNION ALL
SELECT 'quarantine', count(*), coalesce(sum(c.size), 0)::bigint, min(q.since), NULL
FROM quarantine AS q LEFT JOIN chunks AS c ON c.hash = q.hash
UNION ALL
SELECT 'blob_quarantine', count(*), coalesce(sum(b.size), 0)::bigint, min(q.since), NULL
FROM blob_quarantine AS q JOIN blobs AS b ON b.hash = q.blob
UNION ALL
SELECT 'damaged', count(*), coalesce(sum(size), 0)::bigint, min(damaged_at), NULL
FROM chunks WHERE damaged_at IS NOT NULL;

-- name: blobs_put_aside
SELECT count(*) FROM blob_quarantine;

-- name: chunks_pages
SELECT greatest(1, pg_relation_size('chunks') / current_setting('block_size')::bigint) AS pages;

-- name: chunks_total
-- Of $1 per cent of the table's pages, give or take: how many there were (but empty ones) is part of the answer.
SELECT count(*) AS count, coalesce(sum(size), 0)::bigint AS bytes, count(DISTINCT (ctid::text::point)[0]) AS pages
FROM chunks TABLESAMPLE SYSTEM ($1);

-- name: run_start
INSERT INTO gc_runs (worker, started_at) VALUES ($1, catalog_clock()) RETURNING id;

-- name: run_progress
UPDATE gc_runs SET counts = $2 WHERE id = $1;

-- name: run_finish
UPDATE gc_runs SET finished_at = catalog_clock(), outcome = $2, counts = $3 WHERE id = $1;

-- name: runs_recent
SELECT id, worker, started_at, finished_at, outcome, counts FROM gc_runs ORDER BY id DESC LIMIT $1;

-- name: reclaimed_since
SELECT coalesce(sum((counts ->> 'deleted_keys')::bigint), 0)::bigint AS count,
       coalesce(sum((counts ->> 'deleted_bytes')::bigint), 0)::bigint AS bytes
FROM gc_runs WHERE started_at > (SELECT catalog_clock()) - make_interval(secs => $1);

-- name: tombstones_sweep
SELECT tombstones_sweep_v1($1, $2);

-- name: idempotency_keys_sweep
WITH gone AS (
    DELETE FROM idempotency_keys WHERE (tenant, key) IN (
        SELECT tenant, key FROM idempotency_keys WHERE expires_at <= (SELECT catalog_clock())
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
) SELECT count(*) FROM gone;

-- name: purged_objects_sweep
SELECT purged_objects_sweep_v1($1, $2);

-- name: recounts_sweep
-- The newest finished one is what claims rest on: it stays however old it is.
WITH gone AS (
    DELETE FROM recounts WHERE started_at <= (SELECT catalog_clock()) - make_interval(secs => $1)
        AND id < (SELECT coalesce(max(id), 0) FROM recounts WHERE finished_at IS NOT NULL)
    RETURNING 1
) SELECT count(*) FROM gone;

-- name: runs_sweep
WITH gone AS (
    DELETE FROM gc_runs WHERE id IN (
        SELECT id FROM gc_runs WHERE started_at <= (SELECT catalog_clock()) - make_interval(secs => $1)
        ORDER BY started_at LIMIT $2)
    RETURNING 1
) SELECT count(*) FROM gone;

-- name: events_sweep
-- Events that nobody will take: parked long ago, or of a tenant that has had no webhook for as long.
WITH gone AS (
    DELETE FROM events WHERE id IN (
        SELECT e.id FROM events AS e
        WHERE e.created_at <= (SELECT catalog_clock()) - make_interval(secs => $1)
          AND (e.parked_at <= (SELECT catalog_clock()) - make_interval(secs => $1)
               OR NOT EXISTS (SELECT 1 FROM tenants AS t WHERE t.id = e.tenant AND t.policy ? 'webhook_url'))
        ORDER BY e.created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING 1
) SELECT count(*) FROM gone;
