-- What the collector does to the catalog: rows first, bytes later (INV-5). Each function is one batch in one
-- transaction; several collectors share the work with SKIP LOCKED.
-- catalog_clock() is read into a variable before it is compared with a column: compared with a volatile
-- function, an index cannot be used as a range and every row that is not due yet would be read.
-- Batches are small and tables large: no sequential scans, whatever a table was like when it was analysed.

-- Trash whose time has come: object rows go, their blobs' refs with them; a blob at zero becomes garbage.
-- p_trash_seconds, where given, overrides the tenants' policy (for trying things out).
CREATE FUNCTION trash_purge_v1(p_limit integer, p_trash_seconds bigint)
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
BEGIN
    IF p_trash_seconds IS NOT NULL THEN
        v_purge_by := 'infinity';
        v_deleted_by := v_now - make_interval(secs => p_trash_seconds);
    END IF;
    SELECT coalesce(array_agg(d.id), '{}'), coalesce(array_agg(d.blob), '{}') INTO v_ids, v_blobs
    FROM (SELECT o.id, o.blob FROM objects AS o WHERE o.purge_at <= v_purge_by AND o.deleted_at <= v_deleted_by
          ORDER BY o.purge_at LIMIT p_limit FOR UPDATE SKIP LOCKED) AS d;
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs) ORDER BY b.hash FOR UPDATE;
    DELETE FROM objects AS o WHERE o.id = ANY (v_ids);
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

-- Garbage past its revive delay: the blob goes, its manifest (the one the DELETE returned) goes to unlinking.
-- The garbage row is a hint read unlocked; refs and delay are checked again under the blob's lock. Blobs are
-- locked without ever waiting, so any order will do. Blobs with variants wait (those are released first, in
-- transactions of their own) and are passed over here, so that they hold nobody up.
CREATE FUNCTION garbage_remove_v1(p_limit integer, p_revive_seconds bigint)
RETURNS TABLE (blobs bigint, bytes bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_blobs bytea[];
    v_manifests bigint;
    v_due timestamptz := catalog_clock() - make_interval(secs => p_revive_seconds);
BEGIN
    SELECT coalesce(array_agg(l.hash), '{}') INTO v_blobs
    FROM (SELECT b.hash FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob
          WHERE g.since <= v_due AND b.refs = 0
            AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = g.blob)
            AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.result = g.blob)
          ORDER BY g.since LIMIT p_limit FOR UPDATE OF b SKIP LOCKED) AS l;
    -- A new statement sees what was committed before the locks were taken.
    SELECT coalesce(array_agg(g.blob), '{}') INTO v_blobs FROM garbage AS g
    WHERE g.blob = ANY (v_blobs) AND g.since <= v_due
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = g.blob)
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.result = g.blob);
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
    SELECT count(*), coalesce(sum(gone.size), 0)::bigint FROM gone;
    IF v_manifests <> cardinality(v_blobs)
       OR EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs)) THEN
        RAISE EXCEPTION '% blobs to remove had % manifests', cardinality(v_blobs), v_manifests
            USING ERRCODE = 'MS900';
    END IF;
END $$;

-- Release up to p_entries references. The transaction that takes a chunk's last reference removes its row and
-- dooms its key (INV-4). References that do not fit their row are quarantined: that costs space, never bytes. From
-- then on the row is never counted down: that what is left fits one day does not make it right.
CREATE FUNCTION references_release_v1(p_entries integer)
RETURNS TABLE (entries bigint, doomed_keys bigint, doomed_bytes bigint, quarantined bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_ids bigint[] := '{}';
    v_takes integer[] := '{}';
    v_hashes bytea[];
    v_counts bigint[];
    v_list record;
    v_left integer := p_entries;
BEGIN
    -- Whole lists first come, first served, until the batch is full; the last one may be taken in part.
    -- A loop, so that only about as many lists are locked as are taken: the rest is for other collectors.
    FOR v_list IN
        SELECT u.id, length(u.entries) / 40 - u.cursor AS rest FROM unlinking AS u
        ORDER BY u.id LIMIT p_entries FOR UPDATE SKIP LOCKED
    LOOP
        v_ids := v_ids || v_list.id;
        v_takes := v_takes || least(v_list.rest, v_left);
        v_left := v_left - least(v_list.rest, v_left);
        EXIT WHEN v_left = 0;
    END LOOP;
    SELECT coalesce(array_agg(h.hash ORDER BY h.hash), '{}'), coalesce(array_agg(h.released ORDER BY h.hash), '{}')
    INTO v_hashes, v_counts
    FROM (SELECT e.hash, count(*) AS released
          FROM unnest(v_ids, v_takes) AS t (id, take) JOIN unlinking AS u ON u.id = t.id
          CROSS JOIN LATERAL manifest_entries_v1(substr(u.entries, u.cursor * 40 + 1, t.take * 40)) AS e
          GROUP BY e.hash) AS h;

    PERFORM 1 FROM chunks AS c WHERE c.hash = ANY (v_hashes) ORDER BY c.hash FOR UPDATE;
    INSERT INTO quarantine (hash, released, refs, since)
    SELECT r.hash, r.released, c.refs, catalog_clock() FROM unnest(v_hashes, v_counts) AS r (hash, released)
    LEFT JOIN chunks AS c ON c.hash = r.hash WHERE c.refs IS NULL OR c.refs < r.released;
    GET DIAGNOSTICS quarantined = ROW_COUNT;
    -- Rows that go are removed before the others are counted down: a row counted down first could then equal
    -- what was released (2 - 1 = 1) and would be taken for one that nobody references.
    WITH gone AS (
        DELETE FROM chunks AS c USING unnest(v_hashes, v_counts) AS r (hash, released)
        WHERE c.hash = r.hash AND c.refs = r.released
          AND NOT EXISTS (SELECT 1 FROM quarantine AS q WHERE q.hash = c.hash)
        RETURNING c.hash, c.generation, c.size
    ), condemned AS (
        INSERT INTO doomed (hash, generation, size, since)
        SELECT gone.hash, gone.generation, gone.size, catalog_clock() FROM gone RETURNING size
    )
    SELECT count(*), coalesce(sum(size), 0)::bigint INTO doomed_keys, doomed_bytes FROM condemned;
    UPDATE chunks AS c SET refs = c.refs - r.released FROM unnest(v_hashes, v_counts) AS r (hash, released)
    WHERE c.hash = r.hash AND c.refs > r.released
      AND NOT EXISTS (SELECT 1 FROM quarantine AS q WHERE q.hash = c.hash);

    DELETE FROM unlinking AS u USING unnest(v_ids, v_takes) AS t (id, take)
    WHERE u.id = t.id AND u.cursor + t.take = length(u.entries) / 40;
    UPDATE unlinking AS u SET cursor = u.cursor + t.take FROM unnest(v_ids, v_takes) AS t (id, take)
    WHERE u.id = t.id;
    entries := p_entries - v_left;
    RETURN NEXT;
END $$;

-- Guards of everything the collector does: the right incarnation, not paused, a database clock that agrees with
-- the collector's host and does not go back. What passes moves clock_high.
CREATE FUNCTION collector_lock_v1(p_incarnation uuid, p_host_time timestamptz, p_skew_max_seconds double precision)
RETURNS gc_state
LANGUAGE plpgsql AS $$
DECLARE
    v_state gc_state;
    v_now timestamptz;
BEGIN
    SELECT * INTO STRICT v_state FROM gc_state FOR UPDATE;
    v_now := catalog_clock();
    IF v_state.incarnation <> p_incarnation THEN
        RAISE EXCEPTION 'the database has another incarnation, %', v_state.incarnation USING ERRCODE = 'MS020';
    END IF;
    IF v_state.paused_at IS NOT NULL THEN
        RAISE EXCEPTION 'paused: %', coalesce(v_state.paused_why, 'no reason was given') USING ERRCODE = 'MS021';
    END IF;
    IF v_now < v_state.clock_high - interval '1 second' THEN
        RAISE EXCEPTION 'the database''s clock went back from % to %', v_state.clock_high, v_now
            USING ERRCODE = 'MS022';
    END IF;
    IF abs(extract(epoch FROM v_now - p_host_time)) > p_skew_max_seconds THEN
        RAISE EXCEPTION 'the database''s clock says %, this host''s %', v_now, p_host_time USING ERRCODE = 'MS022';
    END IF;
    UPDATE gc_state SET clock_high = greatest(clock_high, v_now) RETURNING * INTO STRICT v_state;
    RETURN v_state;
END $$;

-- Doomed keys that the newest complete recount saw nobody reference, or whose hash has a stored, undamaged row
-- of another generation (INV-7); the rest is kept and reported by `kept`.
-- Doomed before that recount began, by its snapshot and by time: transaction numbers begin anew in a database that
-- was dumped and loaded elsewhere.
-- Claimed in this transaction, deleted only after it has committed (INV-5). The counter goes up with each claim;
-- a database whose counter is behind the one that collectors have left in the store has been restored.
CREATE FUNCTION doomed_claim_v1(
    p_incarnation uuid, p_marker_counter bigint, p_host_time timestamptz, p_skew_max_seconds double precision,
    p_window_seconds bigint, p_limit integer, p_claim_timeout_seconds integer
) RETURNS TABLE (counter bigint, kept bigint, hashes bytea[], generations bigint[], sizes integer[])
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_state gc_state := collector_lock_v1(p_incarnation, p_host_time, p_skew_max_seconds);
    v_recount recounts;
    v_now timestamptz := catalog_clock();
BEGIN
    IF v_state.batch_counter < p_marker_counter THEN
        RAISE EXCEPTION 'the database has counted % claims, the store %', v_state.batch_counter, p_marker_counter
            USING ERRCODE = 'MS020';
    END IF;
    counter := v_state.batch_counter;
    kept := 0;
    hashes := '{}'; generations := '{}'; sizes := '{}';
    SELECT * INTO v_recount FROM recounts AS r
    WHERE r.finished_at IS NOT NULL AND r.incarnation = p_incarnation ORDER BY r.id DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(array_agg(d.hash ORDER BY d.hash, d.generation), '{}'),
           coalesce(array_agg(d.generation ORDER BY d.hash, d.generation), '{}')
    INTO hashes, generations
    FROM (SELECT hash, generation FROM doomed AS x
          WHERE x.since <= v_now - make_interval(secs => p_window_seconds)
            AND pg_visible_in_snapshot(x.transaction, v_recount.snapshot)
            AND x.since <= v_recount.started_at
            AND (x.claimed_at IS NULL OR x.claimed_at <= v_now - make_interval(secs => p_claim_timeout_seconds))
            AND (x.retry_at IS NULL OR x.retry_at <= v_now)
            AND x.kept_by_recount IS DISTINCT FROM v_recount.id
          ORDER BY x.since LIMIT p_limit FOR UPDATE SKIP LOCKED) AS d;

    PERFORM 1 FROM chunks AS c WHERE c.hash = ANY (hashes) ORDER BY c.hash FOR SHARE;
    IF EXISTS (SELECT 1 FROM unnest(hashes, generations) AS d (hash, generation)
               JOIN chunks AS c ON c.hash = d.hash AND c.generation = d.generation) THEN
        RAISE EXCEPTION 'INV-3: a doomed key is the key of a chunk row' USING ERRCODE = 'MS900';
    END IF;
    UPDATE doomed AS x SET kept_by_recount = v_recount.id, claimed_at = NULL
    FROM unnest(hashes, generations) AS d (hash, generation)
    WHERE x.hash = d.hash AND x.generation = d.generation
      AND EXISTS (SELECT 1 FROM recount_kept AS k WHERE k.recount = v_recount.id AND k.hash = d.hash)
      AND NOT EXISTS (SELECT 1 FROM chunks AS c
                      WHERE c.hash = d.hash AND c.stored AND c.damaged_at IS NULL);
    GET DIAGNOSTICS kept = ROW_COUNT;
    WITH claimed AS (
        UPDATE doomed AS x SET claimed_at = v_now, attempts = x.attempts + 1
        FROM unnest(hashes, generations) AS d (hash, generation)
        WHERE x.hash = d.hash AND x.generation = d.generation AND x.kept_by_recount IS DISTINCT FROM v_recount.id
        RETURNING x.hash, x.generation, x.size
    )
    SELECT coalesce(array_agg(c.hash ORDER BY c.hash, c.generation), '{}'),
           coalesce(array_agg(c.generation ORDER BY c.hash, c.generation), '{}'),
           coalesce(array_agg(c.size ORDER BY c.hash, c.generation), '{}')
    INTO hashes, generations, sizes FROM claimed AS c;
    IF cardinality(hashes) > 0 THEN
        UPDATE gc_state SET batch_counter = batch_counter + 1 RETURNING batch_counter INTO STRICT counter;
    END IF;
    RETURN NEXT;
END $$;

-- The store has deleted these keys: their rows go. Fewer than were asked for: another collector was quicker.
CREATE FUNCTION doomed_forget_v1(p_hashes bytea[], p_generations bigint[]) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_forgotten bigint;
BEGIN
    DELETE FROM doomed AS x USING unnest(p_hashes, p_generations) AS d (hash, generation)
    WHERE x.hash = d.hash AND x.generation = d.generation AND x.claimed_at IS NOT NULL;
    GET DIAGNOSTICS v_forgotten = ROW_COUNT;
    RETURN v_forgotten;
END $$;

-- The store refused to delete these keys: they are tried again after a growing pause.
CREATE FUNCTION doomed_refused_v1(p_hashes bytea[], p_generations bigint[], p_errors text[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE doomed AS x SET claimed_at = NULL, last_error = left(d.error, 500),
        retry_at = catalog_clock() + least(interval '1 day', interval '1 minute' * power(2, least(x.attempts, 12)))
    FROM unnest(p_hashes, p_generations, p_errors) AS d (hash, generation, error)
    WHERE x.hash = d.hash AND x.generation = d.generation
$$;
