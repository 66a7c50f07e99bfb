-- What a service does to its catalog, by the functions that it calls and a commit after each, without the service. Of 20
-- numbers in a row: 17 photos of one chunk, one that is the photo before it once more, one file of 8 chunks in two
-- batches, one upload given up after its intent. Each also puts the object of `p_lag` numbers earlier in the trash.

CREATE FUNCTION churn_hash(p_kind text, p_number bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT sha256(convert_to('churn ' || p_kind || ' ' || p_number, 'UTF8')) $$;

CREATE FUNCTION churn_id(p_number bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1800000000000 + p_number), 12, '0') || '70008000' || substr(md5(p_number::text), 1, 12))::uuid
$$;

-- One chunk, one body: one transaction when its blob is there, two when not.
CREATE PROCEDURE churn_photo(p_id uuid, p_number bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_blob bytea := churn_hash('photo', p_number);
    v_size integer := bench_photo_bytes();
    v_begun record;
BEGIN
    SELECT * INTO STRICT v_begun FROM body_begin_v1(
        p_id, 'bench', 'user-' || p_number % 100000, 'film.mp4', 'video/mp4', '{"album": "holiday"}', 'raw', v_blob,
        v_size, 1, ARRAY[v_blob], ARRAY[v_size], ARRAY[(random() * 4e18)::bigint], 604800, NULL);
    COMMIT;
    IF v_begun.linked_at IS NULL THEN
        PERFORM upload_commit_and_finish_v1(
            p_id, 1, 0, v_size, ARRAY[v_blob], ARRAY[v_begun.generation], ARRAY[NOT v_begun.stored], v_blob,
            1048576, 4194304, 8388608, NULL);
        COMMIT;
    END IF;
END $$;

-- Two batches of 4 chunks; `p_finished`: else it is given up after the intent of the first.
CREATE PROCEDURE churn_file(p_id uuid, p_number bigint, p_finished boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_size integer := bench_piece_bytes();
    v_batch bigint := 4::bigint * v_size;
    v_named record;
BEGIN
    INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, length, epoch,
                         created_at, touched_at, expires_at)
    VALUES (p_id, 'bench', 'user-' || p_number % 100000, 'film.mp4', 'video/mp4', '{}', 'tus', 2 * v_batch, 1,
            catalog_clock(), catalog_clock(), catalog_clock() + interval '7 days');
    COMMIT;
    FOR v_half IN 0..1 LOOP
        SELECT array_agg(i.hash) AS hashes, array_agg(i.generation) AS generations, array_agg(NOT i.stored) AS put
        INTO STRICT v_named
        FROM upload_intent_v1(
            p_id, 1, v_half * v_batch,
            (SELECT array_agg(churn_hash('piece', 8 * p_number + 4 * v_half + n)) FROM generate_series(1, 4) AS n),
            array_fill(v_size, ARRAY[4]),
            (SELECT array_agg((random() * 4e18)::bigint) FROM generate_series(1, 4)), 604800) AS i;
        COMMIT;
        IF NOT p_finished THEN
            PERFORM upload_abandon_v2('bench', p_id, 1, 1000, true);
            COMMIT;
            RETURN;
        ELSIF v_half = 0 THEN
            PERFORM upload_commit_v2(
                p_id, 1, 0, v_batch, v_named.hashes, v_named.generations, v_named.put, false, 604800);
        ELSE
            PERFORM upload_commit_and_finish_v1(
                p_id, 1, v_batch, v_batch, v_named.hashes, v_named.generations, v_named.put,
                churn_hash('file', p_number), 1048576, 4194304, 8388608, NULL);
        END IF;
        COMMIT;
    END LOOP;
END $$;

-- As the query object_trash, with what it tells the replicas.
CREATE PROCEDURE churn_trash(p_id uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_told bigint;
BEGIN
    WITH o AS (
        UPDATE objects AS live
        SET deleted_at = now.moment, purge_at = now.moment + make_interval(secs => t.trash_seconds)
        FROM tenants AS t, (SELECT catalog_clock() AS moment) AS now
        WHERE live.tenant = 'bench' AND live.id = p_id AND live.deleted_at IS NULL AND t.id = live.tenant
        RETURNING live.*
    )
    SELECT count(pg_notify('mediastore_deleted', concat_ws(' ', o.tenant, o.id, encode(o.blob, 'hex'))))
    INTO v_told FROM o;
    COMMIT;
END $$;

-- One session's share of the numbers p_first to p_last: twenties in turn.
CREATE PROCEDURE churn(p_session bigint, p_sessions bigint, p_first bigint, p_last bigint, p_lag bigint)
LANGUAGE plpgsql AS $$
BEGIN
    FOR v_number IN p_first..p_last LOOP
        CONTINUE WHEN (v_number / 20) % p_sessions <> p_session;
        CASE v_number % 20
            WHEN 0 THEN CALL churn_file(churn_id(v_number), v_number, true);
            WHEN 5 THEN CALL churn_photo(churn_id(v_number), v_number - 1);
            WHEN 10 THEN CALL churn_file(churn_id(v_number), v_number, false);
            ELSE CALL churn_photo(churn_id(v_number), v_number);
        END CASE;
        CALL churn_trash(churn_id(v_number - p_lag));
    END LOOP;
END $$;
