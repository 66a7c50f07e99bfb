-- What pictures are and how they look, in `media`, which nobody has used so far: a row for each blob that was uploaded as
-- a picture, so that equal content is looked at once, whoever has it. Whatever removes a blob, the collector or an
-- erasure, has always removed its row in media first. It keeps nothing and is no reference.
-- Order of locks: blobs by hash, media by blob. A look locks its row alone.

-- `waiting`: to be looked at, from `retry_at` on; a claim moves that to the end of its lease, and `attempts` names the
-- claim. `done`: `probe` says what was found. `not_a_picture`: no decoder knows the content. `failed`: an error's code.
-- A row that is asked again keeps what was found before. `tenant` is who asked first: in whose turn it is looked at, and
-- nothing else. `keep_captured`: a tenant that keeps when pictures were taken has this one.
ALTER TABLE media
    ALTER COLUMN probe DROP NOT NULL,
    ADD COLUMN state text NOT NULL DEFAULT 'waiting',
    ADD COLUMN failed text,
    ADD COLUMN tenant text NOT NULL DEFAULT '',
    ADD COLUMN keep_captured boolean NOT NULL DEFAULT false,
    ADD COLUMN asked_at timestamptz NOT NULL DEFAULT catalog_clock(),
    ADD COLUMN retry_at timestamptz NOT NULL DEFAULT catalog_clock(),
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT media_state_known CHECK (state IN ('waiting', 'done', 'not_a_picture', 'failed')),
    ADD CONSTRAINT media_done_has_probe CHECK (state <> 'done' OR probe IS NOT NULL),
    ADD CONSTRAINT media_failed_has_code CHECK ((state = 'failed') = (failed IS NOT NULL)),
    ADD CONSTRAINT media_attempts_not_negative CHECK (attempts >= 0);
CREATE INDEX media_waiting ON media (tenant, retry_at) WHERE state = 'waiting';
CREATE INDEX media_waiting_since ON media (asked_at) WHERE state = 'waiting';

-- Types whose content is looked at; `formats.SOURCE_TYPES` has what is found there. No SVG, no PDF: nothing here draws
-- them. What the content is, only its decoder says.
CREATE FUNCTION is_picture_type_v1(p_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower(rtrim(split_part(p_type, ';', 1))) = ANY (ARRAY[
        'image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif', 'image/heic', 'image/heif', 'image/tiff',
        'image/bmp', 'image/jpg', 'image/pjpeg', 'image/apng', 'image/x-png', 'image/x-ms-bmp',
        'image/avif-sequence', 'image/heic-sequence', 'image/heif-sequence'])
$$;

CREATE FUNCTION tenant_keeps_captured_v1(p_tenant text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT t.policy ->> 'keep_capture_time' = 'true' FROM tenants AS t WHERE t.id = p_tenant), false)
$$;

-- A new object of such a type has its content looked at: a trigger, so that every way to finish an upload keeps to it,
-- in its own transaction, for no statement of the service's. The caller holds the blob. Content that was looked at for
-- tenants that do not keep when it was taken, is looked at again for the first one that does; a look that is under way
-- is then overtaken. Content that was looked at in vain is looked at again: it may have been healed, or can be decoded
-- by now.
CREATE FUNCTION picture_asked_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    v_keeps boolean := tenant_keeps_captured_v1(NEW.tenant);
BEGIN
    INSERT INTO media (blob, tenant, keep_captured) VALUES (NEW.blob, NEW.tenant, v_keeps) ON CONFLICT (blob) DO NOTHING;
    IF NOT FOUND THEN
        UPDATE media AS m
        SET state = 'waiting', failed = NULL, keep_captured = m.keep_captured OR v_keeps,
            attempts = CASE m.state WHEN 'failed' THEN 0 ELSE m.attempts + 1 END,
            asked_at = catalog_clock(), retry_at = catalog_clock()
        WHERE m.blob = NEW.blob
          AND (m.state = 'failed' OR v_keeps AND NOT m.keep_captured AND m.state IN ('waiting', 'done'));
    END IF;
    RETURN NULL;
END $$;
-- Variants are objects of nobody ('') for a moment: what they are is known.
CREATE TRIGGER objects_pictured AFTER INSERT ON objects
FOR EACH ROW WHEN (NEW.tenant <> '' AND is_picture_type_v1(NEW.content_type)) EXECUTE FUNCTION picture_asked_v1();

-- Have these blobs looked at, which were uploaded before there was anybody to.
CREATE FUNCTION pictures_ask_v1(p_tenant text, p_blobs bytea[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM blobs AS b WHERE b.hash = ANY (p_blobs) ORDER BY b.hash FOR KEY SHARE;
    INSERT INTO media (blob, tenant, keep_captured)
    SELECT b.hash, p_tenant, tenant_keeps_captured_v1(p_tenant) FROM blobs AS b WHERE b.hash = ANY (p_blobs)
    ORDER BY b.hash ON CONFLICT (blob) DO NOTHING;
END $$;

-- Claim a picture that is due, for p_lease_seconds; none: nothing is due. Tenants that wait are gone through by the
-- index, one after the other, in random order: one with a million pictures takes as many turns as one with a few.
CREATE FUNCTION picture_claim_v1(p_lease_seconds double precision)
RETURNS TABLE (blob bytea, size bigint, keep_captured boolean, attempts integer)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    -- Once, in a variable: compared with a volatile function, every row would be read.
    v_now timestamptz := catalog_clock();
    v_blob bytea;
BEGIN
    WITH RECURSIVE waiting AS (
        (SELECT m.tenant FROM media AS m WHERE m.state = 'waiting' ORDER BY m.tenant LIMIT 1)
        UNION ALL
        SELECT (SELECT m.tenant FROM media AS m WHERE m.state = 'waiting' AND m.tenant > w.tenant
                ORDER BY m.tenant LIMIT 1)
        FROM waiting AS w WHERE w.tenant IS NOT NULL
    )
    SELECT d.blob INTO v_blob
    FROM (SELECT w.tenant FROM waiting AS w WHERE w.tenant IS NOT NULL ORDER BY random()) AS t
    CROSS JOIN LATERAL (
        SELECT m.blob FROM media AS m
        WHERE m.tenant = t.tenant AND m.state = 'waiting' AND m.retry_at <= v_now
        ORDER BY m.retry_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS d
    LIMIT 1;
    RETURN QUERY
    UPDATE media AS m SET attempts = m.attempts + 1, retry_at = v_now + make_interval(secs => p_lease_seconds)
    FROM blobs AS b WHERE m.blob = v_blob AND b.hash = v_blob
    RETURNING m.blob, b.size, m.keep_captured, m.attempts;
END $$;

-- What waits: up to p_most, and since when the oldest has.
CREATE FUNCTION pictures_backlog_v1(p_most integer) RETURNS TABLE (waiting bigint, oldest_waiting_at timestamptz)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT (SELECT count(*) FROM (SELECT 1 FROM media AS m WHERE m.state = 'waiting' LIMIT p_most) AS few),
           (SELECT m.asked_at FROM media AS m WHERE m.state = 'waiting' ORDER BY m.asked_at LIMIT 1);
END $$;
