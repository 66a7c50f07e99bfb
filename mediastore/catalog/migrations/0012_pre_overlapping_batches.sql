-- Batches of one request that overlap: the intent of a batch is written (staged_intent_v1) and its chunks are PUT while
-- the batches before it are on their way. Commits go in order, each of its own rows alone.

-- Commit of a batch: as upload_commit_v1, but rows behind it are of batches that follow. What is to be finished has
-- none behind it.
CREATE FUNCTION upload_commit_v2(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_finishing boolean, p_expires_seconds integer
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_lock_v1(p_upload, p_epoch, p_offset);
    v_size bigint;
BEGIN
    SELECT coalesce(sum(size), 0) INTO v_size FROM upload_chunks
    WHERE upload = p_upload AND pass = 0 AND "offset" >= p_offset
      AND (p_finishing OR "offset" < p_offset + p_size);
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
