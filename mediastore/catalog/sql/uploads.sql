-- name: upload_create
INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, length, declared_hash, epoch,
                     created_at, touched_at, expires_at, declared_digests, tus_metadata,
                     writer, expires_seconds, expiry_fixed, concat, idempotency_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, catalog_clock(), catalog_clock(),
        catalog_clock() + make_interval(secs => $11), $12, $13, $14, $11, $15, $16, $17)
RETURNING *;

-- name: upload_take
SELECT (t.standing).*, t.previous_epoch, t.asked FROM upload_take_v2($1, $2, $3, $4, $5, $6, $7) AS t;

-- name: upload_get
-- One that has all its bytes does not expire.
SELECT * FROM uploads WHERE tenant = $1 AND id = $2 AND (expires_at > catalog_clock() OR state = 'finishing');

-- name: upload_intent
SELECT hash, generation, stored, damaged FROM upload_intent_v1($1, $2, $3, $4, $5, $6, $7);

-- name: upload_commit
SELECT upload_commit_v2($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: upload_commit_last
SELECT upload_commit_last_v1($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: upload_declare_length
SELECT upload_declare_length_v1($1, $2, $3, $4);

-- name: staged_intent
SELECT hash, generation, stored, damaged FROM staged_intent_v1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: staged_stored
SELECT staged_stored_v1($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: staged_commit
SELECT staged_commit_last_v1($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: staged_release
SELECT staged_release_v2($1, $2, $3);

-- name: upload_commit_and_finish
SELECT * FROM upload_commit_and_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: verified_commit_and_finish
SELECT * FROM verified_commit_and_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: verified_finish
SELECT * FROM verified_finish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: verified_body_begin
SELECT linked_at, hash, generation, stored, damaged
FROM verified_body_begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: upload_finish
SELECT * FROM upload_finish_v1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: body_begin
SELECT linked_at, hash, generation, stored, damaged
FROM body_begin_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: upload_terminate
SELECT upload_abandon_v2($1, $2, $3, $4, $5);

-- name: upload_correct_type
UPDATE uploads SET content_type = $3 WHERE id = $1 AND epoch = $2;

-- name: upload_end_writer
SELECT upload_end_writer_v1($1, $2, $3);

-- name: replica_tell
SELECT replica_tell_v1($1, $2);

-- name: upload_chunks_from
-- The stored chunks of an upload from the one that holds an offset on, with their keys.
SELECT u."offset", u.hash, u.size, c.generation FROM upload_chunks AS u JOIN chunks AS c ON c.hash = u.hash
WHERE u.upload = $1 AND u.pass = 0 AND u."offset" < $3 AND c.stored AND u."offset" >= coalesce(
    (SELECT max(x."offset") FROM upload_chunks AS x WHERE x.upload = $1 AND x.pass = 0 AND x."offset" <= $2), $2)
ORDER BY u."offset" LIMIT $4;

-- name: upload_damaged
SELECT EXISTS (SELECT 1 FROM upload_chunks AS u JOIN chunks AS c ON c.hash = u.hash
               WHERE u.upload = $1 AND c.damaged_at IS NOT NULL);

-- name: upload_finishing_touch
-- The job that finishes an upload shows that it is alive; its epoch fences older jobs.
UPDATE uploads SET touched_at = catalog_clock(),
    expires_at = greatest(expires_at, catalog_clock() + make_interval(secs => $3))
WHERE id = $1 AND epoch = $2 AND state = 'finishing' RETURNING id;

-- name: upload_finishing_claim
-- Take over a finishing upload whose job has not shown life for a while.
UPDATE uploads SET epoch = $2, touched_at = catalog_clock()
WHERE id = $1 AND state = 'finishing' AND touched_at < catalog_clock() - make_interval(secs => $3)
RETURNING *;

-- name: uploads_finishing_stale
SELECT id FROM uploads WHERE state = 'finishing' AND touched_at < catalog_clock() - make_interval(secs => $1)
ORDER BY touched_at LIMIT $2;

-- name: rechunk_begin
SELECT cursor, tidied FROM rechunk_begin_v1($1, $2, $3);

-- name: rechunk_intent
SELECT hash, generation, stored, damaged FROM rechunk_intent_v1($1, $2, $3, $4, $5, $6, $7);

-- name: rechunk_commit
SELECT rechunk_commit_v1($1, $2, $3, $4, $5, $6, $7) AS cursor;

-- name: rechunk_settle
SELECT rechunk_settle_v1($1, $2, $3);
