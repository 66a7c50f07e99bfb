-- name: pictures_ask
SELECT pictures_ask_v1($1, $2);

-- name: picture_claim
SELECT blob, size, keep_captured, attempts FROM picture_claim_v1($1);

-- name: picture_end
UPDATE media SET state = $3, probe = coalesce($4::jsonb, probe), failed = $5
WHERE blob = $1 AND attempts = $2 AND state = 'waiting' RETURNING blob;

-- name: picture_put_off
UPDATE media SET retry_at = catalog_clock() + make_interval(secs => $3)
WHERE blob = $1 AND attempts = $2 AND state = 'waiting';

-- name: picture_give_back
-- As if it had not been claimed: its number is free again, since its holder ends here.
UPDATE media SET retry_at = catalog_clock() + make_interval(secs => $3), attempts = attempts - 1
WHERE blob = $1 AND attempts = $2 AND state = 'waiting';

-- name: pictures_backlog
SELECT waiting,
       coalesce(extract(epoch FROM catalog_clock() - oldest_waiting_at), 0)::double precision AS oldest_waiting_seconds
FROM pictures_backlog_v1($1);
