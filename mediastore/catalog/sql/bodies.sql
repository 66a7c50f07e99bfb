-- name: bodies_begin
SELECT linked, linked_at, hash, generation, stored, damaged
FROM bodies_begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: bodies_finish
SELECT id, created_at
FROM bodies_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: idempotency_find_many
SELECT k.key, o.* FROM idempotency_keys AS k JOIN objects AS o ON o.id = k.object AND o.tenant = k.tenant
WHERE k.tenant = $1 AND k.key = ANY ($2) AND k.expires_at > catalog_clock();
