-- Ends of uploads that keep to what is true: an upload is dropped by the writer that holds it, its end is told once and
-- only if somebody could have gone on with it, and the key of a request that a job finishes outlives the process.

ALTER TABLE uploads
    -- Of the one request that makes it: whoever finishes the upload keeps the key with the object.
    ADD COLUMN idempotency_key text,
    -- Given up before; what is left of it is the collector's, and nobody is told again.
    ADD COLUMN dropped boolean NOT NULL DEFAULT false;

-- Lock an upload together with its final, or with its parts: by ascending id, as everything that joins does.
CREATE FUNCTION upload_hold_v1(p_tenant text, p_upload uuid) RETURNS uploads
LANGUAGE plpgsql AS $$
DECLARE
    v_upload uploads;
    v_list concatenations;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant;
    IF v_upload.concat IS NOT NULL THEN
        SELECT * INTO v_list FROM concatenations
        WHERE final = CASE v_upload.concat WHEN 'final' THEN p_upload ELSE v_upload.joined_into END;
    END IF;
    PERFORM 1 FROM uploads WHERE id = ANY (v_list.parts || v_list.final || p_upload) ORDER BY id FOR UPDATE;
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant;
    RETURN v_upload;
END $$;

-- Drop an upload as upload_abandon_v1; with p_epoch only for that epoch's holder (INV-8). Null: there is none, or it is
-- another's by now.
CREATE FUNCTION upload_abandon_v2(p_tenant text, p_upload uuid, p_epoch bigint, p_rows integer, p_told boolean)
RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := upload_hold_v1(p_tenant, p_upload);
    v_bytes bigint;
BEGIN
    IF v_upload.id IS NULL OR v_upload.epoch <> p_epoch THEN
        RETURN NULL;
    END IF;
    v_bytes := upload_abandon_v1(p_tenant, p_upload, p_rows, p_told);
    IF v_bytes IS NOT NULL THEN  -- rows that are still there have too many references for one step
        UPDATE uploads AS u SET dropped = true WHERE u.id = p_upload OR (
            u.id = v_upload.joined_into AND NOT EXISTS (SELECT 1 FROM concatenations AS c WHERE c.final = u.id));
    END IF;
    RETURN v_bytes;
END $$;

-- Drop uploads that expired: as uploads_expire_v3. Told and counted is what expired, and not what was dropped before.
-- Told is what a client could have gone on with: neither a body of one request that its process did not live to end,
-- nor a part that is in an object by now.
CREATE FUNCTION uploads_expire_v4(p_limit integer, p_entries integer)
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
        IF NOT v_upload.dropped AND NOT EXISTS (SELECT 1 FROM uploads AS u WHERE u.id = v_upload.id) THEN
            uploads := uploads + 1;
            IF v_upload.joined_into IS NULL THEN  -- else it has nothing left
                bytes := bytes + v_upload."offset";
                IF v_upload.protocol IN ('tus', 'ietf') THEN
                    PERFORM event_record_v1(v_upload.tenant, 'upload.expired', upload_payload_v1(v_upload));
                END IF;
            END IF;
        END IF;
        EXIT WHEN entries >= p_entries;
    END LOOP;
    RETURN NEXT;
END $$;
