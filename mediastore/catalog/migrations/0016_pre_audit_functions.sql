-- What an audit may change in the catalog. Nothing here deletes bytes or lowers what protects them: what leaks is sent
-- down the ordinary way, with its window and its recount; what is counted too low is raised.

-- Doom keys of the store that no row names (INV-11); they wait the whole window, like any other (INV-6). Each is looked
-- for again under its hash's lock: it may have been a chunk's, or doomed, all along. A row that is inserted meanwhile
-- has a generation of its own, so it is never one of these (INV-3).
CREATE FUNCTION orphans_doom_v1(
    p_incarnation uuid, p_host_time timestamptz, p_skew_max_seconds double precision,
    p_hashes bytea[], p_generations bigint[], p_sizes integer[]
) RETURNS TABLE (keys bigint, bytes bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM collector_lock_v1(p_incarnation, p_host_time, p_skew_max_seconds);
    PERFORM 1 FROM chunks AS c WHERE c.hash = ANY (p_hashes) ORDER BY c.hash FOR UPDATE;
    RETURN QUERY
    WITH condemned AS (
        INSERT INTO doomed (hash, generation, size, since)
        SELECT o.hash, o.generation, o.size, catalog_clock()
        FROM unnest(p_hashes, p_generations, p_sizes) AS o (hash, generation, size)
        WHERE NOT EXISTS (SELECT 1 FROM chunks AS c WHERE c.hash = o.hash AND c.generation = o.generation)
        ORDER BY o.hash, o.generation
        ON CONFLICT (hash, generation) DO NOTHING RETURNING size
    )
    SELECT count(*), coalesce(sum(condemned.size), 0)::bigint FROM condemned;
END $$;

-- A chunk row whose count differs by p_excess from the references that one snapshot met. Too high: nobody would ever
-- release the rest, so a list of unlinking names it as often as that, and the collector releases it as any other; from
-- then on the count is exact. Too low: it is raised. Another generation is another copy. Was it mended?
CREATE FUNCTION chunk_mend_v1(p_hash bytea, p_generation bigint, p_excess bigint) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_refs bigint;
BEGIN
    SELECT refs INTO v_refs FROM chunks WHERE hash = p_hash AND generation = p_generation FOR UPDATE;
    IF NOT FOUND OR p_excess = 0 OR v_refs < p_excess THEN
        RETURN false;
    END IF;
    IF p_excess < 0 THEN
        UPDATE chunks SET refs = refs - p_excess WHERE hash = p_hash;
        RETURN true;
    END IF;
    INSERT INTO unlinking (entries, since)
    SELECT string_agg(p_hash || int8send(0), ''::bytea), catalog_clock()
    FROM generate_series(1, p_excess) GROUP BY (generate_series - 1) / 10000;
    RETURN true;
END $$;

-- A blob's refs and its garbage row as objects and variants say, counted under its lock: whoever adds or takes one
-- holds it (INV-12). A blob that nobody references becomes garbage now, and waits as long as any.
CREATE FUNCTION blob_mend_v1(p_blob bytea) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_refs bigint;
    v_counted bigint;
    v_is_garbage boolean;
BEGIN
    SELECT refs INTO v_refs FROM blobs WHERE hash = p_blob FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_counted := (SELECT count(*) FROM objects WHERE blob = p_blob)
        + (SELECT count(*) FROM variants WHERE result = p_blob);
    v_is_garbage := EXISTS (SELECT 1 FROM garbage WHERE blob = p_blob);
    IF v_refs = v_counted AND v_is_garbage = (v_counted = 0) THEN
        RETURN false;
    END IF;
    UPDATE blobs SET refs = v_counted WHERE hash = p_blob AND refs <> v_counted;
    IF v_counted > 0 THEN
        DELETE FROM garbage WHERE blob = p_blob;
    ELSE
        INSERT INTO garbage (blob, since) VALUES (p_blob, catalog_clock()) ON CONFLICT (blob) DO NOTHING;
    END IF;
    RETURN true;
END $$;
