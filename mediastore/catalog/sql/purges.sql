-- name: cdn_wanted
-- Seldom enough that processes do not wait for each other at the row.
INSERT INTO cdns AS c (name, wanted_until) VALUES ($1, catalog_clock() + make_interval(secs => $2))
ON CONFLICT (name) DO UPDATE SET wanted_until = excluded.wanted_until
WHERE c.wanted_until < excluded.wanted_until - make_interval(secs => $2 / 2);

-- name: purges_claim
SELECT id, tag, again, attempts FROM purges_claim_v1($1, $2, $3, $4);

-- name: purges_sent
SELECT purges_sent_v1($1, $2, $3);

-- name: purges_failed
SELECT purges_failed_v1($1, $2, $3, $4, $5, $6, $7);

-- name: purges_standing
-- Counted up to $1. The oldest: of those that the CDN has got no first time yet.
SELECT c.name AS cdn, c.wanted_until, nullif(c.next_call_at, '-infinity') AS next_call_at,
       (SELECT count(*) FROM (
           SELECT 1 FROM purges AS p WHERE p.cdn = c.name AND p.parked_at IS NULL LIMIT $1) AS few) AS waiting,
       (SELECT count(*) FROM (
           SELECT 1 FROM purges AS p WHERE p.cdn = c.name AND p.parked_at IS NOT NULL LIMIT $1) AS few) AS parked,
       coalesce((SELECT extract(epoch FROM catalog_clock() - min(few.created_at)) FROM (
           SELECT p.created_at FROM purges AS p WHERE p.cdn = c.name AND NOT p.again AND p.parked_at IS NULL
           ORDER BY p.retry_at LIMIT $1) AS few), 0)::double precision AS oldest_unsent_seconds
FROM cdns AS c ORDER BY c.name;

-- name: purges_list
SELECT id, cdn, tag, again, created_at, attempts, retry_at, parked_at, last_error FROM purges
WHERE ($1::text IS NULL OR cdn = $1) AND (NOT $2 OR parked_at IS NOT NULL)
ORDER BY id LIMIT $3;

-- name: purges_retry
-- Parked ones, as if they were new.
WITH changed AS (
    UPDATE purges SET parked_at = NULL, retry_at = catalog_clock(), attempts = 0
    WHERE parked_at IS NOT NULL AND ($1::text IS NULL OR cdn = $1)
    RETURNING 1
) SELECT count(*) FROM changed;

-- name: purges_sweep
-- Purges of CDNs that no process has told of for long.
WITH gone AS (
    DELETE FROM purges WHERE id IN (
        SELECT p.id FROM cdns AS c JOIN purges AS p ON p.cdn = c.name
        WHERE c.wanted_until <= (SELECT catalog_clock()) LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
    RETURNING 1
) SELECT count(*) FROM gone;
