-- What CDNs are to forget: an outbox of its own, a row for each CDN, so that one that is down holds up no other.

-- CDNs that processes have told of: purges for them are recorded until wanted_until. No process may call one before
-- next_call_at: what a CDN allows is for all of them together.
CREATE TABLE cdns (
    name text PRIMARY KEY,
    wanted_until timestamptz NOT NULL,
    next_call_at timestamptz NOT NULL DEFAULT '-infinity'
);

-- Claimed as events are: by moving `retry_at` past the claim; `attempts` is the claim's number. `again` is a purge that
-- was sent once: it goes out a second time, for what was on its way to the CDN at the first.
CREATE TABLE purges (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cdn text NOT NULL,
    tag text NOT NULL,
    again boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT catalog_clock(),
    retry_at timestamptz NOT NULL DEFAULT catalog_clock(),
    parked_at timestamptz,
    last_error text
);
CREATE INDEX purges_waiting ON purges (cdn, again, retry_at) WHERE parked_at IS NULL;
CREATE INDEX purges_parked ON purges (cdn, parked_at) WHERE parked_at IS NOT NULL;

-- In the transaction that it is about; nothing where there is no CDN.
CREATE FUNCTION purge_record_v1(p_tag text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO purges (cdn, tag) SELECT c.name, p_tag FROM cdns AS c WHERE c.wanted_until > catalog_clock()
$$;

-- A live object goes to the trash, or is erased. Everything that a CDN keeps of it, variants included, is tagged with
-- its blob. What stores a variant (of no tenant) was never seen by anybody.
CREATE FUNCTION object_purge_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM purge_record_v1('blob-' || encode(OLD.blob, 'hex'));
    RETURN NULL;
END $$;
CREATE TRIGGER objects_trashed_purge AFTER UPDATE OF deleted_at ON objects
FOR EACH ROW WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION object_purge_v1();
CREATE TRIGGER objects_erased_purge AFTER DELETE ON objects
FOR EACH ROW WHEN (OLD.deleted_at IS NULL AND OLD.tenant <> '') EXECUTE FUNCTION object_purge_v1();

-- A tenant that is public no longer: all that was given to everybody.
CREATE FUNCTION tenant_purge_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM purge_record_v1('tenant-' || OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_private_purge AFTER UPDATE OF public ON tenants
FOR EACH ROW WHEN (OLD.public AND NOT NEW.public) EXECUTE FUNCTION tenant_purge_v1();

-- Claim purges for one call to a CDN, if one is allowed now; the next one is p_pause_seconds later. First or second
-- purges, whichever have been due for longer. A claim that is not ended within p_claim_seconds comes back.
CREATE FUNCTION purges_claim_v1(
    p_cdn text, p_limit integer, p_pause_seconds double precision, p_claim_seconds double precision)
RETURNS TABLE (id bigint, tag text, again boolean, attempts integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    -- Once, in a variable: compared with a volatile function, every row would be read.
    v_now timestamptz := catalog_clock();
    v_again boolean;
BEGIN
    SELECT due.again INTO v_again
    FROM unnest(ARRAY[false, true]) AS due (again)
    CROSS JOIN LATERAL (
        SELECT p.retry_at FROM purges AS p
        WHERE p.cdn = p_cdn AND p.again = due.again AND p.parked_at IS NULL AND p.retry_at <= v_now
        ORDER BY p.retry_at LIMIT 1) AS first
    ORDER BY first.retry_at LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM cdns AS c WHERE c.name = p_cdn AND c.next_call_at <= v_now FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE cdns AS c SET next_call_at = v_now + make_interval(secs => p_pause_seconds) WHERE c.name = p_cdn;
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT p.id FROM purges AS p
        WHERE p.cdn = p_cdn AND p.again = v_again AND p.parked_at IS NULL AND p.retry_at <= v_now
        ORDER BY p.retry_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    UPDATE purges AS p SET attempts = p.attempts + 1, retry_at = v_now + make_interval(secs => p_claim_seconds)
    FROM due WHERE p.id = due.id
    RETURNING p.id, p.tag, p.again, p.attempts;
END $$;

-- The CDN has taken these. First purges are due again after p_again_seconds (0: they are done), second ones are done.
-- It is so whoever has claimed them meanwhile.
CREATE FUNCTION purges_sent_v1(p_ids bigint[], p_again boolean, p_again_seconds double precision) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM purges AS p WHERE p.id = ANY (p_ids) AND p.again = p_again ORDER BY p.id FOR UPDATE;
    IF p_again OR p_again_seconds = 0 THEN
        DELETE FROM purges AS p WHERE p.id = ANY (p_ids) AND p.again = p_again;
    ELSE
        UPDATE purges AS p
        SET again = true, attempts = 0, last_error = NULL, parked_at = NULL,
            retry_at = catalog_clock() + make_interval(secs => p_again_seconds)
        WHERE p.id = ANY (p_ids) AND NOT p.again;
    END IF;
END $$;

-- These claims failed: those of p_attempts_max tries are parked, the others due again, each after its seconds; the CDN
-- is left alone for p_quiet_seconds. Returns how many were parked.
CREATE FUNCTION purges_failed_v1(
    p_cdn text, p_ids bigint[], p_attempts integer[], p_seconds double precision[], p_attempts_max integer,
    p_quiet_seconds double precision, p_why text)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := catalog_clock();
    v_parked bigint;
BEGIN
    IF p_quiet_seconds > 0 THEN
        UPDATE cdns SET next_call_at = greatest(next_call_at, v_now + make_interval(secs => p_quiet_seconds))
        WHERE name = p_cdn;
    END IF;
    PERFORM 1 FROM purges AS p WHERE p.id = ANY (p_ids) ORDER BY p.id FOR UPDATE;
    WITH failed AS (
        UPDATE purges AS p
        SET last_error = left(p_why, 500), retry_at = v_now + make_interval(secs => c.seconds),
            parked_at = CASE WHEN p.attempts >= p_attempts_max THEN v_now END
        FROM unnest(p_ids, p_attempts, p_seconds) AS c (id, attempts, seconds)
        WHERE p.id = c.id AND p.attempts = c.attempts AND p.parked_at IS NULL
        RETURNING p.parked_at
    )
    SELECT count(*) INTO v_parked FROM failed WHERE parked_at IS NOT NULL;
    RETURN v_parked;
END $$;
