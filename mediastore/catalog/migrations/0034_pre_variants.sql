-- Variants: pictures made of a blob by a transform. Each is a blob of its own, referenced from its row here, and stored
-- by an ordinary upload. That upload is nobody's: its tenant is '', which no tenant is called, and its owner is the
-- source's hash. The object that it becomes is never seen: in the same transaction its reference becomes the variant's.
-- Order of locks: job, upload, variant, blobs by hash, chunks by hash.

-- `frames` of the source that were seen (2 of an animation that became still); width and height of the result.
ALTER TABLE variants
    ADD COLUMN width integer NOT NULL DEFAULT 0,
    ADD COLUMN height integer NOT NULL DEFAULT 0,
    ADD COLUMN frames integer NOT NULL DEFAULT 1,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX variants_used_at ON variants (used_at);

-- One computation of a variant at a time, on whichever replica. Until `until` nobody else begins: with no `failed` a
-- process is at it, whose `token` its later steps name; with one the picture cannot be made (an error's code), or
-- needs not to be (`same`: it would be the source itself, byte for byte).
-- No foreign key: such a row keeps nothing.
CREATE TABLE variant_jobs (
    blob bytea NOT NULL,
    transform text NOT NULL,
    token bigint NOT NULL,
    until timestamptz NOT NULL,
    failed text,
    detail text,
    PRIMARY KEY (blob, transform),
    CONSTRAINT variant_jobs_blob_is_blake3 CHECK (length(blob) = 32)
);
CREATE INDEX variant_jobs_until ON variant_jobs (until);

-- Results that were released, for as long as their bytes may still be there: an erasure of the source means them too.
CREATE TABLE released_variants (
    blob bytea NOT NULL,
    result bytea NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (blob, result)
);
CREATE INDEX released_variants_since ON released_variants (since);

-- What is there of these transforms of a blob. One that is used is noted as such once a day, so that looking at it
-- costs no write; a row that somebody holds is noted by the next look.
CREATE FUNCTION variants_find_v1(p_blob bytea, p_transforms text[])
RETURNS TABLE (
    transform text, result bytea, size bigint, width integer, height integer, frames integer, created_at timestamptz
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    UPDATE variants AS v SET used_at = catalog_clock()
    FROM (SELECT o.transform FROM variants AS o
          WHERE o.blob = p_blob AND o.transform = ANY (p_transforms) AND o.used_at < catalog_clock() - interval '1 day'
          FOR UPDATE SKIP LOCKED) AS old
    WHERE v.blob = p_blob AND v.transform = old.transform;
    RETURN QUERY
    SELECT v.transform, v.result, b.size, v.width, v.height, v.frames, v.created_at
    FROM variants AS v JOIN blobs AS b ON b.hash = v.result
    WHERE v.blob = p_blob AND v.transform = ANY (p_transforms);
END $$;

-- Take the computation of a variant, for p_lease_seconds. `state`: taken (it is the caller's), made (it is there and
-- whole), busy (somebody is at it), or failed, with the error's code.
CREATE FUNCTION variant_take_v1(p_blob bytea, p_transform text, p_token bigint, p_lease_seconds double precision)
RETURNS TABLE (state text, failed text, detail text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_job variant_jobs;
    v_now timestamptz;
BEGIN
    INSERT INTO variant_jobs AS j (blob, transform, token, until)
    VALUES (p_blob, p_transform, p_token, catalog_clock() + make_interval(secs => p_lease_seconds))
    ON CONFLICT (blob, transform) DO NOTHING;
    SELECT * INTO v_job FROM variant_jobs AS j WHERE j.blob = p_blob AND j.transform = p_transform FOR UPDATE;
    -- A variant that was finished has no job any more: look behind the lock.
    IF EXISTS (SELECT 1 FROM variants AS v JOIN manifests AS m ON m.blob = v.result
               WHERE v.blob = p_blob AND v.transform = p_transform AND manifest_is_whole_v1(m.entries)) THEN
        DELETE FROM variant_jobs AS j WHERE j.blob = p_blob AND j.transform = p_transform AND j.token = p_token;
        RETURN QUERY SELECT 'made', NULL::text, NULL::text;
        RETURN;
    END IF;
    v_now := catalog_clock();
    IF v_job.token = p_token OR v_job.until <= v_now THEN
        UPDATE variant_jobs AS j SET token = p_token, failed = NULL, detail = NULL,
            until = v_now + make_interval(secs => p_lease_seconds)
        WHERE j.blob = p_blob AND j.transform = p_transform;
        IF FOUND THEN
            RETURN QUERY SELECT 'taken', NULL::text, NULL::text;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT CASE WHEN v_job.failed IS NULL THEN 'busy' ELSE 'failed' END, v_job.failed, v_job.detail;
END $$;

-- Nobody is at it any more: whoever asks next may take it.
CREATE FUNCTION variant_give_up_v1(p_blob bytea, p_transform text, p_token bigint) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM variant_jobs WHERE blob = p_blob AND transform = p_transform AND token = p_token AND failed IS NULL
$$;

-- It cannot be made, or needs not to be: believed for p_kept_seconds.
CREATE FUNCTION variant_fail_v1(
    p_blob bytea, p_transform text, p_token bigint, p_failed text, p_detail text, p_kept_seconds double precision
) RETURNS void
LANGUAGE sql AS $$
    UPDATE variant_jobs SET failed = p_failed, detail = p_detail,
        until = catalog_clock() + make_interval(secs => p_kept_seconds)
    WHERE blob = p_blob AND transform = p_transform AND token = p_token
$$;

-- Hold everything that the end of a computation touches, in order: its job, its upload (if it has one by now), the row
-- that is there already, and the blobs of source, result and earlier result. Refuses who is not at it any more (MS002),
-- and a source that nothing references (MS001): it is on its way out, and nothing new is made of it.
CREATE FUNCTION variant_hold_v1(p_blob bytea, p_transform text, p_token bigint, p_upload uuid, p_result bytea)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_old bytea;
    v_held bytea[];
BEGIN
    PERFORM 1 FROM variant_jobs
    WHERE blob = p_blob AND transform = p_transform AND token = p_token AND failed IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another replica makes this variant' USING ERRCODE = 'MS002';
    END IF;
    PERFORM 1 FROM uploads WHERE id = p_upload FOR UPDATE;
    SELECT result INTO v_old FROM variants WHERE blob = p_blob AND transform = p_transform FOR UPDATE;
    v_held := array_remove(ARRAY[p_blob, p_result, v_old], NULL);
    PERFORM 1 FROM blobs WHERE hash = ANY (v_held) ORDER BY hash FOR UPDATE;
    IF (SELECT refs > 0 FROM blobs WHERE hash = p_blob) IS NOT TRUE THEN
        RAISE EXCEPTION 'the source is gone' USING ERRCODE = 'MS001';
    END IF;
END $$;

-- The object's reference to its blob becomes the variant's (INV-4, INV-12). The caller holds what variant_hold_v1 does.
-- An earlier result, which was not whole, gives its reference up; so does the object where it is that same blob.
CREATE FUNCTION variant_adopt_v1(
    p_blob bytea, p_transform text, p_object uuid, p_width integer, p_height integer, p_frames integer
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_result bytea;
    v_old bytea;
BEGIN
    DELETE FROM objects WHERE id = p_object RETURNING blob INTO STRICT v_result;
    SELECT result INTO v_old FROM variants WHERE blob = p_blob AND transform = p_transform;
    INSERT INTO variants AS v (blob, transform, result, used_at, width, height, frames, created_at)
    VALUES (p_blob, p_transform, v_result, catalog_clock(), p_width, p_height, p_frames, catalog_clock())
    ON CONFLICT (blob, transform) DO UPDATE
    SET result = excluded.result, used_at = excluded.used_at, width = excluded.width, height = excluded.height,
        frames = excluded.frames;
    IF v_old IS NOT NULL THEN
        UPDATE blobs SET refs = refs - 1 WHERE hash = v_old;
        INSERT INTO garbage (blob, since) SELECT hash, catalog_clock() FROM blobs WHERE hash = v_old AND refs = 0
        ON CONFLICT (blob) DO UPDATE SET since = excluded.since;
    END IF;
    IF v_old <> v_result THEN
        INSERT INTO released_variants AS r (blob, result, since) VALUES (p_blob, v_old, catalog_clock())
        ON CONFLICT (blob, result) DO UPDATE SET since = excluded.since;
    END IF;
    DELETE FROM variant_jobs WHERE blob = p_blob AND transform = p_transform;
END $$;

-- A result that is whole in memory: body_begin_v1 for a variant. With `linked` it is done.
CREATE FUNCTION variant_begin_v1(
    p_blob bytea, p_transform text, p_token bigint, p_width integer, p_height integer, p_frames integer,
    p_upload uuid, p_content_type text, p_result bytea, p_size bigint, p_epoch bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer
) RETURNS TABLE (linked boolean, hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_begun record;
BEGIN
    PERFORM variant_hold_v1(p_blob, p_transform, p_token, p_upload, p_result);
    FOR v_begun IN
        SELECT * FROM body_begin_v1(
            p_upload, '', encode(p_blob, 'hex'), p_transform, p_content_type, '{}', 'raw', p_result, p_size, p_epoch,
            p_hashes, p_sizes, p_generations, p_expires_seconds, NULL)
    LOOP
        IF v_begun.linked_at IS NOT NULL THEN
            PERFORM variant_adopt_v1(p_blob, p_transform, p_upload, p_width, p_height, p_frames);
        END IF;
        linked := v_begun.linked_at IS NOT NULL;
        hash := v_begun.hash;
        generation := v_begun.generation;
        stored := v_begun.stored;
        damaged := v_begun.damaged;
        RETURN NEXT;
    END LOOP;
END $$;

-- Its chunks are stored: upload_commit_and_finish_v1 for a variant.
CREATE FUNCTION variant_finish_v1(
    p_blob bytea, p_transform text, p_token bigint, p_width integer, p_height integer, p_frames integer,
    p_upload uuid, p_epoch bigint, p_result bytea, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[],
    p_chunk_size_min integer, p_chunk_size_average integer, p_chunk_size_max integer
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM variant_hold_v1(p_blob, p_transform, p_token, p_upload, p_result);
    PERFORM upload_commit_and_finish_v1(
        p_upload, p_epoch, 0, p_size, p_hashes, p_generations, p_put, p_result,
        p_chunk_size_min, p_chunk_size_average, p_chunk_size_max, NULL);
    PERFORM variant_adopt_v1(p_blob, p_transform, p_upload, p_width, p_height, p_frames);
END $$;
