-- Small bodies of one request, stored together: two transactions for all of them. Each is whole in memory and has one
-- chunk at most, so its blob and its chunk have the same hash.
-- Order of row locks: upload, blobs by hash, chunks by hash, idempotency keys, over all of the group (see
-- 0002_pre_upload_functions.sql, also for why planner options are set). Only upload_commit_and_finish_v1 takes a blob
-- that is new after its chunk: if it and a group meet over the same new content, one of the two is tried again.

-- The manifest of a body that has one chunk at most.
CREATE FUNCTION body_entries_v1(p_blob bytea, p_size integer) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN p_size > 0 THEN p_blob || int8send(p_size::bigint) ELSE ''::bytea END
$$;

-- Keep the idempotency keys of objects, in order of the keys.
CREATE FUNCTION idempotency_keep_many_v1(p_tenant text, p_keys text[], p_objects uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_kept record;
BEGIN
    FOR v_kept IN
        SELECT k.key, k.object FROM unnest(p_keys, p_objects) AS k (key, object) WHERE k.key IS NOT NULL ORDER BY k.key
    LOOP
        PERFORM idempotency_keep_v1(p_tenant, v_kept.key, v_kept.object);
    END LOOP;
END $$;

-- Link the bodies whose blobs are there and whole. The others become one upload whose chunks, one behind the other,
-- are the bodies: their references before their PUTs (INV-1, INV-11). It never becomes an object itself. Rows with
-- `linked`, an object's id, and `linked_at`, its birth, carry no chunk; the others are the distinct chunks.
CREATE FUNCTION bodies_begin_v1(
    p_upload uuid, p_tenant text, p_protocol text, p_epoch bigint, p_expires_seconds integer,
    p_ids uuid[], p_owners text[], p_names text[], p_content_types text[], p_metadata jsonb[],
    p_blobs bytea[], p_sizes integer[], p_generations bigint[], p_idempotency_keys text[]
) RETURNS TABLE (
    linked uuid, linked_at timestamptz, hash bytea, generation bigint, stored boolean, damaged boolean
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_body record;
    v_linked boolean[] := array_fill(false, ARRAY[cardinality(p_ids)]);
    v_rest record;
BEGIN
    FOR v_body IN
        SELECT b.blob, b.size, b.ordinality AS place FROM unnest(p_blobs, p_sizes) WITH ORDINALITY AS b (blob, size)
        ORDER BY b.blob
    LOOP
        v_linked[v_body.place] := blob_link_v1(v_body.blob, v_body.size);
    END LOOP;

    SELECT count(*) AS bodies, coalesce(sum(b.size), 0) AS size,
           array_agg(b.blob ORDER BY b.place) FILTER (WHERE b.size > 0) AS hashes,
           array_agg(b.size ORDER BY b.place) FILTER (WHERE b.size > 0) AS sizes,
           array_agg(b.generation ORDER BY b.place) FILTER (WHERE b.size > 0) AS generations
    INTO v_rest
    FROM unnest(p_blobs, p_sizes, p_generations, v_linked) WITH ORDINALITY
        AS b (blob, size, generation, linked, place)
    WHERE NOT b.linked;
    IF v_rest.bodies > 0 THEN
        INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, length, epoch,
                             created_at, touched_at, expires_at)
        VALUES (p_upload, p_tenant, '', '', 'multipart/form-data', '{}', p_protocol, v_rest.size, p_epoch,
                catalog_clock(), catalog_clock(), catalog_clock() + make_interval(secs => p_expires_seconds));
        RETURN QUERY SELECT NULL::uuid, NULL::timestamptz, r.hash, r.generation, r.stored, r.damaged
        FROM upload_reference_v1(p_upload, 0, v_rest.hashes, v_rest.sizes, v_rest.generations) AS r;
    END IF;
    IF v_rest.bodies < cardinality(p_ids) THEN
        PERFORM idempotency_keep_many_v1(
            p_tenant, array_agg(b.key) FILTER (WHERE b.linked), array_agg(b.id) FILTER (WHERE b.linked))
        FROM unnest(p_idempotency_keys, p_ids, v_linked) AS b (key, id, linked);
        RETURN QUERY
        INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
        SELECT b.id, p_tenant, b.owner, b.name, b.blob, b.content_type, b.size, b.metadata, catalog_clock()
        FROM unnest(p_ids, p_owners, p_names, p_blobs, p_content_types, p_sizes, p_metadata, v_linked)
            AS b (id, owner, name, blob, content_type, size, metadata, linked)
        WHERE b.linked
        RETURNING id, created_at, NULL::bytea, NULL::bigint, NULL::boolean, NULL::boolean;
    END IF;
END $$;

-- Commit and finish the bodies that bodies_begin_v1 did not link, all of them or none. p_blobs and p_sizes are the
-- upload's chunks in order, and the bodies without bytes; p_hashes are the distinct chunks (as in upload_commit_v1).
-- One of the upload's references to a chunk becomes its blob's; what a blob does not need is released.
CREATE FUNCTION bodies_finish_v1(
    p_upload uuid, p_tenant text, p_epoch bigint,
    p_ids uuid[], p_owners text[], p_names text[], p_content_types text[], p_metadata jsonb[],
    p_blobs bytea[], p_sizes integer[], p_idempotency_keys text[],
    p_hashes bytea[], p_generations bigint[], p_put boolean[],
    p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer
) RETURNS TABLE (id uuid, created_at timestamptz)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, 0);
    v_sizes_differ boolean;
    v_held bytea;
    v_wanted bytea;
    v_stored boolean;
    v_taken bytea[];
    v_body record;
    v_old bytea;
BEGIN
    IF v_upload.state <> 'open' OR v_upload.tenant <> p_tenant THEN
        RAISE EXCEPTION 'upload % is not a group''s', p_upload USING ERRCODE = 'MS900';
    END IF;

    WITH counted AS (
        INSERT INTO blobs AS b (hash, size, refs)
        SELECT n.blob, min(n.size), count(*) FROM unnest(p_blobs, p_sizes) AS n (blob, size)
        GROUP BY n.blob ORDER BY n.blob
        ON CONFLICT (hash) DO UPDATE SET refs = b.refs + excluded.refs RETURNING b.hash, b.size
    )
    SELECT bool_or(c.size <> n.size) INTO v_sizes_differ
    FROM counted AS c JOIN unnest(p_blobs, p_sizes) AS n (blob, size) ON n.blob = c.hash;
    IF v_sizes_differ THEN
        RAISE EXCEPTION 'a blob of upload % has another size', p_upload USING ERRCODE = 'MS900';
    END IF;

    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    -- INV-8: the upload's rows are the bodies, without a gap, and all stored.
    SELECT coalesce(string_agg(u.hash || int8send(u."offset" + u.size), ''::bytea ORDER BY u."offset"), ''::bytea),
           coalesce(bool_and(coalesce(
               (SELECT c.stored FROM chunks AS c WHERE c.hash = u.hash AND c.size = u.size), false)), true)
    INTO v_held, v_stored
    FROM upload_chunks AS u WHERE u.upload = p_upload AND u.pass = 0;
    SELECT coalesce(string_agg(b.blob || int8send(b.ending), ''::bytea ORDER BY b.place), ''::bytea)
    INTO v_wanted
    FROM (SELECT n.blob, n.size, n.place, sum(n.size) OVER (ORDER BY n.place) AS ending
          FROM unnest(p_blobs, p_sizes) WITH ORDINALITY AS n (blob, size, place)) AS b
    WHERE b.size > 0;
    IF v_held <> v_wanted OR NOT v_stored THEN
        RAISE EXCEPTION 'upload % does not hold its bodies, or not stored (%)', p_upload, v_stored
            USING ERRCODE = 'MS900';
    END IF;

    WITH made AS (
        INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes, chunk_size_max_bytes)
        SELECT DISTINCT n.blob, body_entries_v1(n.blob, n.size),
               p_chunk_size_min, p_chunk_size_average, p_chunk_size_max
        FROM unnest(p_blobs, p_sizes) AS n (blob, size)
        ON CONFLICT (blob) DO NOTHING RETURNING blob
    )
    SELECT coalesce(array_agg(m.blob), '{}') INTO v_taken FROM made AS m;
    -- Blobs that came into being since bodies_begin_v1, or whose manifests were not whole: as in
    -- upload_become_object_v1.
    FOR v_body IN
        SELECT DISTINCT n.blob, body_entries_v1(n.blob, n.size) AS entries FROM unnest(p_blobs, p_sizes) AS n (blob, size)
        WHERE NOT n.blob = ANY (v_taken) ORDER BY n.blob
    LOOP
        DELETE FROM garbage AS g WHERE g.blob = v_body.blob;
        SELECT m.entries INTO STRICT v_old FROM manifests AS m WHERE m.blob = v_body.blob;
        IF NOT manifest_is_whole_v1(v_old) THEN
            UPDATE manifests AS m SET entries = v_body.entries, chunk_size_min_bytes = p_chunk_size_min,
                chunk_size_average_bytes = p_chunk_size_average, chunk_size_max_bytes = p_chunk_size_max
            WHERE m.blob = v_body.blob;
            v_taken := v_taken || v_body.blob;
            INSERT INTO unlinking (blob, entries, since)
            SELECT v_body.blob, v_old, catalog_clock() WHERE length(v_old) > 0;
        END IF;
    END LOOP;
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(body_entries_v1(b.blob, b.size), ''::bytea), catalog_clock()
    FROM (SELECT n.blob, n.size, row_number() OVER (PARTITION BY n.blob) AS nth
          FROM unnest(p_blobs, p_sizes) AS n (blob, size) WHERE n.size > 0) AS b
    WHERE b.nth > 1 OR NOT b.blob = ANY (v_taken)
    HAVING count(*) > 0;
    DELETE FROM upload_chunks AS u WHERE u.upload = p_upload;
    DELETE FROM uploads AS u WHERE u.id = p_upload;

    PERFORM idempotency_keep_many_v1(p_tenant, p_idempotency_keys, p_ids);
    RETURN QUERY
    INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
    SELECT b.id, p_tenant, b.owner, b.name, b.blob, b.content_type, b.size, b.metadata, catalog_clock()
    FROM unnest(p_ids, p_owners, p_names, p_blobs, p_content_types, p_sizes, p_metadata)
        AS b (id, owner, name, blob, content_type, size, metadata)
    RETURNING id, created_at;
END $$;
