-- A look at a final that waits is no work on it; a request that gave up what it had staged writes no more; the outbox
-- is measured without reading it.

-- As concatenation_join_v1, which is for what can be joined now. A final whose next part is not whole only waits: who
-- asks for it locks nothing and pushes no expiry; it lives as long as the part that was worked on last.
CREATE FUNCTION concatenation_join_v2(
    p_final uuid, p_epoch bigint, p_size_max bigint, p_rows integer, p_expires_seconds integer
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    v_parts uuid[];
    v_latest timestamptz;
BEGIN
    SELECT c.parts INTO v_parts
    FROM concatenations AS c JOIN uploads AS f ON f.id = c.final LEFT JOIN uploads AS p ON p.id = c.parts[c.joined + 1]
    WHERE c.final = p_final AND f.state = 'open' AND c.joined < cardinality(c.parts)
      AND (p.id IS NULL OR p."offset" IS DISTINCT FROM p.length);
    IF NOT FOUND THEN
        RETURN concatenation_join_v1(p_final, p_epoch, p_size_max, p_rows, p_expires_seconds);
    END IF;
    SELECT max(u.expires_at) INTO v_latest FROM uploads AS u WHERE u.id = ANY (v_parts);
    UPDATE uploads AS u SET expires_at = v_latest
    WHERE u.id = p_final AND u.expires_at < v_latest AND NOT u.expiry_fixed;
    RETURN 'waiting';
END $$;

-- As staged_release_v1. The request is over: nobody writes to the upload any more.
CREATE FUNCTION staged_release_v2(p_upload uuid, p_epoch bigint, p_offset bigint) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM staged_release_v1(p_upload, p_epoch, p_offset);
    UPDATE uploads SET writer = NULL WHERE id = p_upload AND writer IS NOT NULL;
END $$;

-- The oldest event of a tenant that waits, and its parked ones, each from one end of an index.
CREATE INDEX events_oldest_waiting ON events (tenant, created_at) WHERE parked_at IS NULL;
CREATE INDEX events_parked_of_tenant ON events (tenant) WHERE parked_at IS NOT NULL;

-- What waits and what is parked, of tenants that have a webhook: no more than p_most of each are counted. No bitmap
-- scans either: they read all that an index has of a tenant before the first row counts.
CREATE FUNCTION events_backlog_v1(p_most integer)
RETURNS TABLE (waiting bigint, parked bigint, oldest_waiting_at timestamptz)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY
    WITH told AS MATERIALIZED (SELECT t.id FROM tenants AS t WHERE t.policy ? 'webhook_url')
    SELECT
        (SELECT count(*) FROM (
            SELECT 1 FROM told AS t CROSS JOIN LATERAL (
                SELECT 1 FROM events AS e WHERE e.tenant = t.id AND e.parked_at IS NULL LIMIT p_most) AS few
            LIMIT p_most) AS counted),
        (SELECT count(*) FROM (
            SELECT 1 FROM told AS t CROSS JOIN LATERAL (
                SELECT 1 FROM events AS e WHERE e.tenant = t.id AND e.parked_at IS NOT NULL LIMIT p_most) AS few
            LIMIT p_most) AS counted),
        (SELECT min(oldest.created_at) FROM told AS t CROSS JOIN LATERAL (
            SELECT e.created_at FROM events AS e WHERE e.tenant = t.id AND e.parked_at IS NULL
            ORDER BY e.created_at LIMIT 1) AS oldest);
END $$;
