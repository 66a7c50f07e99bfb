-- A blob that is counted too low is put aside alone. Before, its count would have gone below zero, or its row away from
-- under an object: the batch failed, and with it every collection there was from then on.

-- Nothing of these is collected: their objects stay in the trash, their garbage and their variants where they are.
-- `refs` is what the row said. blob_mend_v2 counts anew, and lets go.
CREATE TABLE blob_quarantine (
    blob bytea PRIMARY KEY REFERENCES blobs ON DELETE CASCADE,
    refs bigint NOT NULL,
    since timestamptz NOT NULL
);

-- Of these blobs, whose locks the caller holds and of which p_released references are to go: those whose count does not
-- leave room for that, or would be used up while an object or a variant still refers to them; and those that were put
-- aside before. They are put aside. At most p_released + 1 references of a blob are read, and of most of them none.
CREATE FUNCTION blobs_put_aside_v1(p_blobs bytea[], p_released bigint[]) RETURNS bytea[]
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_low bytea[];
BEGIN
    SELECT coalesce(array_agg(b.hash ORDER BY b.hash), '{}') INTO v_low
    FROM unnest(p_blobs, p_released) AS r (blob, released) JOIN blobs AS b ON b.hash = r.blob
    WHERE b.refs < r.released
       OR b.refs = r.released AND r.released < (
           SELECT count(*) FROM (
               (SELECT 1 FROM objects AS o WHERE o.blob = r.blob LIMIT r.released + 1)
               UNION ALL (SELECT 1 FROM variants AS v WHERE v.result = r.blob LIMIT r.released + 1)) AS known)
       OR EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = r.blob);
    INSERT INTO blob_quarantine (blob, refs, since)
    SELECT b.hash, b.refs, catalog_clock() FROM blobs AS b WHERE b.hash = ANY (v_low)
    ON CONFLICT (blob) DO NOTHING;
    RETURN v_low;
END $$;

-- blob_mend_v1 that lets go of what was put aside: from here on its count is exact.
CREATE FUNCTION blob_mend_v2(p_blob bytea) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_mended boolean := blob_mend_v1(p_blob);
BEGIN
    DELETE FROM blob_quarantine WHERE blob = p_blob;
    RETURN v_mended OR FOUND;
END $$;

-- trash_purge_v3 that puts aside.
CREATE FUNCTION trash_purge_v4(p_limit integer, p_trash_seconds bigint)
RETURNS TABLE (objects bigint, garbage_blobs bigint, put_aside bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
    v_blobs bytea[];
    v_aside bytea[];
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
            AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = o.blob)
          ORDER BY o.purge_at LIMIT p_limit FOR UPDATE SKIP LOCKED) AS d;
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs) ORDER BY b.hash FOR UPDATE;
    SELECT blobs_put_aside_v1(coalesce(array_agg(r.blob), '{}'), coalesce(array_agg(r.released), '{}')) INTO v_aside
    FROM (SELECT u.blob, count(*) AS released FROM unnest(v_blobs) AS u (blob) GROUP BY u.blob) AS r;
    SELECT coalesce(array_agg(u.id), '{}'), coalesce(array_agg(u.blob), '{}') INTO v_ids, v_blobs
    FROM unnest(v_ids, v_blobs) AS u (id, blob) WHERE u.blob <> ALL (v_aside);
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
    SELECT cardinality(v_ids)::bigint, (SELECT count(*) FROM fallen), cardinality(v_aside)::bigint;
END $$;

-- garbage_remove_v2 that puts aside garbage that an object or a variant refers to. (Garbage that a variant is made into
-- was passed over before, unsaid.)
CREATE FUNCTION garbage_remove_v3(p_limit integer, p_revive_seconds bigint)
RETURNS TABLE (blobs bigint, bytes bigint, put_aside bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_blobs bytea[];
    v_aside bytea[];
    v_manifests bigint;
    v_due timestamptz := catalog_clock() - make_interval(secs => p_revive_seconds);
    v_holds boolean;
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    v_holds := EXISTS (SELECT 1 FROM holds);
    SELECT coalesce(array_agg(l.hash), '{}') INTO v_blobs
    FROM (SELECT b.hash FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob
          WHERE g.since <= v_due AND b.refs = 0
            AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = g.blob)
            AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = g.blob)
            AND (NOT v_holds OR NOT blob_is_held_v1(g.blob))
          ORDER BY g.since LIMIT p_limit FOR UPDATE OF b SKIP LOCKED) AS l;
    -- A new statement sees what was committed before the locks were taken.
    SELECT coalesce(array_agg(g.blob), '{}') INTO v_blobs FROM garbage AS g
    WHERE g.blob = ANY (v_blobs) AND g.since <= v_due
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = g.blob)
      AND (NOT v_holds OR NOT blob_is_held_v1(g.blob));
    v_aside := blobs_put_aside_v1(v_blobs, array_fill(0::bigint, ARRAY[cardinality(v_blobs)]));
    SELECT coalesce(array_agg(u.blob), '{}') INTO v_blobs FROM unnest(v_blobs) AS u (blob)
    WHERE u.blob <> ALL (v_aside);
    DELETE FROM media AS m WHERE m.blob = ANY (v_blobs);
    WITH gone AS (DELETE FROM manifests AS m WHERE m.blob = ANY (v_blobs) RETURNING m.blob, m.entries),
    remembered AS (
        INSERT INTO tombstones (blob, size, entries, since)
        SELECT gone.blob, b.size, gone.entries, catalog_clock() FROM gone JOIN blobs AS b ON b.hash = gone.blob
    ), released AS (
        INSERT INTO unlinking (blob, entries, since)
        SELECT gone.blob, gone.entries, catalog_clock() FROM gone WHERE length(gone.entries) > 0
    )
    SELECT count(*) INTO v_manifests FROM gone;
    DELETE FROM garbage AS g WHERE g.blob = ANY (v_blobs);
    RETURN QUERY
    WITH gone AS (DELETE FROM blobs AS b WHERE b.hash = ANY (v_blobs) AND b.refs = 0 RETURNING b.size)
    SELECT count(*), coalesce(sum(gone.size), 0)::bigint, cardinality(v_aside)::bigint FROM gone;
    IF v_manifests <> cardinality(v_blobs)
       OR EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs)) THEN
        RAISE EXCEPTION '% blobs to remove had % manifests', cardinality(v_blobs), v_manifests
            USING ERRCODE = 'MS900';
    END IF;
END $$;

-- variants_release_v1 that puts results aside.
CREATE FUNCTION variants_release_v2(p_limit integer, p_revive_seconds bigint, p_unused_seconds bigint)
RETURNS TABLE (variants bigint, put_aside bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := catalog_clock();
    v_garbage_by timestamptz := v_now - make_interval(secs => p_revive_seconds);
    v_unused_by timestamptz := v_now - make_interval(secs => p_unused_seconds);
    v_sources bytea[];
    v_transforms text[];
    v_results bytea[];
    v_aside bytea[];
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    WITH due AS (
        (SELECT v.blob, v.transform FROM garbage AS g JOIN variants AS v ON v.blob = g.blob
         WHERE g.since <= v_garbage_by AND NOT blob_is_held_v1(g.blob)
           AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob IN (v.blob, v.result)) LIMIT p_limit)
        UNION
        (SELECT v.blob, v.transform FROM variants AS v WHERE v.used_at <= v_unused_by
           AND NOT EXISTS (SELECT 1 FROM blob_quarantine AS q WHERE q.blob = v.result)
         ORDER BY v.used_at LIMIT p_limit)
    ), locked AS (
        SELECT v.blob, v.transform, v.result FROM variants AS v
        WHERE (v.blob, v.transform) IN (SELECT due.blob, due.transform FROM due) LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
    SELECT coalesce(array_agg(l.blob), '{}'), coalesce(array_agg(l.transform), '{}'),
           coalesce(array_agg(l.result), '{}')
    INTO v_sources, v_transforms, v_results FROM locked AS l;
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_results) ORDER BY b.hash FOR UPDATE;
    SELECT blobs_put_aside_v1(coalesce(array_agg(r.blob), '{}'), coalesce(array_agg(r.released), '{}')) INTO v_aside
    FROM (SELECT u.blob, count(*) AS released FROM unnest(v_results) AS u (blob) GROUP BY u.blob) AS r;
    SELECT coalesce(array_agg(u.source), '{}'), coalesce(array_agg(u.transform), '{}'),
           coalesce(array_agg(u.result), '{}')
    INTO v_sources, v_transforms, v_results
    FROM unnest(v_sources, v_transforms, v_results) AS u (source, transform, result) WHERE u.result <> ALL (v_aside);
    PERFORM variants_drop_v1(v_sources, v_transforms, v_results);
    variants := cardinality(v_sources);
    put_aside := cardinality(v_aside);
    RETURN NEXT;
END $$;

-- erase_objects_v1 for blobs that are counted too low: what is erased must go, so they are counted anew, under their
-- locks, instead of put aside. It looks at the same rows again, now that they are locked.
CREATE FUNCTION erase_objects_v2(p_erasure uuid, p_after uuid, p_limit integer)
RETURNS TABLE (objects bigint, last uuid, mended bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_blobs bytea[];
BEGIN
    SELECT coalesce(array_agg(d.blob), '{}') INTO v_blobs
    FROM (SELECT o.blob FROM objects AS o
          WHERE o.tenant = v_erasure.tenant AND o.id > p_after AND o.id >= coalesce(v_erasure.object, p_after)
            AND o.id <= coalesce(v_erasure.object, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            AND (v_erasure.owner IS NULL OR o.owner = v_erasure.owner) AND o.created_at <= v_erasure.asked_at
          ORDER BY o.id LIMIT p_limit FOR UPDATE) AS d;
    mended := blobs_count_anew_v1(v_blobs);
    SELECT e.objects, e.last INTO objects, last FROM erase_objects_v1(p_erasure, p_after, p_limit) AS e;
    RETURN NEXT;
END $$;

-- The same for results of variants.
CREATE FUNCTION erase_variants_v2(p_erasure uuid, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_results bytea[];
BEGIN
    IF v_erasure.id IS NULL THEN
        RETURN 0;
    END IF;
    SELECT coalesce(array_agg(d.result), '{}') INTO v_results
    FROM (SELECT v.result FROM variants AS v WHERE v.blob IN (SELECT s FROM erased_sources_v1(p_erasure) AS s)
          ORDER BY v.blob, v.transform LIMIT p_limit FOR UPDATE) AS d;
    PERFORM blobs_count_anew_v1(v_results);
    RETURN erase_variants_v1(p_erasure, p_limit);
END $$;

-- Lock blobs of which each of these references is to go, and count those anew that are counted too low. How many.
CREATE FUNCTION blobs_count_anew_v1(p_references bytea[]) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_low bytea[];
BEGIN
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (p_references) ORDER BY b.hash FOR UPDATE;
    SELECT blobs_put_aside_v1(coalesce(array_agg(r.blob), '{}'), coalesce(array_agg(r.released), '{}')) INTO v_low
    FROM (SELECT u.blob, count(*) AS released FROM unnest(p_references) AS u (blob) GROUP BY u.blob) AS r;
    RETURN (SELECT count(*) FILTER (WHERE blob_mend_v2(u.blob)) FROM unnest(v_low) AS u (blob));
END $$;
