-- Keys wait from the latest time that a collector has seen (INV-6).

-- references_release_v1 whose keys wait from no earlier than the latest time that a collector's guard has seen (INV-6): a
-- clock that leaps back between that guard and this batch would use up the window.
CREATE FUNCTION references_release_v2(p_entries integer)
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
