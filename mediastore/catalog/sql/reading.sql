-- name: readable_object
-- INV-10: what an object of this tenant, live now, gives to read.
SELECT o.id, o.owner, o.blob, o.size, o.content_type, o.name, o.created_at, t.public,
       t.policy ->> 'cors_origins' AS cors_origins,
       (SELECT d.digest FROM blob_digests AS d WHERE d.blob = o.blob AND d.algorithm = 'sha-256') AS sha_256,
       (SELECT d.digest FROM blob_digests AS d WHERE d.blob = o.blob AND d.algorithm = 'sha-512') AS sha_512
FROM objects AS o JOIN tenants AS t ON t.id = o.tenant
WHERE o.id = $2 AND o.tenant = $1 AND o.deleted_at IS NULL;

-- name: readable_blob
-- INV-10: what a blob gives to read while any live object of this tenant points at it; its oldest one speaks.
SELECT o.id, o.owner, o.blob, o.size, o.content_type, NULL AS name, o.created_at, t.public,
       t.policy ->> 'cors_origins' AS cors_origins,
       (SELECT d.digest FROM blob_digests AS d WHERE d.blob = o.blob AND d.algorithm = 'sha-256') AS sha_256,
       (SELECT d.digest FROM blob_digests AS d WHERE d.blob = o.blob AND d.algorithm = 'sha-512') AS sha_512
FROM objects AS o JOIN tenants AS t ON t.id = o.tenant
WHERE o.blob = $2 AND o.tenant = $1 AND o.deleted_at IS NULL
ORDER BY o.id LIMIT 1;

-- name: blob_read
SELECT hash, beginning, ending, generation, stored, damaged FROM blob_read_v1($1, $2, $3, $4);

-- name: chunk_mark_damaged
-- Only the copy that was read: another generation is another copy.
UPDATE chunks SET damaged_at = catalog_clock()
WHERE hash = $1 AND generation = $2 AND stored AND damaged_at IS NULL RETURNING hash;

-- name: ping
SELECT 1;
