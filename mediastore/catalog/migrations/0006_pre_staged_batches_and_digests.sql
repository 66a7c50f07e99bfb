-- Bodies that are verified before any of them counts, digests that clients declare, lengths that come later.

-- What a client declared of the whole content beside its BLAKE3: {"sha-256": hex, …}.
ALTER TABLE uploads ADD COLUMN declared_digests jsonb;
-- tus `Upload-Metadata` as it was sent, for HEAD.
ALTER TABLE uploads ADD COLUMN tus_metadata text;

-- Digests of blobs that were computed because a client declared them. Not in blobs: its rows stay narrow, their refs
-- are hot. Nothing here can become wrong: a blob's content is its name.
CREATE TABLE blob_digests (
    blob bytea NOT NULL REFERENCES blobs ON DELETE CASCADE,
    algorithm text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (blob, algorithm),
    CONSTRAINT blob_digests_digest_has_a_size CHECK (length(digest) BETWEEN 4 AND 64)
);

-- Staged batches: a body that must be verified whole is stored batch by batch without moving the offset. Between
-- p_offset, the committed one, and p_start, where a batch begins, lie the batches of the same body before it. An upload
-- that is taken over loses them (upload_take_v1), so they are always of the body of the epoch's holder.

-- Intent of a staged batch: as upload_intent_v1, but only what lies at and past p_start is released.
CREATE FUNCTION staged_intent_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_start bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer
) RETURNS TABLE (hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_total bigint;
    v_end bigint;
BEGIN
    IF v_upload.state <> 'open' THEN
        RAISE EXCEPTION 'upload % is finishing', p_upload USING ERRCODE = 'MS004';
    END IF;
    SELECT sum(size) INTO v_total FROM unnest(p_sizes) AS size;
    IF v_total IS NULL OR p_start + v_total > v_upload.length THEN
        RAISE EXCEPTION 'the batch ends past the upload''s length' USING ERRCODE = 'MS005';
    END IF;
    SELECT u."offset" + u.size INTO v_end FROM upload_chunks AS u
    WHERE u.upload = p_upload AND u.pass = 0 AND u."offset" < p_start ORDER BY u."offset" DESC LIMIT 1;
    IF p_start < p_offset OR coalesce(v_end, 0) <> p_start THEN
        RAISE EXCEPTION 'what is staged of upload % ends at %, not %', p_upload, v_end, p_start
            USING ERRCODE = 'MS900';
    END IF;
    PERFORM upload_release_v1(p_upload, p_start);
    UPDATE uploads SET touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_upload;
    RETURN QUERY SELECT r.hash, r.generation, r.stored, r.damaged
    FROM upload_reference_v1(p_upload, p_start, p_hashes, p_sizes, p_generations) AS r;
END $$;

-- A staged batch's PUTs have returned: its chunks are stored (INV-2), and nothing is acknowledged (INV-1).
CREATE FUNCTION staged_stored_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_start bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_expires_seconds integer
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_size bigint;
BEGIN
    SELECT coalesce(sum(size), 0) INTO v_size FROM upload_chunks
    WHERE upload = p_upload AND pass = 0 AND "offset" >= p_start;
    IF v_upload.state <> 'open' OR v_size <> p_size THEN
        RAISE EXCEPTION 'upload % holds % bytes past %, not %', p_upload, v_size, p_start, p_size
            USING ERRCODE = 'MS900';
    END IF;
    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    UPDATE uploads SET touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_upload;
END $$;

-- The body is verified: acknowledge all that is staged and the last batch (its distinct chunks; maybe none) at once.
-- p_size counts from the committed offset. The rows must run on without a gap and all be stored (INV-1, INV-8).
CREATE FUNCTION staged_commit_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_finishing boolean, p_expires_seconds integer
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_end bigint := p_offset;
    v_row record;
BEGIN
    IF v_upload.state <> 'open' THEN
        RAISE EXCEPTION 'upload % is finishing already', p_upload USING ERRCODE = 'MS900';
    END IF;
    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    FOR v_row IN
        SELECT u."offset", u.size, coalesce(
            (SELECT c.stored FROM chunks AS c WHERE c.hash = u.hash AND c.size = u.size), false) AS stored
        FROM upload_chunks AS u WHERE u.upload = p_upload AND u.pass = 0 AND u."offset" >= p_offset
        ORDER BY u."offset"
    LOOP
        IF v_row."offset" <> v_end OR NOT v_row.stored THEN
            RAISE EXCEPTION 'what is staged of upload % breaks off at %: next at %, stored %',
                p_upload, v_end, v_row."offset", v_row.stored USING ERRCODE = 'MS900';
        END IF;
        v_end := v_end + v_row.size;
    END LOOP;
    IF v_end <> p_offset + p_size THEN
        RAISE EXCEPTION 'what is staged of upload % ends at %, not %', p_upload, v_end, p_offset + p_size
            USING ERRCODE = 'MS900';
    END IF;
    UPDATE uploads SET "offset" = v_end, state = CASE WHEN p_finishing THEN 'finishing' ELSE state END,
        touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_upload;
    RETURN v_end;
END $$;

-- The body is not what it was said to be: its references go, the offset stays.
CREATE FUNCTION staged_release_v1(p_upload uuid, p_epoch bigint, p_offset bigint) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM upload_lock_v1(p_upload, p_epoch, p_offset);
    PERFORM upload_release_v1(p_upload, p_offset);
END $$;

-- Digests of a blob whose row the caller's transaction holds.
CREATE FUNCTION blob_digests_keep_v1(p_blob bytea, p_algorithms text[], p_digests bytea[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO blob_digests (blob, algorithm, digest)
    SELECT p_blob, d.algorithm, d.digest FROM unnest(p_algorithms, p_digests) AS d (algorithm, digest)
    ORDER BY d.algorithm
    ON CONFLICT (blob, algorithm) DO NOTHING
$$;

-- Refuse a finish whose computed digests are not the ones its upload declared, all of them. What was declared never
-- changes, so the row is read without its lock: the finish takes it.
CREATE FUNCTION upload_check_digests_v1(p_upload uuid, p_algorithms text[], p_digests bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM uploads AS u, jsonb_each_text(u.declared_digests) AS declared (algorithm, digest)
    WHERE u.id = p_upload AND NOT EXISTS (
        SELECT 1 FROM unnest(p_algorithms, p_digests) AS computed (algorithm, digest)
        WHERE computed.algorithm = declared.algorithm AND encode(computed.digest, 'hex') = declared.digest);
    IF FOUND THEN
        RAISE EXCEPTION 'the content is not the one declared' USING ERRCODE = 'MS008';
    END IF;
END $$;

-- The three ends of an upload of which digests were declared: checked, and kept with the blob. p_algorithms and
-- p_digests are what was computed over the whole content.
CREATE FUNCTION verified_commit_and_finish_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[],
    p_blob bytea, p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer,
    p_idempotency_key text, p_algorithms text[], p_digests bytea[]
) RETURNS objects
LANGUAGE plpgsql AS $$
DECLARE
    v_object objects;
BEGIN
    PERFORM upload_check_digests_v1(p_upload, p_algorithms, p_digests);
    v_object := upload_commit_and_finish_v1(p_upload, p_epoch, p_offset, p_size, p_hashes, p_generations, p_put,
        p_blob, p_chunk_size_min, p_chunk_size_average, p_chunk_size_max, p_idempotency_key);
    PERFORM blob_digests_keep_v1(p_blob, p_algorithms, p_digests);
    RETURN v_object;
END $$;

CREATE FUNCTION verified_finish_v1(
    p_upload uuid, p_epoch bigint, p_blob bytea, p_size bigint,
    p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer, p_idempotency_key text,
    p_algorithms text[], p_digests bytea[]
) RETURNS objects
LANGUAGE plpgsql AS $$
DECLARE
    v_object objects;
BEGIN
    PERFORM upload_check_digests_v1(p_upload, p_algorithms, p_digests);
    v_object := upload_finish_v1(p_upload, p_epoch, p_blob, p_size,
        p_chunk_size_min, p_chunk_size_average, p_chunk_size_max, p_idempotency_key);
    PERFORM blob_digests_keep_v1(p_blob, p_algorithms, p_digests);
    RETURN v_object;
END $$;

-- As body_begin_v1. Its caller has checked the digests before it wrote anything; they are kept if the blob was linked,
-- otherwise at the finish.
CREATE FUNCTION verified_body_begin_v1(
    p_id uuid, p_tenant text, p_owner text, p_name text, p_content_type text, p_metadata jsonb, p_protocol text,
    p_blob bytea, p_size bigint, p_epoch bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer, p_idempotency_key text,
    p_algorithms text[], p_digests bytea[]
) RETURNS TABLE (linked_at timestamptz, hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT b.linked_at, b.hash, b.generation, b.stored, b.damaged
    FROM body_begin_v1(p_id, p_tenant, p_owner, p_name, p_content_type, p_metadata, p_protocol, p_blob, p_size,
        p_epoch, p_hashes, p_sizes, p_generations, p_expires_seconds, p_idempotency_key) AS b;
    IF EXISTS (SELECT 1 FROM objects WHERE id = p_id) THEN
        PERFORM blob_digests_keep_v1(p_blob, p_algorithms, p_digests);
    END IF;
END $$;

-- tus, Creation With Deferred Length: the writer says how long its upload is. Said again it must be the same.
CREATE FUNCTION upload_declare_length_v1(p_upload uuid, p_epoch bigint, p_offset bigint, p_length bigint)
RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
BEGIN
    IF v_upload.state <> 'open' THEN
        RAISE EXCEPTION 'upload % is finishing', p_upload USING ERRCODE = 'MS004';
    END IF;
    IF v_upload.length <> p_length OR p_length < p_offset THEN
        RAISE EXCEPTION 'the length contradicts what was declared or sent before' USING ERRCODE = 'MS005';
    END IF;
    UPDATE uploads SET length = p_length WHERE id = p_upload;
END $$;
