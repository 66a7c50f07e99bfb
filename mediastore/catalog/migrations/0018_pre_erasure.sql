-- Legal erasure: what is erased goes past every delay, but not past a recount (INV-6, INV-7).
-- In this order, each step by itself and repeated as often as need be: asked for, recorded in the store (so that a
-- restored database learns of it), rows removed, keys marked when their references have been released, a recount, keys
-- claimed and deleted like any others.
-- What somebody else had as well within the recovery window waits the whole window: it is theirs that a restore must
-- bring back. Of objects that tells by what is remembered of them (purged_objects, tombstones).

CREATE TABLE erasures (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    owner text,
    object uuid,
    why text NOT NULL,
    -- Of the first database that was asked: what was made later is not meant.
    asked_at timestamptz NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    recorded_at timestamptz,
    removed_at timestamptz,
    -- The newest list of unlinking when everything was removed: once those up to it have gone, keys are marked.
    last_list bigint,
    marked_at timestamptz,
    finished_at timestamptz,
    keys bigint NOT NULL DEFAULT 0,
    key_bytes bigint NOT NULL DEFAULT 0,
    CONSTRAINT erasures_name_an_owner_or_an_object CHECK (owner IS NULL OR object IS NULL),
    CONSTRAINT erasures_are_recorded_before_anything_goes CHECK (removed_at IS NULL OR recorded_at IS NOT NULL),
    CONSTRAINT erasures_mark_what_was_removed CHECK (marked_at IS NULL OR removed_at IS NOT NULL),
    CONSTRAINT erasures_finish_what_was_marked CHECK (finished_at IS NULL OR marked_at IS NOT NULL)
);
CREATE INDEX erasures_unfinished ON erasures (asked_at) WHERE finished_at IS NULL;

-- What each has erased: objects, and uploads that had not become any. No name, no owner, no metadata.
CREATE TABLE erased_objects (
    erasure uuid NOT NULL REFERENCES erasures ON DELETE CASCADE,
    id uuid NOT NULL,
    kind text NOT NULL,
    blob bytea,
    size bigint NOT NULL,
    PRIMARY KEY (erasure, id),
    CONSTRAINT erased_objects_kind_known CHECK (kind IN ('object', 'upload'))
);
CREATE INDEX erased_objects_id ON erased_objects (id);

-- Chunks of what was erased that others have as well: they stay.
CREATE TABLE erased_shared_chunks (
    erasure uuid NOT NULL REFERENCES erasures ON DELETE CASCADE,
    hash bytea NOT NULL,
    size integer NOT NULL,
    PRIMARY KEY (erasure, hash)
);

-- `erased_at`: marked to go past the window; it needs a recount begun since. `erasure` stays when that mark goes.
ALTER TABLE doomed ADD COLUMN erasure uuid, ADD COLUMN erased_at timestamptz;
CREATE INDEX doomed_erasure ON doomed (erasure) WHERE erasure IS NOT NULL;
CREATE INDEX doomed_erased_at ON doomed (erased_at) WHERE erased_at IS NOT NULL;

-- A tombstone without a blob is what an erased upload was made of. `marked` entries have been looked at for their keys.
ALTER TABLE tombstones
    ALTER COLUMN blob DROP NOT NULL, ADD COLUMN erasure uuid, ADD COLUMN marked integer NOT NULL DEFAULT 0;
CREATE INDEX tombstones_erasure ON tombstones (erasure, id) WHERE erasure IS NOT NULL;

-- Has this pass read what removed blobs were made of? Without, it clears nothing before its window.
ALTER TABLE recounts ADD COLUMN tombstones_read boolean NOT NULL DEFAULT false;

CREATE FUNCTION doomed_stage_v2(p_key doomed) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_key.claimed_at IS NOT NULL THEN 'doomed_claimed'
                WHEN p_key.kept_by_recount IS NOT NULL THEN 'doomed_kept'
                WHEN p_key.retry_at IS NOT NULL THEN 'doomed_refused'
                WHEN p_key.erased_at IS NOT NULL THEN 'doomed_erased' ELSE 'doomed' END
$$;

CREATE FUNCTION doomed_counted_v2() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT doomed_stage_v2(gone), hour_of_v1(gone.since), -count(*), -sum(gone.size) FROM gone GROUP BY 1, 2;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT doomed_stage_v2(came), hour_of_v1(came.since), count(*), sum(came.size) FROM came GROUP BY 1, 2;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER doomed_came AFTER INSERT ON doomed REFERENCING NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v2();
CREATE OR REPLACE TRIGGER doomed_changed AFTER UPDATE ON doomed REFERENCING OLD TABLE AS gone NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v2();
CREATE OR REPLACE TRIGGER doomed_gone AFTER DELETE ON doomed REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v2();

CREATE FUNCTION stage_counts_rebuild_v2() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM stage_counts_rebuild_v1();
    DELETE FROM stage_counts WHERE stage LIKE 'doomed%';
    INSERT INTO stage_counts (stage, hour, count, bytes)
    SELECT doomed_stage_v2(d), hour_of_v1(d.since), count(*), sum(d.size) FROM doomed AS d GROUP BY 1, 2;
END $$;

-- The first hold that keeps any of what an erasure means; null: none.
CREATE FUNCTION erasure_hold_v1(p_tenant text, p_owner text, p_object uuid) RETURNS holds
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_hold holds;
    v_owner text := p_owner;
BEGIN
    IF p_object IS NOT NULL THEN
        SELECT k.owner INTO v_owner
        FROM (SELECT o.owner FROM objects AS o WHERE o.id = p_object
              UNION ALL SELECT p.owner FROM purged_objects AS p WHERE p.id = p_object
              UNION ALL SELECT u.owner FROM uploads AS u WHERE u.id = p_object) AS k LIMIT 1;
    END IF;
    SELECT h.* INTO v_hold FROM holds AS h
    WHERE h.tenant = p_tenant
      AND (h.owner IS NULL OR p_owner IS NULL AND p_object IS NULL OR h.owner = v_owner)
      AND (h.object IS NULL OR p_owner IS NULL AND p_object IS NULL OR h.object = p_object
           OR p_object IS NULL AND (
               EXISTS (SELECT 1 FROM objects AS o WHERE o.id = h.object AND o.owner = p_owner)
               OR EXISTS (SELECT 1 FROM purged_objects AS p WHERE p.id = h.object AND p.owner = p_owner)
               OR EXISTS (SELECT 1 FROM uploads AS u WHERE u.id = h.object AND u.owner = p_owner)))
    ORDER BY h.id LIMIT 1;
    RETURN v_hold;
END $$;

-- Ask for an erasure; asked for before (p_asked_at: its record was found in the store): take it up again. The counter
-- goes up as in a claim, and the marker after it, so a database that is restored to a moment before this is noticed.
CREATE FUNCTION erasure_add_v1(
    p_id uuid, p_tenant text, p_owner text, p_object uuid, p_why text, p_asked_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_hold holds;
BEGIN
    PERFORM 1 FROM gc_state FOR UPDATE;
    LOCK TABLE holds IN SHARE MODE;
    IF p_asked_at IS NULL THEN
        v_hold := erasure_hold_v1(p_tenant, p_owner, p_object);
        IF v_hold.id IS NOT NULL THEN
            RAISE EXCEPTION 'hold % keeps it: %. Remove that hold first', v_hold.id, v_hold.why USING ERRCODE = 'MS023';
        END IF;
    END IF;
    INSERT INTO erasures (id, tenant, owner, object, why, asked_at)
    VALUES (p_id, p_tenant, p_owner, p_object, p_why, coalesce(p_asked_at, catalog_clock()))
    ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
        UPDATE gc_state SET batch_counter = batch_counter + 1;
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- An erasure whose rows may be removed now, under its lock: recorded in the store, and no hold keeps any of it.
CREATE FUNCTION erasure_lock_v1(p_erasure uuid) RETURNS erasures
LANGUAGE plpgsql AS $$
DECLARE
    v_erasure erasures;
    v_hold holds;
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    SELECT * INTO v_erasure FROM erasures AS e
    WHERE e.id = p_erasure AND e.recorded_at IS NOT NULL AND e.removed_at IS NULL FOR UPDATE;
    v_hold := erasure_hold_v1(v_erasure.tenant, v_erasure.owner, v_erasure.object);
    IF v_hold.id IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN v_erasure;
END $$;

-- Drop one upload of what is erased, p_rows references at once; false: there is none (left). What it was made of is
-- remembered first, so that its keys can be marked. Finals before their parts, whose chunks they have.
CREATE FUNCTION erase_upload_v1(p_erasure uuid, p_rows integer) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_id uuid;
    v_upload uploads;
BEGIN
    SELECT u.id INTO v_id FROM uploads AS u
    WHERE u.tenant = v_erasure.tenant AND (v_erasure.owner IS NULL OR u.owner = v_erasure.owner)
      AND (v_erasure.object IS NULL OR u.id = v_erasure.object) AND u.created_at <= v_erasure.asked_at
    ORDER BY u.concat IS NOT DISTINCT FROM 'final' DESC, u.id LIMIT 1;
    IF v_id IS NULL THEN
        RETURN false;
    END IF;
    v_upload := upload_hold_v1(v_erasure.tenant, v_id);
    IF v_upload.id IS NULL THEN
        RETURN true;  -- it became an object meanwhile, or is gone: look again
    END IF;
    INSERT INTO erased_objects (erasure, id, kind, size) VALUES (p_erasure, v_id, 'upload', v_upload."offset")
    ON CONFLICT (erasure, id) DO NOTHING;
    IF FOUND THEN
        INSERT INTO tombstones (size, entries, since, erasure)
        SELECT v_upload."offset", string_agg(u.hash || int8send(u."offset" + u.size), ''::bytea), catalog_clock(),
               p_erasure
        FROM upload_chunks AS u WHERE u.upload = v_id HAVING count(*) > 0;
    END IF;
    DELETE FROM events AS e WHERE e.tenant = v_erasure.tenant AND e.payload ->> 'id' = v_id::text;
    IF v_upload.state = 'open' AND v_upload.expires_at <= catalog_clock() THEN
        PERFORM concatenation_undo_v1(v_id);
        PERFORM upload_drop_some_v1(v_id, p_rows);
    ELSE
        PERFORM upload_abandon_v1(v_erasure.tenant, v_id, p_rows, false);
    END IF;
    UPDATE uploads SET dropped = true WHERE id = v_id;
    RETURN true;
END $$;

-- Remove blobs that nothing needs but what was erased, past the revive delay, as garbage_remove_v2 does. The caller
-- holds their locks. One that somebody else's deleted object had as well goes its ordinary way.
CREATE FUNCTION erase_blobs_v1(p_erasure uuid, p_blobs bytea[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_alone bytea[];
    v_blobs bytea[];
    v_manifests bigint;
BEGIN
    SELECT coalesce(array_agg(DISTINCT u.blob), '{}') INTO v_alone FROM unnest(p_blobs) AS u (blob)
    WHERE NOT EXISTS (SELECT 1 FROM purged_objects AS p WHERE p.blob = u.blob)
      AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.blob = u.blob);
    SELECT coalesce(array_agg(b.hash), '{}') INTO v_blobs FROM blobs AS b
    WHERE b.hash = ANY (v_alone) AND b.refs = 0
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = b.hash)
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.result = b.hash);
    DELETE FROM media AS m WHERE m.blob = ANY (v_blobs);
    WITH gone AS (DELETE FROM manifests AS m WHERE m.blob = ANY (v_blobs) RETURNING m.blob, m.entries),
    remembered AS (
        INSERT INTO tombstones (blob, size, entries, since, erasure)
        SELECT gone.blob, b.size, gone.entries, catalog_clock(), p_erasure
        FROM gone JOIN blobs AS b ON b.hash = gone.blob
    ), released AS (
        INSERT INTO unlinking (blob, entries, since)
        SELECT gone.blob, gone.entries, catalog_clock() FROM gone WHERE length(gone.entries) > 0
    )
    SELECT count(*) INTO v_manifests FROM gone;
    DELETE FROM garbage AS g WHERE g.blob = ANY (v_blobs);
    DELETE FROM blobs AS b WHERE b.hash = ANY (v_blobs) AND b.refs = 0;
    IF v_manifests <> cardinality(v_blobs)
       OR EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs)) THEN
        RAISE EXCEPTION '% blobs to erase had % manifests', cardinality(v_blobs), v_manifests
            USING ERRCODE = 'MS900';
    END IF;
    -- Those that were removed before: what is remembered of them is erased as well.
    UPDATE tombstones AS t SET erasure = p_erasure WHERE t.blob = ANY (v_alone) AND t.erasure IS NULL;
END $$;

-- Remove up to p_limit objects of what is erased that are live or in the trash, behind p_after. How many, and the last.
CREATE FUNCTION erase_objects_v1(p_erasure uuid, p_after uuid, p_limit integer)
RETURNS TABLE (objects bigint, last uuid)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_ids uuid[];
    v_blobs bytea[];
BEGIN
    SELECT coalesce(array_agg(d.id ORDER BY d.id), '{}'), coalesce(array_agg(d.blob ORDER BY d.id), '{}')
    INTO v_ids, v_blobs
    FROM (SELECT o.id, o.blob FROM objects AS o
          WHERE o.tenant = v_erasure.tenant AND o.id > p_after AND o.id >= coalesce(v_erasure.object, p_after)
            AND o.id <= coalesce(v_erasure.object, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            AND (v_erasure.owner IS NULL OR o.owner = v_erasure.owner) AND o.created_at <= v_erasure.asked_at
          ORDER BY o.id LIMIT p_limit FOR UPDATE) AS d;
    objects := cardinality(v_ids);
    last := coalesce(v_ids[objects], p_after);
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs) ORDER BY b.hash FOR UPDATE;
    DELETE FROM events AS e WHERE e.tenant = v_erasure.tenant AND e.payload ->> 'id' = ANY (v_ids::text[]);
    -- Every replica forgets at once that it may be read (INV-10), and the app is told.
    PERFORM pg_notify('mediastore_deleted', concat_ws(' ', o.tenant, o.id, encode(o.blob, 'hex')))
    FROM objects AS o WHERE o.id = ANY (v_ids) AND o.deleted_at IS NULL;
    PERFORM event_record_v1(o.tenant, 'object.erased',
                            jsonb_build_object('id', o.id, 'owner', o.owner, 'erasure', p_erasure))
    FROM objects AS o WHERE o.id = ANY (v_ids);
    WITH gone AS (DELETE FROM objects AS o WHERE o.id = ANY (v_ids) RETURNING o.id, o.blob, o.size)
    INSERT INTO erased_objects (erasure, id, kind, blob, size)
    SELECT p_erasure, gone.id, 'object', gone.blob, gone.size FROM gone
    ON CONFLICT (erasure, id) DO UPDATE SET kind = excluded.kind, blob = excluded.blob, size = excluded.size;
    UPDATE blobs AS b SET refs = b.refs - r.released
    FROM (SELECT u.blob, count(*) AS released FROM unnest(v_blobs) AS u (blob) GROUP BY u.blob) AS r
    WHERE b.hash = r.blob;
    INSERT INTO garbage (blob, since)
    SELECT b.hash, catalog_clock() FROM blobs AS b WHERE b.hash = ANY (v_blobs) AND b.refs = 0
    ON CONFLICT (blob) DO UPDATE SET since = excluded.since;
    PERFORM erase_blobs_v1(p_erasure, v_blobs);
    RETURN NEXT;
END $$;

-- The same for objects that were purged before, whose bytes may still be there.
CREATE FUNCTION erase_purged_v1(p_erasure uuid, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
    v_ids uuid[];
    v_blobs bytea[];
BEGIN
    SELECT coalesce(array_agg(d.id), '{}'), coalesce(array_agg(d.blob), '{}') INTO v_ids, v_blobs
    FROM (SELECT p.id, p.blob FROM purged_objects AS p
          WHERE p.tenant = v_erasure.tenant AND (v_erasure.owner IS NULL OR p.owner = v_erasure.owner)
            AND (v_erasure.object IS NULL OR p.id = v_erasure.object) AND p.created_at <= v_erasure.asked_at
          ORDER BY p.id LIMIT p_limit FOR UPDATE) AS d;
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (v_blobs) ORDER BY b.hash FOR UPDATE;
    DELETE FROM events AS e WHERE e.tenant = v_erasure.tenant AND e.payload ->> 'id' = ANY (v_ids::text[]);
    WITH gone AS (DELETE FROM purged_objects AS p WHERE p.id = ANY (v_ids) RETURNING p.id, p.blob, p.size)
    INSERT INTO erased_objects (erasure, id, kind, blob, size)
    SELECT p_erasure, gone.id, 'object', gone.blob, gone.size FROM gone ON CONFLICT (erasure, id) DO NOTHING;
    PERFORM erase_blobs_v1(p_erasure, v_blobs);
    RETURN cardinality(v_ids);
END $$;

-- Is everything removed? Not before every transaction has ended that was under way when the erasure was asked for: it
-- may have made an object by then that could not be seen.
CREATE FUNCTION erasure_removed_v1(p_erasure uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_erasure erasures := erasure_lock_v1(p_erasure);
BEGIN
    IF v_erasure.id IS NULL OR pg_snapshot_xmin(pg_current_snapshot()) <= v_erasure.transaction
       OR EXISTS (SELECT 1 FROM uploads AS u
                  WHERE u.tenant = v_erasure.tenant AND (v_erasure.owner IS NULL OR u.owner = v_erasure.owner)
                    AND (v_erasure.object IS NULL OR u.id = v_erasure.object) AND u.created_at <= v_erasure.asked_at)
       OR EXISTS (SELECT 1 FROM objects AS o
                  WHERE o.tenant = v_erasure.tenant AND (v_erasure.owner IS NULL OR o.owner = v_erasure.owner)
                    AND (v_erasure.object IS NULL OR o.id = v_erasure.object) AND o.created_at <= v_erasure.asked_at)
       OR EXISTS (SELECT 1 FROM purged_objects AS p
                  WHERE p.tenant = v_erasure.tenant AND (v_erasure.owner IS NULL OR p.owner = v_erasure.owner)
                    AND (v_erasure.object IS NULL OR p.id = v_erasure.object) AND p.created_at <= v_erasure.asked_at)
    THEN
        RETURN false;
    END IF;
    UPDATE erasures SET removed_at = catalog_clock(), last_list = (SELECT coalesce(max(id), 0) FROM unlinking)
    WHERE id = p_erasure;
    RETURN true;
END $$;

-- Mark keys of what was erased, up to p_entries entries of what it was made of, once the references to them have been
-- released: from then on they may go before their window, cleared by a recount that begins later. How many entries were
-- looked at; null: all have been, or it is not time yet. Locks doomed rows by key, and none that a worker has claimed.
CREATE FUNCTION erasure_mark_v1(p_erasure uuid, p_entries integer) RETURNS integer
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
    INSERT INTO erased_shared_chunks (erasure, hash, size)
    SELECT p_erasure, c.hash, c.size FROM chunks AS c WHERE c.hash = ANY (v_hashes)
    ON CONFLICT (erasure, hash) DO NOTHING;
    UPDATE tombstones SET marked = marked + v_entries WHERE id = v_tombstone;
    UPDATE erasures SET keys = keys + v_keys, key_bytes = key_bytes + v_bytes WHERE id = p_erasure;
    RETURN v_entries;
END $$;

-- Erased keys of these hashes wait for their window like any others: somebody else had deleted them as well. How many.
CREATE FUNCTION recount_spare_v1(p_hashes bytea[]) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_spared bigint;
BEGIN
    PERFORM 1 FROM doomed AS d WHERE d.hash = ANY (p_hashes) AND d.erased_at IS NOT NULL
    ORDER BY d.hash, d.generation FOR UPDATE;
    UPDATE doomed AS d SET erased_at = NULL WHERE d.hash = ANY (p_hashes) AND d.erased_at IS NOT NULL;
    GET DIAGNOSTICS v_spared = ROW_COUNT;
    RETURN v_spared;
END $$;

-- May this key be claimed, as far as the newest complete recount and its own row say (INV-7)?
CREATE FUNCTION doomed_is_free_v1(
    p_key doomed, p_recount recounts, p_now timestamptz, p_claim_timeout_seconds integer
) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT pg_visible_in_snapshot(p_key.transaction, p_recount.snapshot)
       AND p_key.since <= p_recount.started_at
       AND (p_key.claimed_at IS NULL OR p_key.claimed_at <= p_now - make_interval(secs => p_claim_timeout_seconds))
       AND (p_key.retry_at IS NULL OR p_key.retry_at <= p_now)
       AND p_key.kept_by_recount IS DISTINCT FROM p_recount.id
$$;

-- doomed_claim_v2 that takes what is erased before its window, first: marked before a recount began that has also read
-- what others' removed blobs were made of.
CREATE FUNCTION doomed_claim_v3(
    p_incarnation uuid, p_marker_counter bigint, p_host_time timestamptz, p_skew_max_seconds double precision,
    p_window_seconds bigint, p_limit integer, p_bytes_max bigint, p_claim_timeout_seconds integer
) RETURNS TABLE (counter bigint, kept bigint, hashes bytea[], generations bigint[], sizes integer[])
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_state gc_state := collector_lock_v1(p_incarnation, p_host_time, p_skew_max_seconds);
    v_recount recounts;
    v_now timestamptz := catalog_clock();
    v_due timestamptz := v_now - make_interval(secs => p_window_seconds);
BEGIN
    LOCK TABLE holds IN SHARE MODE;
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
    FROM (SELECT l.hash, l.generation, row_number() OVER turn AS number, sum(l.size) OVER turn AS total
          FROM (SELECT * FROM (
                    SELECT x.hash, x.generation, x.size, x.since, 0 AS turn FROM doomed AS x
                    WHERE x.erased_at <= v_recount.started_at AND v_recount.tombstones_read AND x.since > v_due
                      AND doomed_is_free_v1(x, v_recount, v_now, p_claim_timeout_seconds)
                      AND NOT EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = x.hash)
                    ORDER BY x.erased_at LIMIT p_limit FOR UPDATE SKIP LOCKED) AS erased
                UNION ALL
                SELECT * FROM (
                    SELECT x.hash, x.generation, x.size, x.since, 1 AS turn FROM doomed AS x
                    WHERE x.since <= v_due AND doomed_is_free_v1(x, v_recount, v_now, p_claim_timeout_seconds)
                      AND NOT EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = x.hash)
                    ORDER BY x.since LIMIT p_limit FOR UPDATE SKIP LOCKED) AS due) AS l
          WINDOW turn AS (ORDER BY l.turn, l.since, l.hash, l.generation)) AS d
    WHERE d.total <= p_bytes_max AND d.number <= p_limit;

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
