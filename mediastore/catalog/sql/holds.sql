-- name: hold_add
SELECT hold, keys, claimed FROM hold_add_v1($1, $2, $3, $4);

-- name: holds_list
SELECT h.id, h.tenant, h.owner, h.object, h.why, h.created_at,
       (SELECT count(*) FROM held_keys AS k WHERE k.hold = h.id) AS keys
FROM holds AS h ORDER BY h.id;

-- name: holds_count
SELECT count(*) FROM holds;

-- name: hold_remove
DELETE FROM holds WHERE id = $1 RETURNING id;

-- name: holds_of
SELECT id, tenant, owner, object, why, created_at, 0::bigint AS keys FROM holds
WHERE tenant = $1 AND (owner IS NULL OR owner = $2) AND (object IS NULL OR object = $3) ORDER BY id;
