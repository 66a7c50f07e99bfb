-- name: idempotency_find
SELECT k.key, o.* FROM idempotency_keys AS k JOIN objects AS o ON o.id = k.object AND o.tenant = k.tenant
WHERE k.tenant = $1 AND k.key = ANY ($2) AND k.expires_at > catalog_clock();
