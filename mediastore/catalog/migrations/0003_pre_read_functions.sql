-- Reading: the part of a manifest that covers a byte range, with the keys of its chunks, in one statement.

-- Entries that overlap [p_start, p_end), at most p_limit of them, by binary search in the stored manifest.
CREATE FUNCTION blob_read_v1(p_blob bytea, p_start bigint, p_end bigint, p_limit integer)
RETURNS TABLE (hash bytea, beginning bigint, ending bigint, generation bigint, stored boolean, damaged boolean)
LANGUAGE plpgsql STABLE STRICT AS $$
#variable_conflict use_column
DECLARE
    v_count integer;
    v_low integer := 0;
    v_high integer;
    v_middle integer;
    v_ending bigint;
    v_first_beginning bigint := 0;
    v_part bytea;
BEGIN
    SELECT length(entries) / 40 INTO v_count FROM manifests WHERE blob = p_blob;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_high := v_count;
    -- The first entry whose end is past p_start.
    WHILE v_low < v_high LOOP
        v_middle := (v_low + v_high) / 2;
        SELECT ('x' || encode(substr(entries, v_middle * 40 + 33, 8), 'hex'))::bit(64)::bigint
        INTO v_ending FROM manifests WHERE blob = p_blob;
        IF v_ending > p_start THEN
            v_high := v_middle;
        ELSE
            v_low := v_middle + 1;
            v_first_beginning := v_ending;
        END IF;
    END LOOP;
    SELECT substr(entries, v_low * 40 + 1, p_limit * 40) INTO v_part FROM manifests WHERE blob = p_blob;
    RETURN QUERY
    SELECT e.hash, e.beginning, e.ending, c.generation, c.stored, c.damaged_at IS NOT NULL
    FROM (SELECT m.ordinal, m.hash, m.ending,
                 lag(m.ending, 1, v_first_beginning) OVER (ORDER BY m.ordinal) AS beginning
          FROM manifest_entries_v1(v_part) AS m) AS e
    LEFT JOIN chunks AS c ON c.hash = e.hash
    WHERE e.beginning < p_end
    ORDER BY e.ordinal;
END $$;
