-- Uploads of many fragments, parts that are joined into one upload, and releases in bounded steps.
-- An upload's content is at every moment the rows of pass 1 below `rechunked` and those of pass 0 at and past it, its
-- fragments. A re-chunking moves `rechunked`, its cursor, up: what lies below it was cut by content. Rows of pass 0
-- that end at or below it are of no more use. NULL: there is no pass 1. `fragments` is their number as the last
-- re-chunking has left it, and those that were acknowledged since.
-- Everything that finishes an upload reads pass 0 alone: rechunk_settle_v1 brings an upload there first.

ALTER TABLE uploads
    ADD COLUMN fragments integer NOT NULL DEFAULT 0,
    ADD COLUMN rechunked bigint,
    ADD COLUMN concat text,
    ADD COLUMN joined_into uuid,
    ADD CONSTRAINT uploads_rechunked_within CHECK (rechunked >= 0 AND rechunked <= "offset"),
    ADD CONSTRAINT uploads_concat_known CHECK (concat IN ('partial', 'final')),
    ADD CONSTRAINT uploads_only_parts_are_joined CHECK (joined_into IS NULL OR concat = 'partial'),
    ADD CONSTRAINT uploads_parts_never_finish CHECK (concat IS DISTINCT FROM 'partial' OR state = 'open');
-- Finals whose parts are still on their way.
CREATE INDEX uploads_joining ON uploads (touched_at) WHERE concat = 'final' AND state = 'open';

-- Which parts a final upload is made of, in order. The first `joined` of them, `joined_bytes` in all, have given it
-- their chunks. Kept past the finish for a while: so the request that made the final can be repeated.
CREATE TABLE concatenations (
    final uuid PRIMARY KEY,
    tenant text NOT NULL,
    parts uuid[] NOT NULL,
    header text NOT NULL,
    joined integer NOT NULL DEFAULT 0,
    joined_bytes bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL,
    CONSTRAINT concatenations_joined_within CHECK (joined BETWEEN 0 AND cardinality(parts)),
    CONSTRAINT concatenations_have_parts CHECK (cardinality(parts) > 0)
);
-- A part goes into one final, so its first part names a final.
CREATE UNIQUE INDEX concatenations_first_part ON concatenations ((parts[1]));
CREATE INDEX concatenations_expires_at ON concatenations (expires_at);

-- Whatever moves an offset, old code included, counts the fragments that it acknowledges.
CREATE FUNCTION uploads_count_fragments_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.fragments := OLD.fragments + (
        SELECT count(*) FROM upload_chunks AS u
        WHERE u.upload = NEW.id AND u.pass = 0 AND u."offset" >= OLD."offset" AND u."offset" < NEW."offset");
    RETURN NEW;
END $$;
CREATE TRIGGER uploads_count_fragments BEFORE UPDATE OF "offset" ON uploads
FOR EACH ROW WHEN (NEW."offset" > OLD."offset") EXECUTE FUNCTION uploads_count_fragments_v1();

-- Giving references up in bounded steps. A step looks first how far its rows reach and changes that range in another
-- statement: a join with the rows chosen is planned as a nested loop over them, while the table's statistics are old.

-- Give up to p_rows of an upload's references up, of one pass; how many there were.
CREATE FUNCTION upload_release_some_v1(p_upload uuid, p_rows integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_pass integer := (SELECT min(u.pass) FROM upload_chunks AS u WHERE u.upload = p_upload);
    v_until bigint;
    v_released integer;
BEGIN
    SELECT max(c."offset") INTO v_until
    FROM (SELECT u."offset" FROM upload_chunks AS u WHERE u.upload = p_upload AND u.pass = v_pass
          ORDER BY u."offset" LIMIT p_rows) AS c;
    WITH released AS (
        DELETE FROM upload_chunks AS u WHERE u.upload = p_upload AND u.pass = v_pass AND u."offset" <= v_until
        RETURNING u."offset", u.hash, u.size
    )
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(hash || int8send("offset" + size), ''::bytea ORDER BY "offset"), catalog_clock()
    FROM released HAVING count(*) > 0
    RETURNING length(entries) / 40 INTO v_released;
    RETURN coalesce(v_released, 0);
END $$;

-- Leave uploads whose rows the caller holds to the collector: nobody can write to them or see them any more.
CREATE FUNCTION upload_park_v1(p_uploads uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE uploads SET state = 'open', expiry_fixed = false, epoch = (epoch + 1) & 4611686018427387903
    WHERE id = ANY (p_uploads);
    UPDATE uploads SET expires_at = catalog_clock() WHERE id = ANY (p_uploads) AND expires_at > catalog_clock();
END $$;

-- Drop an upload whose row the caller holds. What is more than p_rows is left to the collector: until then nobody can
-- write to the upload (another epoch) or see it (expired). Returns how many references were given up.
CREATE FUNCTION upload_drop_some_v1(p_upload uuid, p_rows integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_released integer := upload_release_some_v1(p_upload, p_rows);
BEGIN
    v_released := v_released + upload_release_some_v1(p_upload, p_rows - v_released);  -- the other pass
    IF EXISTS (SELECT 1 FROM upload_chunks AS u WHERE u.upload = p_upload) THEN
        PERFORM upload_park_v1(ARRAY[p_upload]);
    ELSE
        DELETE FROM uploads WHERE id = p_upload;
    END IF;
    RETURN v_released;
END $$;

-- Undo a concatenation whose final and parts the caller holds. Parts that have given chunks away end with it; the
-- others are as before.
CREATE FUNCTION concatenation_undo_v1(p_final uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_list concatenations;
    v_committed bigint;
    v_touched integer;
BEGIN
    DELETE FROM concatenations WHERE final = p_final RETURNING * INTO v_list;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT "offset" INTO v_committed FROM uploads WHERE id = p_final;
    v_touched := v_list.joined + CASE WHEN v_committed > v_list.joined_bytes THEN 1 ELSE 0 END;
    UPDATE uploads SET joined_into = NULL WHERE id = ANY (v_list.parts[v_touched + 1:]);
    UPDATE uploads SET joined_into = NULL, "offset" = 0, rechunked = NULL WHERE id = ANY (v_list.parts[:v_touched]);
    PERFORM upload_park_v1(v_list.parts[:v_touched]);
END $$;

-- Is a chunk of this upload marked damaged, so that nobody can read it back? There are few marks, if any.
CREATE FUNCTION upload_is_damaged_v1(p_upload uuid) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM chunks WHERE damaged_at IS NOT NULL) AND EXISTS (
        SELECT 1 FROM upload_chunks AS u JOIN chunks AS c ON c.hash = u.hash
        WHERE u.upload = p_upload AND c.damaged_at IS NOT NULL);
END $$;

-- Re-chunking

-- Lock an upload for its re-chunking: the epoch's holder alone, and only where the cursor stands (INV-8).
CREATE FUNCTION rechunk_lock_v1(p_upload uuid, p_epoch bigint, p_cursor bigint) RETURNS uploads
LANGUAGE plpgsql AS $$
DECLARE
    v_upload uploads;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'upload % is gone', p_upload USING ERRCODE = 'MS001';
    END IF;
    v_upload.rechunked := coalesce(v_upload.rechunked, 0);
    IF v_upload.epoch <> p_epoch OR v_upload.rechunked <> coalesce(p_cursor, v_upload.rechunked) THEN
        RAISE EXCEPTION 'upload % is re-chunked by another', p_upload USING ERRCODE = 'MS002';
    END IF;
    RETURN v_upload;
END $$;

-- Where a re-chunking goes on. What an earlier one has left undone is tidied up first, p_rows rows at once: call again
-- while `tidied` is not 0.
CREATE FUNCTION rechunk_begin_v1(p_upload uuid, p_epoch bigint, p_rows integer)
RETURNS TABLE (cursor bigint, tidied integer)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := rechunk_lock_v1(p_upload, p_epoch, NULL);
BEGIN
    cursor := v_upload.rechunked;
    tidied := rechunk_tidy_v1(v_upload, p_rows);
    RETURN NEXT;
END $$;

-- Give up rows of pass 0 that lie below the cursor whole; how many.
CREATE FUNCTION rechunk_tidy_v1(p_upload uploads, p_rows integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_until bigint;
    v_released integer;
BEGIN
    SELECT max(c."offset") INTO v_until
    FROM (SELECT u."offset" FROM upload_chunks AS u
          WHERE u.upload = p_upload.id AND u.pass = 0 AND u."offset" < p_upload.rechunked
          ORDER BY u."offset" LIMIT p_rows) AS c;
    WITH released AS (
        DELETE FROM upload_chunks AS u WHERE u.upload = p_upload.id AND u.pass = 0 AND u."offset" <= v_until
            AND u."offset" + u.size <= p_upload.rechunked
        RETURNING u."offset", u.hash, u.size
    )
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(hash || int8send("offset" + size), ''::bytea ORDER BY "offset"), catalog_clock()
    FROM released HAVING count(*) > 0
    RETURNING length(entries) / 40 INTO v_released;
    RETURN coalesce(v_released, 0);
END $$;

-- Intent of a batch that was cut at the cursor: as upload_intent_v1, in pass 1. The content stays referenced by what it
-- was read from (INV-1).
CREATE FUNCTION rechunk_intent_v1(
    p_upload uuid, p_epoch bigint, p_cursor bigint,
    p_hashes bytea[], p_sizes integer[], p_generations bigint[], p_expires_seconds integer
) RETURNS TABLE (hash bytea, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads := rechunk_lock_v1(p_upload, p_epoch, p_cursor);
    v_total bigint;
BEGIN
    SELECT sum(size) INTO v_total FROM unnest(p_sizes) AS size;
    IF v_total IS NULL OR p_cursor + v_total > v_upload."offset" THEN
        RAISE EXCEPTION 'a re-chunked batch of upload % ends past its offset', p_upload USING ERRCODE = 'MS900';
    END IF;
    PERFORM rechunk_release_intended_v1(v_upload);
    UPDATE uploads SET rechunked = p_cursor, touched_at = catalog_clock(),
        expires_at = greatest(expires_at, catalog_clock() + make_interval(secs => p_expires_seconds))
    WHERE id = p_upload;
    INSERT INTO upload_chunks (upload, pass, "offset", hash, size)
    SELECT p_upload, 1, p_cursor + sum(b.size) OVER (ORDER BY b.ordinality) - b.size, b.hash, b.size
    FROM unnest(p_hashes, p_sizes) WITH ORDINALITY AS b (hash, size);
    RETURN QUERY
    INSERT INTO chunks AS c (hash, generation, size, refs)
    SELECT b.hash, min(b.generation), min(b.size), count(*)
    FROM unnest(p_hashes, p_sizes, p_generations) AS b (hash, size, generation)
    GROUP BY b.hash ORDER BY b.hash
    ON CONFLICT (hash) DO UPDATE SET refs = c.refs + excluded.refs
    RETURNING c.hash, c.generation, c.stored, c.damaged_at IS NOT NULL;
END $$;

-- Give up what was intended at the cursor and never committed: at most a batch.
CREATE FUNCTION rechunk_release_intended_v1(p_upload uploads) RETURNS void
LANGUAGE sql AS $$
    WITH released AS (
        DELETE FROM upload_chunks WHERE upload = p_upload.id AND pass = 1 AND "offset" >= p_upload.rechunked
        RETURNING "offset", hash, size
    )
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(hash || int8send("offset" + size), ''::bytea ORDER BY "offset"), catalog_clock()
    FROM released HAVING count(*) > 0
$$;

-- Commit of a re-chunked batch: stored (INV-2), and the cursor moves; the new cursor. The batch that reaches the offset
-- is the last one. Its last chunk ends where the content ends so far, not where its bytes say: it replaces its source
-- in pass 0, and what is appended later is cut together with it.
CREATE FUNCTION rechunk_commit_v1(
    p_upload uuid, p_epoch bigint, p_cursor bigint, p_size bigint,
    p_hashes bytea[], p_generations bigint[], p_put boolean[]
) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_upload uploads := rechunk_lock_v1(p_upload, p_epoch, p_cursor);
    v_size bigint;
    v_last bigint;
    v_cursor bigint := p_cursor + p_size;
BEGIN
    SELECT sum(u.size), max(u."offset") INTO v_size, v_last FROM upload_chunks AS u
    WHERE u.upload = p_upload AND u.pass = 1 AND u."offset" >= p_cursor;
    IF v_size IS DISTINCT FROM p_size THEN
        RAISE EXCEPTION 'the re-chunking of upload % holds % bytes past %, not %', p_upload, v_size, p_cursor, p_size
            USING ERRCODE = 'MS900';
    END IF;
    PERFORM upload_stored_v1(p_upload, p_hashes, p_generations, p_put);
    IF v_cursor = v_upload."offset" THEN
        v_cursor := v_last;
        WITH released AS (
            DELETE FROM upload_chunks AS u WHERE u.upload = p_upload AND u.pass = 0
                AND u."offset" < v_upload."offset" AND u."offset" + u.size > v_last
            RETURNING u."offset", u.hash, u.size
        )
        INSERT INTO unlinking (entries, since)
        SELECT string_agg(hash || int8send("offset" + size), ''::bytea ORDER BY "offset"), catalog_clock()
        FROM released HAVING count(*) > 0;
        UPDATE upload_chunks SET pass = 0 WHERE upload = p_upload AND pass = 1 AND "offset" = v_last;
    END IF;
    UPDATE uploads SET rechunked = v_cursor, touched_at = catalog_clock(),
        fragments = CASE WHEN v_cursor = v_last THEN 1 ELSE fragments END
    WHERE id = p_upload;
    RETURN v_cursor;
END $$;

-- Bring an upload whose row the caller holds back to pass 0 alone, up to p_rows rows at once, from its end: at every
-- moment it is whole. Returns how many; 0 when it is done, NULL when a re-chunking is under way in the middle of a row
-- of pass 0 and has to reach the end first.
CREATE FUNCTION upload_settle_v1(p_upload uploads, p_rows integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_changed integer;
    v_cursor bigint;
BEGIN
    IF p_upload.rechunked < p_upload."offset" AND NOT EXISTS (
        SELECT 1 FROM upload_chunks AS u
        WHERE u.upload = p_upload.id AND u.pass = 0 AND u."offset" = p_upload.rechunked
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM rechunk_release_intended_v1(p_upload);
    v_changed := rechunk_tidy_v1(p_upload, p_rows);
    IF v_changed > 0 THEN
        RETURN v_changed;
    END IF;
    IF p_upload.rechunked = 0 THEN
        UPDATE uploads SET rechunked = NULL WHERE id = p_upload.id AND rechunked IS NOT NULL;
        RETURN 0;
    END IF;
    SELECT min(h."offset") INTO v_cursor
    FROM (SELECT u."offset" FROM upload_chunks AS u WHERE u.upload = p_upload.id AND u.pass = 1
          ORDER BY u."offset" DESC LIMIT p_rows) AS h;
    UPDATE upload_chunks SET pass = 0 WHERE upload = p_upload.id AND pass = 1 AND "offset" >= v_cursor;
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF v_changed = 0 THEN
        RAISE EXCEPTION 'upload % has no chunks below %', p_upload.id, p_upload.rechunked USING ERRCODE = 'MS900';
    END IF;
    UPDATE uploads SET rechunked = v_cursor WHERE id = p_upload.id;
    RETURN v_changed;
END $$;

CREATE FUNCTION rechunk_settle_v1(p_upload uuid, p_epoch bigint, p_rows integer) RETURNS integer
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN upload_settle_v1(rechunk_lock_v1(p_upload, p_epoch, NULL), p_rows);
END $$;

-- Concatenation

-- Join what can be joined, up to p_rows rows at once: parts in order, each once it is whole. References are moved, not
-- counted again (INV-4), within upload_chunks (INV-7). Returns 'whole' when that was the last part (the final is
-- finishing then, under p_epoch), 'more' when there is more to do now, 'waiting' when a part is not whole yet; NULL
-- when there is no such final that waits.
CREATE FUNCTION concatenation_join_v1(
    p_final uuid, p_epoch bigint, p_size_max bigint, p_rows integer, p_expires_seconds integer
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_list concatenations;
    v_final uploads;
    v_part uploads;
    v_left integer := p_rows;
    v_rows integer;
    v_bytes bigint;
    v_start bigint;
    v_until bigint;
    v_committed bigint;
    v_outcome text;
BEGIN
    SELECT * INTO v_list FROM concatenations WHERE final = p_final;
    PERFORM 1 FROM uploads WHERE id = ANY (v_list.parts || p_final) ORDER BY id FOR UPDATE;
    SELECT * INTO v_final FROM uploads WHERE id = p_final;
    SELECT * INTO v_list FROM concatenations WHERE final = p_final;
    IF v_list.final IS NULL OR v_final.id IS NULL OR v_final.state <> 'open' THEN
        RETURN NULL;
    END IF;
    v_committed := v_final."offset";
    WHILE v_outcome IS NULL LOOP
        IF v_list.joined = cardinality(v_list.parts) THEN
            v_outcome := 'whole';
            EXIT;
        END IF;
        SELECT * INTO v_part FROM uploads WHERE id = v_list.parts[v_list.joined + 1];
        IF v_part.id IS NULL OR v_part."offset" IS DISTINCT FROM v_part.length THEN
            v_outcome := 'waiting';
        ELSIF v_list.joined_bytes + v_part.length > p_size_max THEN
            RAISE EXCEPTION 'the parts have more than % bytes together', p_size_max USING ERRCODE = 'MS013';
        ELSIF v_left <= 0 THEN
            v_outcome := 'more';
        ELSIF v_part.rechunked IS NOT NULL THEN
            v_rows := upload_settle_v1(v_part, v_left);
            v_left := v_left - v_rows;
            v_outcome := CASE WHEN v_rows IS NULL THEN 'waiting' END;
        ELSE
            SELECT min(c."offset"), max(c."offset") INTO v_start, v_until
            FROM (SELECT u."offset" FROM upload_chunks AS u WHERE u.upload = v_part.id AND u.pass = 0
                  ORDER BY u."offset" LIMIT v_left) AS c;
            WITH moved AS (
                UPDATE upload_chunks AS u SET upload = p_final, "offset" = v_committed + u."offset" - v_start
                WHERE u.upload = v_part.id AND u.pass = 0 AND u."offset" <= v_until
                RETURNING u.size
            )
            SELECT count(*), coalesce(sum(size), 0) INTO v_rows, v_bytes FROM moved;
            v_left := v_left - v_rows;
            v_committed := v_committed + v_bytes;
            IF NOT EXISTS (SELECT 1 FROM upload_chunks AS u WHERE u.upload = v_part.id AND u.pass = 0) THEN
                IF v_committed <> v_list.joined_bytes + v_part.length THEN
                    RAISE EXCEPTION 'part % brought % bytes, not %', v_part.id, v_committed - v_list.joined_bytes,
                        v_part.length USING ERRCODE = 'MS900';
                END IF;
                PERFORM upload_release_v1(v_part.id, 0);
                UPDATE uploads SET fragments = 0 WHERE id = v_part.id;
                UPDATE uploads SET expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
                WHERE id = v_part.id AND expires_at > catalog_clock();
                v_list.joined := v_list.joined + 1;
                v_list.joined_bytes := v_committed;
            END IF;
        END IF;
    END LOOP;
    UPDATE concatenations SET joined = v_list.joined, joined_bytes = v_list.joined_bytes,
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE final = p_final;
    UPDATE uploads SET "offset" = v_committed, touched_at = catalog_clock(),
        expires_at = catalog_clock() + make_interval(secs => p_expires_seconds)
    WHERE id = p_final;
    IF v_outcome = 'whole' THEN
        UPDATE uploads SET state = 'finishing', length = v_committed, epoch = p_epoch WHERE id = p_final;
    END IF;
    RETURN v_outcome;
END $$;

-- A final upload of parts, in order, and the first step of joining them. Asked again with the same list it answers with
-- the same final (and `outcome` NULL).
CREATE FUNCTION concatenation_create_v1(
    p_final uuid, p_tenant text, p_owner text, p_name text, p_content_type text, p_metadata jsonb, p_protocol text,
    p_declared_hash bytea, p_declared_digests jsonb, p_tus_metadata text, p_epoch bigint,
    p_parts uuid[], p_header text, p_size_max bigint, p_rows integer, p_expires_seconds integer,
    p_expiry_fixed boolean
) RETURNS TABLE (final uuid, outcome text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_earlier concatenations;
    v_part record;
    v_total bigint := 0;
BEGIN
    PERFORM 1 FROM uploads AS u WHERE u.id = ANY (p_parts) ORDER BY u.id FOR UPDATE;
    SELECT * INTO v_earlier FROM concatenations AS c WHERE c.parts[1] = p_parts[1];
    IF v_earlier.tenant = p_tenant AND v_earlier.parts = p_parts THEN
        RETURN QUERY SELECT v_earlier.final, NULL::text;
        RETURN;
    END IF;
    FOR v_part IN
        SELECT p.id, u.concat, u.joined_into, u.length FROM unnest(p_parts) WITH ORDINALITY AS p (id, ordinality)
        LEFT JOIN uploads AS u ON u.id = p.id AND u.tenant = p_tenant AND u.expires_at > catalog_clock()
        ORDER BY p.ordinality
    LOOP
        IF v_part.concat IS DISTINCT FROM 'partial' THEN
            RAISE EXCEPTION 'there is no partial upload % (any more)', v_part.id USING ERRCODE = 'MS011';
        END IF;
        IF v_part.joined_into IS NOT NULL THEN
            RAISE EXCEPTION 'partial upload % is in final upload % already', v_part.id, v_part.joined_into
                USING ERRCODE = 'MS012';
        END IF;
        v_total := v_total + coalesce(v_part.length, 0);
    END LOOP;
    IF v_total > p_size_max THEN
        RAISE EXCEPTION 'the parts have % bytes together, more than %', v_total, p_size_max USING ERRCODE = 'MS013';
    END IF;
    INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, declared_hash, declared_digests,
                         tus_metadata, epoch, concat, created_at, touched_at, expires_at, expires_seconds,
                         expiry_fixed)
    VALUES (p_final, p_tenant, p_owner, p_name, p_content_type, p_metadata, p_protocol, p_declared_hash,
            p_declared_digests, p_tus_metadata, p_epoch, 'final', catalog_clock(), catalog_clock(),
            catalog_clock() + make_interval(secs => p_expires_seconds), p_expires_seconds, p_expiry_fixed);
    INSERT INTO concatenations (final, tenant, parts, header, expires_at)
    VALUES (p_final, p_tenant, p_parts, p_header, catalog_clock() + make_interval(secs => p_expires_seconds));
    UPDATE uploads AS u SET joined_into = p_final WHERE u.id = ANY (p_parts);
    RETURN QUERY SELECT p_final,
        concatenation_join_v1(p_final, p_epoch, p_size_max, p_rows, p_expires_seconds);
END $$;
