-- name: object_get
SELECT * FROM objects WHERE tenant = $1 AND id = $2;

-- name: upload_state
SELECT state FROM uploads WHERE tenant = $1 AND id = $2;

-- name: object_list
SELECT * FROM objects
WHERE tenant = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: object_list_of_owner
SELECT * FROM objects
WHERE tenant = $1 AND owner = $4 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: object_list_trash
SELECT * FROM objects
WHERE tenant = $1 AND deleted_at IS NOT NULL AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: object_list_trash_of_owner
SELECT * FROM objects
WHERE tenant = $1 AND owner = $4 AND deleted_at IS NOT NULL AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: object_change
UPDATE objects SET
    name = coalesce($3::text, name), owner = coalesce($4::text, owner), metadata = coalesce($5::jsonb, metadata)
WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL RETURNING *;

-- name: object_trash
-- The notification is sent when this commits: every replica forgets at once that the object may be read (INV-10).
WITH trashed AS (
    UPDATE objects AS o
    SET deleted_at = now.moment, purge_at = now.moment + make_interval(secs => t.trash_seconds)
    FROM tenants AS t, (SELECT catalog_clock() AS moment) AS now
    WHERE o.tenant = $1 AND o.id = $2 AND o.deleted_at IS NULL AND t.id = o.tenant
    RETURNING o.*
)
SELECT trashed.*, pg_notify('mediastore_deleted', concat_ws(' ', tenant, id, encode(blob, 'hex')))
FROM trashed;

-- name: object_restore
UPDATE objects SET deleted_at = NULL, purge_at = NULL
WHERE tenant = $1 AND id = $2 AND purge_at > catalog_clock() RETURNING *;
