-- name: variants_find
SELECT transform, result, size, width, height, frames, created_at FROM variants_find_v1($1, $2);

-- name: variant_take
SELECT state, failed, detail FROM variant_take_v1($1, $2, $3, $4);

-- name: variant_give_up
SELECT variant_give_up_v1($1, $2, $3);

-- name: variant_fail
SELECT variant_fail_v1($1, $2, $3, $4, $5, $6);

-- name: variant_begin
SELECT linked, hash, generation, stored, damaged
FROM variant_begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: variant_finish
SELECT variant_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: variants_release
SELECT variants, put_aside FROM variants_release_v2($1, $2, $3);

-- name: variants_sweep
SELECT variants_sweep_v1($1, $2);
