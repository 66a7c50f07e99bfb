-- name: object_get
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM objects AS o LEFT JOIN media AS m ON m.blob = o.blob WHERE o.tenant = $1 AND o.id = $2;

-- name: upload_state
SELECT state FROM uploads WHERE tenant = $1 AND id = $2;

-- name: object_list
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM objects AS o LEFT JOIN media AS m ON m.blob = o.blob
WHERE o.tenant = $1 AND o.deleted_at IS NULL AND ($2::uuid IS NULL OR o.id < $2)
ORDER BY o.id DESC LIMIT $3;

-- name: object_list_of_owner
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM objects AS o LEFT JOIN media AS m ON m.blob = o.blob
WHERE o.tenant = $1 AND o.owner = $4 AND o.deleted_at IS NULL AND ($2::uuid IS NULL OR o.id < $2)
ORDER BY o.id DESC LIMIT $3;

-- name: object_list_trash
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM objects AS o LEFT JOIN media AS m ON m.blob = o.blob
WHERE o.tenant = $1 AND o.deleted_at IS NOT NULL AND ($2::uuid IS NULL OR o.id < $2)
ORDER BY o.id DESC LIMIT $3;

-- name: object_list_trash_of_owner
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM objects AS o LEFT JOIN media AS m ON m.blob = o.blob
WHERE o.tenant = $1 AND o.owner = $4 AND o.deleted_at IS NOT NULL AND ($2::uuid IS NULL OR o.id < $2)
ORDER BY o.id DESC LIMIT $3;

-- name: object_change
WITH o AS (
    UPDATE objects SET
        name = coalesce($3::text, name), owner = coalesce($4::text, owner), metadata = coalesce($5::jsonb, metadata)
    WHERE tenant = $1 AND id = $2 AND deleted_at IS NULL RETURNING *
)
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM o LEFT JOIN media AS m ON m.blob = o.blob;

-- name: object_trash
-- The notification is sent when this commits: every replica forgets at once that the object may be read (INV-10).
WITH o AS (
    UPDATE objects AS live
    SET deleted_at = now.moment, purge_at = now.moment + make_interval(secs => t.trash_seconds)
    FROM tenants AS t, (SELECT catalog_clock() AS moment) AS now
    WHERE live.tenant = $1 AND live.id = $2 AND live.deleted_at IS NULL AND t.id = live.tenant
    RETURNING live.*
)
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked,
       pg_notify('mediastore_deleted', concat_ws(' ', o.tenant, o.id, encode(o.blob, 'hex')))
FROM o LEFT JOIN media AS m ON m.blob = o.blob;

-- name: object_restore
WITH o AS (
    UPDATE objects SET deleted_at = NULL, purge_at = NULL
    WHERE tenant = $1 AND id = $2 AND purge_at > catalog_clock() RETURNING *
)
SELECT o.*, m.probe AS picture_probe, m.failed AS picture_failed,
       m.blob IS NULL AND is_picture_type_v1(o.content_type) AS picture_unasked
FROM o LEFT JOIN media AS m ON m.blob = o.blob;
