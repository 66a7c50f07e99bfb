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
