-- name: events_claim
SELECT id, key, tenant, kind, payload, created_at, attempts, url, secrets FROM events_claim_v1($1, $2, $3, $4, $5);

-- name: event_delivered
DELETE FROM events WHERE id = $1 AND attempts = $2;

-- name: event_put_off
UPDATE events SET retry_at = catalog_clock() + make_interval(secs => $3), last_error = left($4, 500)
WHERE id = $1 AND attempts = $2;

-- name: event_park
UPDATE events SET parked_at = catalog_clock(), last_error = left($3, 500) WHERE id = $1 AND attempts = $2;

-- name: events_backlog
-- Parked ones wait for somebody, not for a delivery.
SELECT waiting, parked,
       coalesce(extract(epoch FROM catalog_clock() - oldest_waiting_at), 0)::double precision AS oldest_waiting_seconds
FROM events_backlog_v1($1);

-- name: events_list
SELECT key, tenant, kind, created_at, attempts, retry_at, parked_at, last_error FROM events
WHERE ($1::text IS NULL OR tenant = $1) AND (NOT $2 OR parked_at IS NOT NULL)
ORDER BY id LIMIT $3;

-- name: events_retry
-- Parked ones begin anew; others are tried now. A claim that is under way may then deliver it a second time.
WITH changed AS (
    UPDATE events SET parked_at = NULL, retry_at = catalog_clock(),
        attempts = CASE WHEN parked_at IS NULL THEN attempts ELSE 0 END
    WHERE ($1::text IS NULL OR tenant = $1) AND ($2::uuid IS NULL OR key = $2)
      AND (parked_at IS NOT NULL OR $2::uuid IS NOT NULL)
    RETURNING 1
) SELECT count(*) FROM changed;
