-- name: bodies_begin
SELECT linked, linked_at, hash, generation, stored, damaged
FROM bodies_begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: bodies_finish
SELECT id, created_at
FROM bodies_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);
