-- name: concatenation_create
SELECT final, outcome
FROM concatenation_create_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: concatenation_join
SELECT concatenation_join_v2($1, $2, $3, $4, $5);

-- name: concatenation_get
-- `length` where every part has said its own.
SELECT c.header, c.parts[1] AS first_part, c.joined_bytes + (
    SELECT CASE WHEN count(u.length) = cardinality(c.parts) - c.joined THEN coalesce(sum(u.length), 0) END
    FROM unnest(c.parts[c.joined + 1:]) AS p (id) LEFT JOIN uploads AS u ON u.id = p.id)::bigint AS length
FROM concatenations AS c WHERE c.final = $2 AND c.tenant = $1;

-- name: concatenation_of_list
SELECT final FROM concatenations WHERE parts[1] = ($2::uuid[])[1] AND parts = $2 AND tenant = $1;

-- name: concatenation_of_part
SELECT joined_into FROM uploads WHERE id = $1;

-- name: concatenations_ready
-- Finals whose next part is whole and that nobody has joined: a process died in between.
SELECT f.tenant, f.id FROM uploads AS f JOIN concatenations AS c ON c.final = f.id
WHERE f.concat = 'final' AND f.state = 'open' AND f.touched_at < catalog_clock() - make_interval(secs => $1)
  AND coalesce((SELECT p."offset" = p.length FROM uploads AS p WHERE p.id = c.parts[c.joined + 1]), false)
ORDER BY f.touched_at LIMIT $2;

-- name: concatenations_sweep
WITH gone AS (
    DELETE FROM concatenations WHERE final IN (
        SELECT c.final FROM concatenations AS c WHERE c.expires_at <= (SELECT catalog_clock())
            AND NOT EXISTS (SELECT 1 FROM uploads AS u WHERE u.id = c.final)
        ORDER BY c.expires_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED)
    RETURNING 1
) SELECT count(*) FROM gone;
