-- What is remembered of removed objects and blobs is given up like anything else: not while a hold on it is being added.
-- hold_add_v1 waits for those who hold SHARE on holds, and whoever comes behind it waits for its commit. Without that a
-- sweep took the tombstone that a hold had just found: nobody would have known what the held keys make up.

CREATE FUNCTION tombstones_sweep_v1(p_window_seconds bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_swept bigint;
    v_due timestamptz := catalog_clock() - make_interval(secs => p_window_seconds);
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    DELETE FROM tombstones WHERE id IN (
        SELECT id FROM tombstones WHERE since <= v_due AND NOT blob_is_held_v1(blob)
        ORDER BY since LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_swept = ROW_COUNT;
    RETURN v_swept;
END $$;

-- Those whose bytes cannot come back any more; behind tombstones_sweep_v1, in a statement that sees what it did.
CREATE FUNCTION purged_objects_sweep_v1(p_kept_seconds bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_swept bigint;
    v_due timestamptz := catalog_clock() - make_interval(secs => p_kept_seconds);
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    DELETE FROM purged_objects WHERE id IN (
        SELECT p.id FROM purged_objects AS p
        WHERE p.purged_at <= v_due
          AND NOT EXISTS (SELECT 1 FROM garbage AS g WHERE g.blob = p.blob)
          AND NOT EXISTS (SELECT 1 FROM tombstones AS t WHERE t.blob = p.blob)
          AND NOT object_is_held_v1(p.tenant, p.owner, p.id)
        ORDER BY p.purged_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_swept = ROW_COUNT;
    RETURN v_swept;
END $$;

-- trash_purge_v2 that takes an object which is remembered already: it was brought back, and who did that died before it
-- was forgotten. Without that nothing was purged any more, by anybody.
CREATE FUNCTION trash_purge_v3(p_limit integer, p_trash_seconds bigint)
RETURNS TABLE (objects bigint, garbage_blobs bigint, garbage_bytes bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
    v_blobs bytea[];
    v_changed bigint;
    v_now timestamptz := catalog_clock();
    v_purge_by timestamptz := v_now;
    v_deleted_by timestamptz := 'infinity';
    v_holds boolean;
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    v_holds := EXISTS (SELECT 1 FROM holds);
    IF p_trash_seconds IS NOT NULL THEN
        v_purge_by := 'infinity';
        v_deleted_by := v_now - make_interval(secs => p_trash_seconds);
    END IF;
    SELECT coalesce(array_agg(d.id), '{}'), coalesce(array_agg(d.blob), '{}') INTO v_ids, v_blobs
    FROM (SELECT o.id, o.blob FROM objects AS o WHERE o.purge_at <= v_purge_by AND o.deleted_at <= v_deleted_by
            AND (NOT v_holds OR NOT object_is_held_v1(o.tenant, o.owner, o.id))
          ORDER BY o.purge_at LIMIT p_limit FOR UPDATE SKIP LOCKED) AS d;
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs) ORDER BY b.hash FOR UPDATE;
    WITH gone AS (DELETE FROM objects AS o WHERE o.id = ANY (v_ids) RETURNING o.*)
    INSERT INTO purged_objects
        (id, tenant, owner, name, blob, content_type, size, metadata, created_at, deleted_at, purged_at)
    SELECT g.id, g.tenant, g.owner, g.name, g.blob, g.content_type, g.size, g.metadata, g.created_at, g.deleted_at,
           v_now FROM gone AS g
    ON CONFLICT (id) DO UPDATE
    SET owner = excluded.owner, name = excluded.name, blob = excluded.blob, content_type = excluded.content_type,
        size = excluded.size, metadata = excluded.metadata, created_at = excluded.created_at,
        deleted_at = excluded.deleted_at, purged_at = excluded.purged_at;
    UPDATE blobs AS b SET refs = b.refs - r.released
    FROM (SELECT u.blob, count(*) AS released FROM unnest(v_blobs) AS u (blob) GROUP BY u.blob) AS r
    WHERE b.hash = r.blob;
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF v_changed <> (SELECT count(DISTINCT u.blob) FROM unnest(v_blobs) AS u (blob)) THEN
        RAISE EXCEPTION 'a purged object''s blob has no row' USING ERRCODE = 'MS900';
    END IF;
    RETURN QUERY
    WITH fallen AS (
        INSERT INTO garbage (blob, since)
        SELECT b.hash, catalog_clock() FROM blobs AS b WHERE b.hash = ANY (v_blobs) AND b.refs = 0
        ON CONFLICT (blob) DO UPDATE SET since = excluded.since
        RETURNING blob
    )
    SELECT cardinality(v_ids)::bigint, count(*), coalesce(sum(b.size), 0)::bigint
    FROM fallen JOIN blobs AS b ON b.hash = fallen.blob;
END $$;
