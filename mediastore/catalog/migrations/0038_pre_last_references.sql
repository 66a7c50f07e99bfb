-- Two holes that docs/model/erasure.pml has found.

-- references_release_v2 for a key that was doomed while somebody still referred to it, by a count that was too low: its
-- window begins with the last reference that goes, and a pass that clears it begins later (INV-6, INV-7). A restore
-- inside the window brings back an object that had these bytes. A claim locks doomed rows and chunks the other way
-- round: if the two meet, Postgres ends one, which is tried again.
CREATE FUNCTION references_release_v3(p_entries integer)
RETURNS TABLE (entries bigint, doomed_keys bigint, doomed_bytes bigint, quarantined bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_ids bigint[] := '{}';
    v_takes integer[] := '{}';
    v_hashes bytea[];
    v_counts bigint[];
    v_rowless bytea[];
    v_list record;
    v_left integer := p_entries;
    v_since timestamptz := (SELECT greatest(s.clock_high, catalog_clock()) FROM gc_state AS s);
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
    IF quarantined > 0 THEN
        v_rowless := ARRAY(SELECT u.hash FROM unnest(v_hashes) AS u (hash)
                           WHERE NOT EXISTS (SELECT 1 FROM chunks AS c WHERE c.hash = u.hash));
        PERFORM 1 FROM doomed AS d WHERE d.hash = ANY (v_rowless) AND d.claimed_at IS NULL
        ORDER BY d.hash, d.generation FOR UPDATE;
        UPDATE doomed AS d SET since = greatest(d.since, v_since), transaction = pg_current_xact_id()
        WHERE d.hash = ANY (v_rowless) AND d.claimed_at IS NULL;
    END IF;
    -- Rows that go are removed before the others are counted down: a row counted down first could then equal
    -- what was released (2 - 1 = 1) and would be taken for one that nobody references.
    WITH gone AS (
        DELETE FROM chunks AS c USING unnest(v_hashes, v_counts) AS r (hash, released)
        WHERE c.hash = r.hash AND c.refs = r.released
          AND NOT EXISTS (SELECT 1 FROM quarantine AS q WHERE q.hash = c.hash)
        RETURNING c.hash, c.generation, c.size
    ), condemned AS (
        INSERT INTO doomed (hash, generation, size, since)
        SELECT gone.hash, gone.generation, gone.size, v_since FROM gone RETURNING size
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

-- Keys with an erasure's bytes that it cannot mark: a worker has claimed them, or they are another erasure's. It is not
-- finished before they have gone.
CREATE TABLE erased_other_keys (
    erasure uuid NOT NULL REFERENCES erasures ON DELETE CASCADE,
    hash bytea NOT NULL,
    generation bigint NOT NULL,
    size integer NOT NULL,
    PRIMARY KEY (erasure, hash, generation)
);

-- erasure_mark_v1 that remembers those as well.
CREATE FUNCTION erasure_mark_v2(p_erasure uuid, p_entries integer) RETURNS integer
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_erasure erasures;
    v_tombstone bigint;
    v_hashes bytea[];
    v_entries integer;
    v_keys bigint;
    v_bytes bigint;
BEGIN
    SELECT * INTO v_erasure FROM erasures WHERE id = p_erasure AND removed_at IS NOT NULL AND marked_at IS NULL
    FOR UPDATE;
    IF NOT FOUND OR EXISTS (SELECT 1 FROM unlinking AS u WHERE u.id <= v_erasure.last_list) THEN
        RETURN NULL;
    END IF;
    SELECT t.id, least(p_entries, length(t.entries) / 40 - t.marked) INTO v_tombstone, v_entries
    FROM tombstones AS t WHERE t.erasure = p_erasure AND t.marked < length(t.entries) / 40 ORDER BY t.id LIMIT 1;
    IF v_tombstone IS NULL THEN
        UPDATE erasures SET marked_at = catalog_clock() WHERE id = p_erasure;
        RETURN NULL;
    END IF;
    SELECT array_agg(DISTINCT e.hash) INTO v_hashes
    FROM tombstones AS t CROSS JOIN LATERAL manifest_entries_v1(substr(t.entries, t.marked * 40 + 1, v_entries * 40)) AS e
    WHERE t.id = v_tombstone;
    PERFORM 1 FROM doomed AS d WHERE d.hash = ANY (v_hashes) AND d.claimed_at IS NULL AND d.erasure IS NULL
    ORDER BY d.hash, d.generation FOR UPDATE;
    WITH marked AS (
        UPDATE doomed AS d SET erasure = p_erasure, erased_at = catalog_clock(), transaction = pg_current_xact_id()
        WHERE d.hash = ANY (v_hashes) AND d.claimed_at IS NULL AND d.erasure IS NULL RETURNING d.size
    )
    SELECT count(*), coalesce(sum(marked.size), 0) INTO v_keys, v_bytes FROM marked;
    WITH others AS (
        INSERT INTO erased_other_keys (erasure, hash, generation, size)
        SELECT p_erasure, d.hash, d.generation, d.size FROM doomed AS d
        WHERE d.hash = ANY (v_hashes) AND d.erasure IS DISTINCT FROM p_erasure
        ON CONFLICT (erasure, hash, generation) DO NOTHING RETURNING size
    )
    SELECT v_keys + count(*), v_bytes + coalesce(sum(others.size), 0) INTO v_keys, v_bytes FROM others;
    INSERT INTO erased_shared_chunks (erasure, hash, size)
    SELECT p_erasure, c.hash, c.size FROM chunks AS c WHERE c.hash = ANY (v_hashes)
    ON CONFLICT (erasure, hash) DO NOTHING;
    UPDATE tombstones SET marked = marked + v_entries WHERE id = v_tombstone;
    UPDATE erasures SET keys = keys + v_keys, key_bytes = key_bytes + v_bytes WHERE id = p_erasure;
    RETURN v_entries;
END $$;
