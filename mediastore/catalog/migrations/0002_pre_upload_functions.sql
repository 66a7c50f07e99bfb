-- What an upload does to the catalog. Each function is one transaction and one round trip, so row locks
-- are held for microseconds. Names carry a version: a changed function is a new one, so that old and new
-- code run side by side. Refusals are raised with SQLSTATEs 'MS…' (see catalog/pool.py).
-- Order of row locks: upload, object, blobs by hash, chunks by hash.
-- What clients call sets two planner options. Generic plans: planning again at every call took as long as running.
-- No sequential scans: uploads and upload_chunks are usually analysed while nearly empty, and the plan that this
-- gives reads them whole, dead rows included, when they are not. For the same reason rows are looked up one by one
-- by their keys, in loops and scalar subqueries, where a join with an array would do as well.

-- One manifest entry a row. `|| ''` detoasts once instead of once an entry.
CREATE FUNCTION manifest_entries_v1(p_entries bytea)
RETURNS TABLE (ordinal integer, hash bytea, ending bigint)
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v_entries bytea := p_entries || ''::bytea;
BEGIN
    RETURN QUERY
    SELECT i, substr(v_entries, i * 40 + 1, 32),
           ('x' || encode(substr(v_entries, i * 40 + 33, 8), 'hex'))::bit(64)::bigint
    FROM generate_series(0, length(v_entries) / 40 - 1) AS i;
END $$;

-- INV-1: is every chunk of this manifest stored and undamaged?
CREATE FUNCTION manifest_is_whole_v1(p_entries bytea) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    v_whole boolean;
BEGIN
    SELECT coalesce(bool_and(coalesce(
        (SELECT c.stored AND c.damaged_at IS NULL FROM chunks AS c WHERE c.hash = e.hash), false)), true)
    INTO v_whole FROM manifest_entries_v1(p_entries) AS e;
    RETURN v_whole;
END $$;

-- Give up an upload's references at and past an offset: they go on counting in unlinking (INV-4, INV-8).
CREATE FUNCTION upload_release_v1(p_upload uuid, p_offset bigint) RETURNS void
LANGUAGE sql AS $$
    WITH released AS (
        DELETE FROM upload_chunks WHERE upload = p_upload AND "offset" >= p_offset
        RETURNING pass, "offset", hash, size
    )
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(hash || int8send("offset" + size), ''::bytea ORDER BY pass, "offset"), catalog_clock()
    FROM released HAVING count(*) > 0
$$;

-- Lock an upload for its writer; refuse anybody else and any other offset (INV-8).
CREATE FUNCTION upload_lock_v1(p_upload uuid, p_epoch bigint, p_offset bigint) RETURNS uploads
LANGUAGE plpgsql AS $$
DECLARE
    v_upload uploads;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'upload % is gone', p_upload USING ERRCODE = 'MS001';
    END IF;
    IF v_upload.epoch <> p_epoch THEN
        RAISE EXCEPTION 'upload % has another writer', p_upload USING ERRCODE = 'MS002';
    END IF;
    IF v_upload."offset" <> p_offset THEN
        RAISE EXCEPTION '%', v_upload."offset" USING ERRCODE = 'MS003';
    END IF;
    RETURN v_upload;
END $$;

-- Take an upload over by a new epoch. With an expected offset that is wrong, nothing is taken.
-- No row: there is no such upload (any more). A finishing upload is returned as it is, not taken.
CREATE FUNCTION upload_take_v1(p_tenant text, p_upload uuid, p_epoch bigint, p_expected_offset bigint)
RETURNS SETOF uploads
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
    IF NOT FOUND OR v_upload.expires_at <= catalog_clock() THEN
        RETURN;
    END IF;
    IF v_upload.state = 'finishing' THEN
        RETURN NEXT v_upload;
        RETURN;
    END IF;
    IF p_expected_offset IS NOT NULL AND v_upload."offset" <> p_expected_offset THEN
        RAISE EXCEPTION '%', v_upload."offset" USING ERRCODE = 'MS003';
    END IF;
    PERFORM upload_release_v1(p_upload, v_upload."offset");
    RETURN QUERY UPDATE uploads SET epoch = p_epoch WHERE id = p_upload RETURNING *;
END $$;

-- Reference every chunk of a batch of an upload whose row the caller holds. One row for each distinct hash.
-- Chunk rows are locked in hash order because INSERT … SELECT … ORDER BY inserts in that order.
CREATE FUNCTION upload_reference_v1(
    p_upload uuid, p_offset bigint, p_hashes bytea[], p_sizes integer[], p_generations bigint[]
) RETURNS TABLE (hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO upload_chunks (upload, "offset", hash, size)
    SELECT p_upload, p_offset + sum(b.size) OVER (ORDER BY b.ordinality) - b.size, b.hash, b.size
    FROM unnest(p_hashes, p_sizes) WITH ORDINALITY AS b (hash, size);
    RETURN QUERY
    INSERT INTO chunks AS c (hash, generation, size, refs)
    SELECT b.hash, min(b.generation), min(b.size), count(*)
    FROM unnest(p_hashes, p_sizes, p_generations) AS b (hash, size, generation)
    GROUP BY b.hash ORDER BY b.hash
    ON CONFLICT (hash) DO UPDATE SET refs = c.refs + excluded.refs
    RETURNING c.hash, c.generation, c.stored, c.damaged_at IS NOT NULL;
END $$;

-- Intent: reference every chunk of the batch before its PUT (INV-1, INV-11). Repeating it after an answer
-- was lost changes nothing: references at and past the offset are released first.
CREATE FUNCTION upload_intent_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer
) RETURNS TABLE (hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_total bigint;
BEGIN
    IF v_upload.state <> 'open' THEN
        RAISE EXCEPTION 'upload % is finishing', p_upload USING ERRCODE = 'MS004';
    END IF;
    SELECT sum(size) INTO v_total FROM unnest(p_sizes) AS size;
    IF v_total IS NULL OR p_offset + v_total > v_upload.length THEN
        RAISE EXCEPTION 'the batch ends past the upload''s length' USING ERRCODE = 'MS005';
    END IF;
    PERFORM upload_release_v1(p_upload, p_offset);
    UPDATE uploads SET touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_upload;
    RETURN QUERY SELECT r.hash, r.generation, r.stored, r.damaged
    FROM upload_reference_v1(p_upload, p_offset, p_hashes, p_sizes, p_generations) AS r;
END $$;

-- Mark what was PUT as stored, in hash order, and refuse a batch of which any chunk is no longer the one that
-- the intent saw, stored and undamaged (INV-2). p_hashes are the batch's distinct hashes; p_put says which of
-- them this writer has just PUT.
CREATE FUNCTION upload_stored_v1(p_upload uuid, p_hashes bytea[], p_generations bigint[], p_put boolean[])
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_chunk record;
    v_marked boolean;
BEGIN
    FOR v_chunk IN
        SELECT b.hash, b.generation, b.put FROM unnest(p_hashes, p_generations, p_put) AS b (hash, generation, put)
        ORDER BY b.hash
    LOOP
        v_marked := false;
        IF v_chunk.put THEN
            UPDATE chunks AS c SET stored = true, damaged_at = NULL
            WHERE c.hash = v_chunk.hash AND c.generation = v_chunk.generation
              AND (NOT c.stored OR c.damaged_at IS NOT NULL);
            v_marked := FOUND;
        END IF;
        IF NOT v_marked THEN
            PERFORM 1 FROM chunks AS c WHERE c.hash = v_chunk.hash AND c.generation = v_chunk.generation
              AND c.stored AND c.damaged_at IS NULL;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'a chunk of upload % has changed since its intent', p_upload
                    USING ERRCODE = 'MS006';
            END IF;
        END IF;
    END LOOP;
END $$;

-- Commit: after the PUTs returned, and only if every chunk is still the one the intent saw (INV-1, INV-2).
-- p_finishing: the upload has all its bytes and a job will finish it.
CREATE FUNCTION upload_commit_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_finishing boolean, p_expires_seconds integer
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_size bigint;
BEGIN
    SELECT coalesce(sum(size), 0) INTO v_size FROM upload_chunks
    WHERE upload = p_upload AND pass = 0 AND "offset" >= p_offset;
    IF v_upload.state <> 'open' OR v_size <> p_size THEN
        RAISE EXCEPTION 'upload % holds % bytes past %, not %', p_upload, v_size, p_offset, p_size
            USING ERRCODE = 'MS900';
    END IF;
    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    UPDATE uploads SET "offset" = p_offset + p_size, state = CASE WHEN p_finishing THEN 'finishing' ELSE state END,
        touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_upload;
    RETURN p_offset + p_size;
END $$;

-- A new object for a blob that is there and whole: no chunk row is touched. False: it is not, do upload.
-- The blob's lock holder brings it back from garbage (INV-12).
CREATE FUNCTION blob_link_v1(p_blob bytea, p_size bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_blob blobs;
BEGIN
    SELECT * INTO v_blob FROM blobs WHERE hash = p_blob FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF v_blob.size <> p_size THEN
        RAISE EXCEPTION 'blob % has % bytes, not %', encode(p_blob, 'hex'), v_blob.size, p_size
            USING ERRCODE = 'MS900';
    END IF;
    IF (SELECT manifest_is_whole_v1(entries) FROM manifests WHERE blob = p_blob) IS NOT TRUE THEN
        RETURN false;
    END IF;
    UPDATE blobs SET refs = refs + 1 WHERE hash = p_blob;
    IF v_blob.refs = 0 THEN
        DELETE FROM garbage WHERE blob = p_blob;
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION idempotency_keep_v1(p_tenant text, p_key text, p_object uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_key IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO idempotency_keys AS k (tenant, key, object, expires_at)
    VALUES (p_tenant, p_key, p_object, catalog_clock() + interval '1 day')
    ON CONFLICT (tenant, key) DO UPDATE
    SET object = excluded.object, expires_at = excluded.expires_at WHERE k.expires_at <= catalog_clock();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'idempotency key in use' USING ERRCODE = 'MS007';
    END IF;
END $$;

-- INV-8's checks of an upload whose row the caller holds and whose chunks end at p_size; then its references
-- become the blob's, or are released. A manifest with a missing or damaged chunk is replaced by the upload's,
-- which was just stored.
CREATE FUNCTION upload_become_object_v1(
    p_upload uploads, p_blob bytea, p_size bigint,
    p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer, p_idempotency_key text
) RETURNS objects
LANGUAGE plpgsql AS $$
DECLARE
    v_object objects;
    v_entries bytea;
    v_gap boolean;
    v_end bigint;
    v_stored boolean;
    v_old bytea;
    v_blob_size bigint;
BEGIN
    IF p_upload.length <> p_size THEN
        RAISE EXCEPTION 'upload % has % of % bytes', p_upload.id, p_size, p_upload.length USING ERRCODE = 'MS900';
    END IF;
    IF p_upload.declared_hash <> p_blob THEN
        RAISE EXCEPTION 'the content is not the one declared' USING ERRCODE = 'MS008';
    END IF;
    SELECT coalesce(string_agg(u.hash || int8send(u."offset" + u.size), ''::bytea ORDER BY u."offset"), ''::bytea),
           coalesce(bool_or(u."offset" <> u.previous_end), false),
           coalesce(max(u."offset" + u.size), 0),
           coalesce(bool_and(coalesce(
               (SELECT c.stored FROM chunks AS c WHERE c.hash = u.hash AND c.size = u.size), false)), true)
    INTO v_entries, v_gap, v_end, v_stored
    FROM (SELECT *, lag("offset" + size, 1, 0::bigint) OVER (ORDER BY "offset") AS previous_end
          FROM upload_chunks WHERE upload = p_upload.id AND pass = 0) AS u;
    IF v_gap OR v_end <> p_size OR NOT v_stored THEN
        RAISE EXCEPTION 'upload % is not whole: gap %, end % of %, stored %',
            p_upload.id, v_gap, v_end, p_size, v_stored USING ERRCODE = 'MS900';
    END IF;

    INSERT INTO blobs AS b (hash, size, refs) VALUES (p_blob, p_size, 1)
    ON CONFLICT (hash) DO UPDATE SET refs = b.refs + 1 RETURNING b.size INTO v_blob_size;
    IF v_blob_size <> p_size THEN
        RAISE EXCEPTION 'blob % has % bytes, not %', encode(p_blob, 'hex'), v_blob_size, p_size USING ERRCODE = 'MS900';
    END IF;
    INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes, chunk_size_max_bytes)
    VALUES (p_blob, v_entries, p_chunk_size_min, p_chunk_size_average, p_chunk_size_max)
    ON CONFLICT (blob) DO NOTHING;
    IF FOUND THEN
        DELETE FROM upload_chunks WHERE upload = p_upload.id;
    ELSE
        DELETE FROM garbage WHERE blob = p_blob;
        SELECT entries INTO STRICT v_old FROM manifests WHERE blob = p_blob;
        IF manifest_is_whole_v1(v_old) THEN
            PERFORM upload_release_v1(p_upload.id, 0);
        ELSE
            UPDATE manifests SET entries = v_entries, chunk_size_min_bytes = p_chunk_size_min,
                chunk_size_average_bytes = p_chunk_size_average, chunk_size_max_bytes = p_chunk_size_max
            WHERE blob = p_blob;
            DELETE FROM upload_chunks WHERE upload = p_upload.id;
            INSERT INTO unlinking (blob, entries, since)
            SELECT p_blob, v_old, catalog_clock() WHERE length(v_old) > 0;
        END IF;
    END IF;
    DELETE FROM uploads WHERE id = p_upload.id;
    PERFORM idempotency_keep_v1(p_upload.tenant, p_idempotency_key, p_upload.id);
    INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
    VALUES (p_upload.id, p_upload.tenant, p_upload.owner, p_upload.name, p_blob, p_upload.content_type, p_size,
            p_upload.metadata, catalog_clock())
    RETURNING * INTO v_object;
    RETURN v_object;
END $$;

-- Finish an upload that has all its bytes.
CREATE FUNCTION upload_finish_v1(
    p_upload uuid, p_epoch bigint, p_blob bytea, p_size bigint,
    p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer, p_idempotency_key text
) RETURNS objects
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN upload_become_object_v1(
        upload_lock_v1(p_upload, p_epoch, p_size), p_blob, p_size,
        p_chunk_size_min, p_chunk_size_average, p_chunk_size_max, p_idempotency_key);
END $$;

-- The last batch of an upload whose hash is known: commit and finish in one transaction. The offset is not
-- written, because the row goes.
CREATE FUNCTION upload_commit_and_finish_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[],
    p_blob bytea, p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer,
    p_idempotency_key text
) RETURNS objects
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
BEGIN
    IF v_upload.state <> 'open' THEN
        RAISE EXCEPTION 'upload % is finishing already', p_upload USING ERRCODE = 'MS900';
    END IF;
    -- Blobs before chunks: body_begin_v1 may hold this blob, damaged, and want its chunks.
    PERFORM 1 FROM blobs WHERE hash = p_blob FOR UPDATE;
    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    RETURN upload_become_object_v1(
        v_upload, p_blob, p_offset + p_size,
        p_chunk_size_min, p_chunk_size_average, p_chunk_size_max, p_idempotency_key);
END $$;

-- A body that is whole in memory: link its blob if that is there and whole (one transaction in all),
-- otherwise open an upload and write its intent. A row with `linked_at`, the object's birth, carries no chunk.
CREATE FUNCTION body_begin_v1(
    p_id uuid, p_tenant text, p_owner text, p_name text, p_content_type text, p_metadata jsonb, p_protocol text,
    p_blob bytea, p_size bigint, p_epoch bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer, p_idempotency_key text
) RETURNS TABLE (linked_at timestamptz, hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    IF blob_link_v1(p_blob, p_size) THEN
        PERFORM idempotency_keep_v1(p_tenant, p_idempotency_key, p_id);
        RETURN QUERY
        INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
        VALUES (p_id, p_tenant, p_owner, p_name, p_blob, p_content_type, p_size, p_metadata, catalog_clock())
        RETURNING created_at, NULL::bytea, NULL::bigint, NULL::boolean, NULL::boolean;
        RETURN;
    END IF;
    INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, length, epoch,
                         created_at, touched_at, expires_at)
    VALUES (p_id, p_tenant, p_owner, p_name, p_content_type, p_metadata, p_protocol, p_size, p_epoch,
            catalog_clock(), catalog_clock(), catalog_clock() + make_interval(secs => p_expires_seconds));
    RETURN QUERY SELECT NULL::timestamptz, r.hash, r.generation, r.stored, r.damaged
    FROM upload_reference_v1(p_id, 0, p_hashes, p_sizes, p_generations) AS r;
END $$;

-- Drop an upload at its owner's wish. Returns false when there is none.
CREATE FUNCTION upload_terminate_v1(p_tenant text, p_upload uuid) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM upload_release_v1(p_upload, 0);
    DELETE FROM uploads WHERE id = p_upload;
    RETURN true;
END $$;

-- Drop uploads that expired; rechecked under each upload's lock. Returns how many, and their bytes.
CREATE FUNCTION uploads_expire_v1(p_limit integer) RETURNS TABLE (uploads bigint, bytes bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_upload record;
    -- Once, in a variable: compared with a volatile function, every row would be read.
    v_now timestamptz := catalog_clock();
BEGIN
    uploads := 0;
    bytes := 0;
    FOR v_upload IN
        SELECT id, "offset" AS committed FROM uploads WHERE expires_at <= v_now
        ORDER BY expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM upload_release_v1(v_upload.id, 0);
        DELETE FROM uploads AS u WHERE u.id = v_upload.id;
        uploads := uploads + 1;
        bytes := bytes + v_upload.committed;
        -- A batch is bounded in references, too: 1 TiB is a quarter of a million of them.
        EXIT WHEN bytes >= 1099511627776;
    END LOOP;
    RETURN NEXT;
END $$;
