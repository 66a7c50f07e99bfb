-- What the operator's verbs rest on: counts that are kept, purged objects that are remembered, legal holds.

-- How much is at each stage, by the hour that decides about it: of purge_at for trash, of since for the others.
-- Whoever moves something appends what changed, so that nobody waits for a row here; the collector folds changes
-- into counts. The sum of both tables is exact in every snapshot. Unlinking is not counted: its lists are few.
CREATE TABLE stage_counts (
    stage text NOT NULL,
    hour timestamptz NOT NULL,
    count bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (stage, hour)
) WITH (fillfactor = 50);
CREATE TABLE stage_changes (
    stage text NOT NULL,
    hour timestamptz NOT NULL,
    count bigint NOT NULL,
    bytes bigint NOT NULL
);

CREATE FUNCTION hour_of_v1(p_moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$ SELECT date_bin('1 hour', p_moment, 'epoch') $$;

-- A deletion or restoration changes one row; the condition keeps every other update free of this.
CREATE FUNCTION trash_moved_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stage_changes (stage, hour, count, bytes)
    SELECT 'trash', hour_of_v1(m.purge_at), m.count, m.count * m.size
    FROM (VALUES (OLD.purge_at, -1, OLD.size), (NEW.purge_at, 1, NEW.size)) AS m (purge_at, count, size)
    WHERE m.purge_at IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER objects_trash_moved AFTER UPDATE OF purge_at ON objects
FOR EACH ROW WHEN (OLD.purge_at IS DISTINCT FROM NEW.purge_at) EXECUTE FUNCTION trash_moved_v1();

-- A purge takes many at once.
CREATE FUNCTION trash_gone_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stage_changes (stage, hour, count, bytes)
    SELECT 'trash', hour_of_v1(gone.purge_at), -count(*), -sum(gone.size)
    FROM gone WHERE gone.purge_at IS NOT NULL GROUP BY 2;
    RETURN NULL;
END $$;
CREATE TRIGGER objects_trash_gone AFTER DELETE ON objects REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION trash_gone_v1();

CREATE FUNCTION garbage_counted_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT 'garbage', hour_of_v1(gone.since), -count(*), -sum(b.size)
        FROM gone JOIN blobs AS b ON b.hash = gone.blob GROUP BY 2;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT 'garbage', hour_of_v1(came.since), count(*), sum(b.size)
        FROM came JOIN blobs AS b ON b.hash = came.blob GROUP BY 2;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER garbage_came AFTER INSERT ON garbage REFERENCING NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION garbage_counted_v1();
CREATE TRIGGER garbage_changed AFTER UPDATE ON garbage REFERENCING OLD TABLE AS gone NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION garbage_counted_v1();
CREATE TRIGGER garbage_gone AFTER DELETE ON garbage REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION garbage_counted_v1();

-- Where a doomed key stands, as far as its row says; the rest is a matter of the hour.
CREATE FUNCTION doomed_stage_v1(p_key doomed) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_key.claimed_at IS NOT NULL THEN 'doomed_claimed'
                WHEN p_key.kept_by_recount IS NOT NULL THEN 'doomed_kept'
                WHEN p_key.retry_at IS NOT NULL THEN 'doomed_refused' ELSE 'doomed' END
$$;

CREATE FUNCTION doomed_counted_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT doomed_stage_v1(gone), hour_of_v1(gone.since), -count(*), -sum(gone.size) FROM gone GROUP BY 1, 2;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO stage_changes (stage, hour, count, bytes)
        SELECT doomed_stage_v1(came), hour_of_v1(came.since), count(*), sum(came.size) FROM came GROUP BY 1, 2;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER doomed_came AFTER INSERT ON doomed REFERENCING NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v1();
CREATE TRIGGER doomed_changed AFTER UPDATE ON doomed REFERENCING OLD TABLE AS gone NEW TABLE AS came
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v1();
CREATE TRIGGER doomed_gone AFTER DELETE ON doomed REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION doomed_counted_v1();

-- Count what is there, with nobody changing it meanwhile: once here, and where counts are found to be wrong.
CREATE FUNCTION stage_counts_rebuild_v1() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE objects, garbage, doomed IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM stage_changes;
    DELETE FROM stage_counts;
    INSERT INTO stage_counts (stage, hour, count, bytes)
    SELECT 'trash', hour_of_v1(o.purge_at), count(*), sum(o.size) FROM objects AS o
    WHERE o.purge_at IS NOT NULL GROUP BY 2
    UNION ALL
    SELECT 'garbage', hour_of_v1(g.since), count(*), sum(b.size)
    FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob GROUP BY 2
    UNION ALL
    SELECT doomed_stage_v1(d), hour_of_v1(d.since), count(*), sum(d.size) FROM doomed AS d GROUP BY 1, 2;
END $$;
SELECT stage_counts_rebuild_v1();

-- Up to p_limit changes go into the counts. Several collectors may fold at once: each takes changes of its own, and
-- count rows in one order.
CREATE FUNCTION stage_changes_fold_v1(p_limit integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_folded bigint;
BEGIN
    WITH taken AS (
        DELETE FROM stage_changes AS c
        WHERE c.ctid = ANY (ARRAY(SELECT s.ctid FROM stage_changes AS s LIMIT p_limit FOR UPDATE SKIP LOCKED))
        RETURNING c.stage, c.hour, c.count, c.bytes
    ), folded AS (
        INSERT INTO stage_counts AS k (stage, hour, count, bytes)
        SELECT t.stage, t.hour, sum(t.count), sum(t.bytes) FROM taken AS t GROUP BY t.stage, t.hour
        ORDER BY t.stage, t.hour
        ON CONFLICT (stage, hour) DO UPDATE SET count = k.count + excluded.count, bytes = k.bytes + excluded.bytes
    )
    SELECT count(*) INTO v_folded FROM taken;
    DELETE FROM stage_counts AS k
    WHERE (k.stage, k.hour) IN (SELECT z.stage, z.hour FROM stage_counts AS z WHERE z.count = 0 AND z.bytes = 0
                                ORDER BY z.stage, z.hour FOR UPDATE SKIP LOCKED);
    RETURN v_folded;
END $$;

-- Objects that were purged, for as long as their bytes can still come back: for undelete, explain and holds.
CREATE TABLE purged_objects (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    blob bytea NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    purged_at timestamptz NOT NULL
);
CREATE INDEX purged_objects_blob ON purged_objects (blob);
CREATE INDEX purged_objects_tenant_owner ON purged_objects (tenant, owner);
CREATE INDEX purged_objects_purged_at ON purged_objects (purged_at);

-- Legal holds: of a tenant, of one of its owners, or of one object. Nothing held leaves the trash or a later stage.
CREATE TABLE holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    owner text,
    object uuid,
    why text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT holds_name_an_owner_or_an_object CHECK (owner IS NULL OR object IS NULL)
);
CREATE INDEX holds_tenant ON holds (tenant);

-- What blobs were made of that had been removed before a hold on them was added: none of these keys is claimed.
-- (Blobs that are removed later have no hold.)
CREATE TABLE held_keys (
    hash bytea NOT NULL,
    hold bigint NOT NULL REFERENCES holds ON DELETE CASCADE,
    PRIMARY KEY (hash, hold)
);
CREATE INDEX held_keys_hold ON held_keys (hold);

CREATE FUNCTION object_is_held_v1(p_tenant text, p_owner text, p_object uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant = p_tenant
                   AND (h.owner IS NULL OR h.owner = p_owner) AND (h.object IS NULL OR h.object = p_object))
$$;

-- Of a blob whose objects are all purged.
CREATE FUNCTION blob_is_held_v1(p_blob bytea) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM purged_objects AS p
                   WHERE p.blob = p_blob AND object_is_held_v1(p.tenant, p.owner, p.id))
$$;

-- The insert waits for the batches of collectors that are under way (they hold SHARE on holds), and those to come
-- wait for its commit: what is found here behind the insert is all there is, and nothing of it goes any more.
-- `claimed` came too late: a worker has committed to deleting those.
CREATE FUNCTION hold_add_v1(p_tenant text, p_owner text, p_object uuid, p_why text)
RETURNS TABLE (hold bigint, keys bigint, claimed bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_hold holds;
BEGIN
    INSERT INTO holds (tenant, owner, object, why, created_at)
    SELECT t.tenant, p_owner, p_object, p_why, catalog_clock()
    FROM (SELECT o.tenant FROM objects AS o WHERE o.id = p_object
          UNION SELECT p.tenant FROM purged_objects AS p WHERE p.id = p_object
          UNION SELECT id FROM tenants WHERE p_object IS NULL AND id = p_tenant) AS t
    RETURNING * INTO v_hold;
    IF v_hold.id IS NULL THEN
        RAISE EXCEPTION 'nothing to hold' USING ERRCODE = 'MS001';
    END IF;
    INSERT INTO held_keys (hash, hold)
    SELECT DISTINCT e.hash, v_hold.id
    FROM purged_objects AS p JOIN tombstones AS t ON t.blob = p.blob
    CROSS JOIN LATERAL manifest_entries_v1(t.entries) AS e
    WHERE p.tenant = v_hold.tenant AND (v_hold.owner IS NULL OR p.owner = v_hold.owner)
      AND (v_hold.object IS NULL OR p.id = v_hold.object);
    GET DIAGNOSTICS keys = ROW_COUNT;
    SELECT count(*) INTO claimed FROM held_keys AS k JOIN doomed AS d ON d.hash = k.hash
    WHERE k.hold = v_hold.id AND d.claimed_at IS NOT NULL;
    hold := v_hold.id;
    RETURN NEXT;
END $$;

-- trash_purge_v1 that leaves what is held, and remembers what it takes.
CREATE FUNCTION trash_purge_v2(p_limit integer, p_trash_seconds bigint)
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
           v_now FROM gone AS g;
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

-- garbage_remove_v1 that leaves what is held.
CREATE FUNCTION garbage_remove_v2(p_limit integer, p_revive_seconds bigint)
RETURNS TABLE (blobs bigint, bytes bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_blobs bytea[];
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
            AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.result = g.blob)
            AND (NOT v_holds OR NOT blob_is_held_v1(g.blob))
          ORDER BY g.since LIMIT p_limit FOR UPDATE OF b SKIP LOCKED) AS l;
    -- A new statement sees what was committed before the locks were taken.
    SELECT coalesce(array_agg(g.blob), '{}') INTO v_blobs FROM garbage AS g
    WHERE g.blob = ANY (v_blobs) AND g.since <= v_due
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.blob = g.blob)
      AND NOT EXISTS (SELECT 1 FROM variants AS v WHERE v.result = g.blob)
      AND (NOT v_holds OR NOT blob_is_held_v1(g.blob));
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

-- doomed_claim_v1 that leaves what is held, and claims no more than p_bytes_max bytes.
CREATE FUNCTION doomed_claim_v2(
    p_incarnation uuid, p_marker_counter bigint, p_host_time timestamptz, p_skew_max_seconds double precision,
    p_window_seconds bigint, p_limit integer, p_bytes_max bigint, p_claim_timeout_seconds integer
) RETURNS TABLE (counter bigint, kept bigint, hashes bytea[], generations bigint[], sizes integer[])
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_state gc_state := collector_lock_v1(p_incarnation, p_host_time, p_skew_max_seconds);
    v_recount recounts;
    v_now timestamptz := catalog_clock();
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
    FROM (SELECT l.hash, l.generation, sum(l.size) OVER (ORDER BY l.since, l.hash, l.generation) AS total
          FROM (SELECT x.hash, x.generation, x.size, x.since FROM doomed AS x
                WHERE x.since <= v_now - make_interval(secs => p_window_seconds)
                  AND pg_visible_in_snapshot(x.transaction, v_recount.snapshot)
                  AND x.since <= v_recount.started_at
                  AND (x.claimed_at IS NULL OR x.claimed_at <= v_now - make_interval(secs => p_claim_timeout_seconds))
                  AND (x.retry_at IS NULL OR x.retry_at <= v_now)
                  AND x.kept_by_recount IS DISTINCT FROM v_recount.id
                  AND NOT EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = x.hash)
                ORDER BY x.since LIMIT p_limit FOR UPDATE SKIP LOCKED) AS l) AS d
    WHERE d.total <= p_bytes_max;

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

-- A purged object of a blob that is still there, in garbage or through other objects, comes back as it was. False:
-- the blob has no row or is not whole, so its bytes must be copied to new keys (INV-3).
CREATE FUNCTION purged_object_restore_v1(p_object uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_object purged_objects;
BEGIN
    SELECT * INTO v_object FROM purged_objects WHERE id = p_object FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such purged object' USING ERRCODE = 'MS001';
    END IF;
    BEGIN
        IF NOT blob_link_v1(v_object.blob, v_object.size) THEN
            RETURN false;
        END IF;
        INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
        VALUES (v_object.id, v_object.tenant, v_object.owner, v_object.name, v_object.blob, v_object.content_type,
                v_object.size, v_object.metadata, v_object.created_at);
    EXCEPTION WHEN unique_violation THEN
        NULL; -- somebody else was quicker, by copying: the link above is undone with the insert
    END;
    DELETE FROM purged_objects WHERE id = p_object;
    RETURN true;
END $$;

-- A purged object that is back: its content was uploaded again under its own id. It need not be remembered any more,
-- unless somebody else saw to that.
CREATE FUNCTION purged_object_is_back_v1(p_object uuid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_purged purged_objects;
BEGIN
    SELECT * INTO v_purged FROM purged_objects WHERE id = p_object FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE objects SET created_at = v_purged.created_at WHERE id = p_object AND blob = v_purged.blob;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'object % is not back', p_object USING ERRCODE = 'MS900';
    END IF;
    DELETE FROM purged_objects WHERE id = p_object;
END $$;
