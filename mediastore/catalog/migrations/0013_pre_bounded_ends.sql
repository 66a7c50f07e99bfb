-- How uploads end that do not become objects: in bounded steps, with their parts, and told to their tenants.

-- Drop an upload at its owner's wish, p_rows references at once, and with p_told tell its tenant. Returns how many acknowledged bytes it had; null:
-- there is none.
-- A final that waits for a part ends with that part; a part that has given its chunks away is only forgotten.
CREATE FUNCTION upload_abandon_v1(p_tenant text, p_upload uuid, p_rows integer, p_told boolean) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_seen uploads;
    v_upload uploads;
    v_list concatenations;
BEGIN
    SELECT * INTO v_seen FROM uploads WHERE id = p_upload AND tenant = p_tenant;
    IF v_seen.concat IS NULL THEN
        SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
    ELSE
        SELECT * INTO v_list FROM concatenations
        WHERE final = CASE v_seen.concat WHEN 'final' THEN p_upload ELSE v_seen.joined_into END;
        PERFORM 1 FROM uploads WHERE id = ANY (v_list.parts || v_list.final || p_upload) ORDER BY id FOR UPDATE;
        SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant;
        IF v_upload.joined_into IS DISTINCT FROM v_seen.joined_into THEN
            RAISE EXCEPTION 'upload % was joined meanwhile', p_upload USING ERRCODE = '40001';
        END IF;
    END IF;
    IF v_upload.id IS NULL OR v_upload.state = 'open' AND v_upload.expires_at <= catalog_clock() THEN
        RETURN NULL;
    END IF;
    IF v_upload.concat = 'final' THEN
        PERFORM concatenation_undo_v1(p_upload);
    ELSIF v_upload.joined_into IS NOT NULL AND EXISTS (
        SELECT 1 FROM concatenations AS c JOIN uploads AS f ON f.id = c.final
        WHERE c.final = v_upload.joined_into AND array_position(c.parts, p_upload) > c.joined
    ) THEN
        PERFORM concatenation_undo_v1(v_upload.joined_into);
        PERFORM upload_drop_some_v1(v_upload.joined_into, p_rows);
    END IF;
    PERFORM upload_drop_some_v1(p_upload, p_rows);
    IF p_told THEN
        PERFORM event_record_v1(p_tenant, 'upload.terminated', upload_payload_v1(v_upload));
    END IF;
    RETURN CASE WHEN v_upload.joined_into IS NULL THEN v_upload."offset" ELSE 0 END;
END $$;

-- A final whose row the caller holds, expired: does it go? Not while any of its parts lives; they go together. Parts
-- that somebody holds are looked at another time: nobody waits for a lock here.
CREATE FUNCTION concatenation_expires_v1(p_final uploads, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_parts uuid[] := (SELECT parts FROM concatenations WHERE final = p_final.id);
    v_held bigint;
    v_latest timestamptz;
BEGIN
    SELECT count(*) INTO v_held
    FROM (SELECT 1 FROM uploads WHERE id = ANY (v_parts) ORDER BY id FOR UPDATE SKIP LOCKED) AS held;
    IF v_held <> (SELECT count(*) FROM uploads WHERE id = ANY (v_parts)) THEN
        RETURN false;
    END IF;
    SELECT max(expires_at) INTO v_latest FROM uploads WHERE id = ANY (v_parts);
    IF v_latest > p_now AND NOT p_final.expiry_fixed THEN
        UPDATE uploads SET expires_at = v_latest WHERE id = p_final.id;
        RETURN false;
    END IF;
    PERFORM concatenation_undo_v1(p_final.id);
    RETURN true;
END $$;

-- Drop uploads that expired, up to p_entries references at once; rechecked under each upload's lock. Not dropped: what
-- has all its bytes and can be finished (a job goes on or will be taken over), parts of a final that waits for them.
-- Returns how many, their bytes, and how many references were given up: an upload of very many takes several calls.
CREATE FUNCTION uploads_expire_v3(p_limit integer, p_entries integer)
RETURNS TABLE (uploads bigint, bytes bigint, entries bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads;
    -- Once, in a variable: compared with a volatile function, every row would be read.
    v_now timestamptz := catalog_clock();
BEGIN
    uploads := 0;
    bytes := 0;
    entries := 0;
    FOR v_upload IN
        SELECT * FROM uploads AS u WHERE u.expires_at <= v_now
            AND (u.state = 'open' OR upload_is_damaged_v1(u.id))
            AND NOT EXISTS (SELECT 1 FROM concatenations AS c JOIN uploads AS f ON f.id = c.final
                            WHERE c.final = u.joined_into AND f.state = 'open')
        ORDER BY u.expires_at LIMIT p_limit FOR UPDATE OF u SKIP LOCKED
    LOOP
        CONTINUE WHEN v_upload.concat = 'final' AND NOT concatenation_expires_v1(v_upload, v_now);
        entries := entries + upload_drop_some_v1(v_upload.id, p_entries - entries::integer);
        IF NOT EXISTS (SELECT 1 FROM uploads AS u WHERE u.id = v_upload.id) THEN
            PERFORM event_record_v1(v_upload.tenant, 'upload.expired', upload_payload_v1(v_upload));
            uploads := uploads + 1;
            -- A part that was joined has nothing left.
            bytes := bytes + CASE WHEN v_upload.joined_into IS NULL THEN v_upload."offset" ELSE 0 END;
        END IF;
        EXIT WHEN entries >= p_entries;
    END LOOP;
    RETURN NEXT;
END $$;
