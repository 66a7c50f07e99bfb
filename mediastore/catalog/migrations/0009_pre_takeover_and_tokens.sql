-- Takeover between replicas. uploads.writer names the replica whose request writes to an upload, from the PATCH
-- that took it to the request's last commit; NULL when nobody does. Only what finds another replica's writer
-- notifies, so that uploads as they usually go never do (NOTIFY serialises the commits that use it).
-- A replica listens on a channel of its own and holds an advisory lock on its id in the session that listens: whoever
-- gets that lock knows that nobody would hear.
-- Old code runs on: what it takes keeps a writer that writes no more, which costs one needless notification.

ALTER TABLE uploads ADD COLUMN writer bigint;

CREATE FUNCTION replica_listens_v1(p_replica bigint) RETURNS boolean
LANGUAGE sql AS $$
    SELECT NOT pg_try_advisory_xact_lock_shared(p_replica)
$$;

-- Said when the transaction commits. p_words: what, and about which epoch.
CREATE FUNCTION replica_tell_v1(p_replica bigint, p_words text) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_notify('mediastore_replica_' || p_replica, p_words)
$$;

-- Take an upload over by a new epoch, for a request of p_replica that will write (p_writes) or only asks. With an
-- expected offset that is wrong, nothing is taken. No row: there is no such upload (any more). A finishing upload is
-- returned as it is, not taken.
-- If a live replica's request is writing, p_patient asks that replica to let go and takes nothing yet (asked);
-- otherwise the upload is taken, and that replica is told.
CREATE FUNCTION upload_take_v2(
    p_tenant text, p_upload uuid, p_epoch bigint, p_expected_offset bigint,
    p_replica bigint, p_writes boolean, p_patient boolean
) RETURNS TABLE (standing uploads, previous_epoch bigint, asked boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads;
    v_elsewhere boolean;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
    IF NOT FOUND OR v_upload.expires_at <= catalog_clock() THEN
        RETURN;
    END IF;
    IF v_upload.state = 'finishing' THEN
        RETURN QUERY SELECT v_upload, v_upload.epoch, false;
        RETURN;
    END IF;
    IF p_expected_offset IS NOT NULL AND v_upload."offset" <> p_expected_offset THEN
        RAISE EXCEPTION '%', v_upload."offset" USING ERRCODE = 'MS003';
    END IF;
    v_elsewhere := v_upload.writer IS NOT NULL AND v_upload.writer IS DISTINCT FROM p_replica;
    IF v_elsewhere THEN
        v_elsewhere := replica_listens_v1(v_upload.writer);
    END IF;
    IF v_elsewhere AND p_patient THEN
        PERFORM replica_tell_v1(v_upload.writer, concat_ws(' ', 'ask', v_upload.epoch, p_replica, p_epoch));
        RETURN QUERY SELECT v_upload, v_upload.epoch, true;
        RETURN;
    END IF;
    PERFORM upload_release_v1(p_upload, v_upload."offset");
    RETURN QUERY UPDATE uploads AS u SET epoch = p_epoch, writer = CASE WHEN p_writes THEN p_replica END
    WHERE id = p_upload RETURNING u, v_upload.epoch, false;
    IF v_elsewhere THEN
        PERFORM replica_tell_v1(v_upload.writer, concat_ws(' ', 'taken', v_upload.epoch));
    END IF;
END $$;

-- The last commit of a request that does not finish its upload: nobody writes to it any more.
CREATE FUNCTION upload_commit_last_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_finishing boolean, p_expires_seconds integer
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_offset bigint := upload_commit_v1(
        p_upload, p_epoch, p_offset, p_size, p_hashes, p_generations, p_put, p_finishing, p_expires_seconds);
BEGIN
    UPDATE uploads SET writer = NULL WHERE id = p_upload AND writer IS NOT NULL;
    RETURN v_offset;
END $$;

-- What is staged is acknowledged once, at the end of its request.
CREATE FUNCTION staged_commit_last_v1(
    p_upload uuid, p_epoch bigint, p_offset bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[], p_finishing boolean, p_expires_seconds integer
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_offset bigint := staged_commit_v1(
        p_upload, p_epoch, p_offset, p_size, p_hashes, p_generations, p_put, p_finishing, p_expires_seconds);
BEGIN
    UPDATE uploads SET writer = NULL WHERE id = p_upload AND writer IS NOT NULL;
    RETURN v_offset;
END $$;

-- Tell another replica whose request writes to an upload that this will come to nothing.
CREATE FUNCTION upload_end_writer_v1(p_tenant text, p_upload uuid, p_replica bigint) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant;
    IF v_upload.writer <> p_replica AND replica_listens_v1(v_upload.writer) THEN
        PERFORM replica_tell_v1(v_upload.writer, concat_ws(' ', 'taken', v_upload.epoch));
    END IF;
END $$;

-- What signs a tenant's tokens (access/peek_tokens.py): 244 random bits, of which no answer ever shows any.
ALTER TABLE tenants ADD COLUMN token_secret bytea NOT NULL
    DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
