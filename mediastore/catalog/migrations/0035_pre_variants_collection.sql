-- Variants leave with their source, or when nobody has used them for a while, and are erased with it.

-- Variants to release: of a source that has been garbage for the revive delay and that no hold keeps, and those unused
-- for p_unused_seconds. Their results lose a reference and become garbage at zero (INV-12). Rows are locked without
-- waiting, then the results in hash order, as in a purge. In transactions of its own, before the sources are removed.
CREATE FUNCTION variants_release_v1(p_limit integer, p_revive_seconds bigint, p_unused_seconds bigint)
RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := catalog_clock();
    v_garbage_by timestamptz := v_now - make_interval(secs => p_revive_seconds);
    v_unused_by timestamptz := v_now - make_interval(secs => p_unused_seconds);
    v_sources bytea[];
    v_transforms text[];
    v_results bytea[];
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    WITH due AS (
        (SELECT v.blob, v.transform FROM garbage AS g JOIN variants AS v ON v.blob = g.blob
         WHERE g.since <= v_garbage_by AND NOT blob_is_held_v1(g.blob) LIMIT p_limit)
        UNION
        (SELECT v.blob, v.transform FROM variants AS v WHERE v.used_at <= v_unused_by ORDER BY v.used_at LIMIT p_limit)
    ), locked AS (
        SELECT v.blob, v.transform, v.result FROM variants AS v
        WHERE (v.blob, v.transform) IN (SELECT due.blob, due.transform FROM due) LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
    SELECT coalesce(array_agg(l.blob), '{}'), coalesce(array_agg(l.transform), '{}'),
           coalesce(array_agg(l.result), '{}')
    INTO v_sources, v_transforms, v_results FROM locked AS l;
    PERFORM variants_drop_v1(v_sources, v_transforms, v_results);
    RETURN cardinality(v_sources);
END $$;

-- Drop these variants, whose rows the caller holds.
CREATE FUNCTION variants_drop_v1(p_sources bytea[], p_transforms text[], p_results bytea[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_changed bigint;
BEGIN
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (p_results) ORDER BY b.hash FOR UPDATE;
    DELETE FROM variants AS v USING unnest(p_sources, p_transforms) AS d (blob, transform)
    WHERE v.blob = d.blob AND v.transform = d.transform;
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF v_changed <> cardinality(p_sources) THEN
        RAISE EXCEPTION '% variants were to be dropped, % were', cardinality(p_sources), v_changed
            USING ERRCODE = 'MS900';
    END IF;
    INSERT INTO released_variants (blob, result, since)
    SELECT DISTINCT d.blob, d.result, catalog_clock() FROM unnest(p_sources, p_results) AS d (blob, result)
    ORDER BY d.blob, d.result
    ON CONFLICT (blob, result) DO UPDATE SET since = excluded.since;
    UPDATE blobs AS b SET refs = b.refs - r.released
    FROM (SELECT u.result, count(*) AS released FROM unnest(p_results) AS u (result) GROUP BY u.result) AS r
    WHERE b.hash = r.result;
    INSERT INTO garbage (blob, since)
    SELECT b.hash, catalog_clock() FROM blobs AS b WHERE b.hash = ANY (p_results) AND b.refs = 0
    ON CONFLICT (blob) DO UPDATE SET since = excluded.since;
END $$;

-- What is past its use: jobs that nobody is at, or that remember what is not believed any more; released results whose
-- bytes are gone, after p_kept_seconds.
CREATE FUNCTION variants_sweep_v1(p_kept_seconds bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_swept bigint;
    v_more bigint;
    v_over timestamptz := catalog_clock() - interval '1 hour';
    v_gone timestamptz := catalog_clock() - make_interval(secs => p_kept_seconds);
BEGIN
    DELETE FROM variant_jobs WHERE (blob, transform) IN (
        SELECT blob, transform FROM variant_jobs WHERE until <= v_over ORDER BY until LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_swept = ROW_COUNT;
    DELETE FROM released_variants WHERE (blob, result) IN (
        SELECT r.blob, r.result FROM released_variants AS r
        WHERE r.since <= v_gone AND NOT EXISTS (SELECT 1 FROM garbage AS g WHERE g.blob = r.result)
          AND NOT EXISTS (SELECT 1 FROM tombstones AS t WHERE t.blob = r.result)
        ORDER BY r.since LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_more = ROW_COUNT;
    RETURN v_swept + v_more;
END $$;

-- Sources of what an erasure has removed that nothing references any more, and that nobody else had deleted lately:
-- their variants are erased with them.
CREATE FUNCTION erased_sources_v1(p_erasure uuid) RETURNS SETOF bytea
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT o.blob FROM erased_objects AS o
    WHERE o.erasure = p_erasure AND o.kind = 'object' AND o.blob IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = o.blob AND b.refs > 0)
      AND NOT EXISTS (SELECT 1 FROM purged_objects AS p WHERE p.blob = o.blob)
$$;

-- Erase up to p_limit variants, those that were released before, or one upload that was to become one (what it is made
-- of is remembered first, as in erase_upload_v1). How many; 0: there is none left. In transactions of its own: the
-- results' locks are not those of the objects' blobs, in whose order they would have to come.
CREATE FUNCTION erase_variants_v1(p_erasure uuid, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_sources bytea[];
    v_transforms text[];
    v_results bytea[];
    v_whole bytea[];
    v_upload uuid;
BEGIN
    IF v_erasure.id IS NULL THEN
        RETURN 0;
    END IF;
    SELECT u.id INTO v_upload FROM uploads AS u
    WHERE u.tenant = '' AND u.owner IN (SELECT encode(s, 'hex') FROM erased_sources_v1(p_erasure) AS s)
    ORDER BY u.id LIMIT 1 FOR UPDATE;
    IF v_upload IS NOT NULL THEN
        INSERT INTO tombstones (size, entries, since, erasure)
        SELECT sum(c.size), string_agg(c.hash || int8send(c."offset" + c.size), ''::bytea), catalog_clock(), p_erasure
        FROM upload_chunks AS c WHERE c.upload = v_upload HAVING count(*) > 0;
        PERFORM upload_release_v1(v_upload, 0);
        DELETE FROM uploads WHERE id = v_upload;
        RETURN 1;
    END IF;
    SELECT coalesce(array_agg(d.blob), '{}'), coalesce(array_agg(d.transform), '{}'),
           coalesce(array_agg(d.result), '{}')
    INTO v_sources, v_transforms, v_results
    FROM (SELECT v.blob, v.transform, v.result FROM variants AS v
          WHERE v.blob IN (SELECT s FROM erased_sources_v1(p_erasure) AS s)
          ORDER BY v.blob, v.transform LIMIT p_limit FOR UPDATE) AS d;
    IF cardinality(v_sources) = 0 THEN
        WITH gone AS (
            DELETE FROM released_variants AS r WHERE r.blob IN (SELECT s FROM erased_sources_v1(p_erasure) AS s)
            RETURNING r.result
        )
        SELECT coalesce(array_agg(DISTINCT gone.result), '{}') INTO v_whole FROM gone;
        PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_whole) ORDER BY b.hash FOR UPDATE;
        PERFORM erase_blobs_v1(p_erasure, v_whole);
        RETURN cardinality(v_whole);
    END IF;
    SELECT array_agg(DISTINCT a.hash) INTO v_whole FROM unnest(v_sources || v_results) AS a (hash);
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_whole) ORDER BY b.hash FOR UPDATE;
    PERFORM variants_drop_v1(v_sources, v_transforms, v_results);
    PERFORM erase_blobs_v1(p_erasure, v_whole);
    RETURN cardinality(v_sources);
END $$;

-- erasure_removed_v1 that waits for the variants as well.
CREATE FUNCTION erasure_removed_v2(p_erasure uuid) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM erased_sources_v1(p_erasure) AS s
               WHERE EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = s)
                  OR EXISTS (SELECT 1 FROM released_variants AS r WHERE r.blob = s)
                  OR EXISTS (SELECT 1 FROM uploads AS u WHERE u.tenant = '' AND u.owner = encode(s, 'hex'))) THEN
        RETURN false;
    END IF;
    RETURN erasure_removed_v1(p_erasure);
END $$;
