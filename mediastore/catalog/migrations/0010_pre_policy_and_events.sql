-- Tenants' policy, uploads that expire at a fixed time, and events on their way to the tenants' webhooks.

-- What of the policy is not given falls back to the service's settings (catalog/policy.py names its members). The
-- newest of the webhook secrets comes first; an older one signs as well until it is dropped.
ALTER TABLE tenants
    ADD COLUMN policy jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN webhook_secrets text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT tenants_policy_is_an_object CHECK (jsonb_typeof(policy) = 'object'),
    ADD CONSTRAINT tenants_webhook_secrets_few CHECK (cardinality(webhook_secrets) <= 2),
    ADD CONSTRAINT tenants_webhook_is_signed CHECK (
        NOT policy ?| ARRAY['webhook_url', 'before_create_url'] OR cardinality(webhook_secrets) > 0);

-- How far work pushes the expiry, settled at the creation.
ALTER TABLE uploads
    ADD COLUMN expires_seconds integer NOT NULL DEFAULT 604800,
    ADD COLUMN expiry_fixed boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT uploads_expires_seconds_positive CHECK (expires_seconds > 0);

-- Work pushes an upload's expiry, unless that is fixed: a trigger, so that every version of intent and commit
-- keeps to it. Past its time such an upload takes no more work, whether or not it has been swept. One that has all
-- its bytes is finished, not dropped.
CREATE FUNCTION upload_keep_expiry_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.expires_at <= catalog_clock() THEN
        RAISE EXCEPTION 'upload % has expired', OLD.id USING ERRCODE = 'MS001';
    END IF;
    NEW.expires_at := OLD.expires_at;
    RETURN NEW;
END $$;
CREATE TRIGGER uploads_keep_fixed_expiry BEFORE UPDATE OF expires_at ON uploads
FOR EACH ROW WHEN (OLD.expiry_fixed AND OLD.state = 'open') EXECUTE FUNCTION upload_keep_expiry_v1();

-- Outbox: an event is claimed by moving `retry_at` past the claim, and deleted when it was delivered. `attempts`
-- is the claim's number: who finishes a claim that another has taken over changes nothing. No foreign key: events
-- of a tenant would wait for each other at its one row. The table was not used before.
ALTER TABLE events DROP CONSTRAINT events_tenant_fkey;
ALTER TABLE events
    ADD COLUMN key uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN parked_at timestamptz,
    ADD COLUMN last_error text,
    ALTER COLUMN retry_at SET DEFAULT catalog_clock(),
    ALTER COLUMN retry_at SET NOT NULL,
    ALTER COLUMN created_at SET DEFAULT catalog_clock();
CREATE INDEX events_waiting ON events (tenant, retry_at) WHERE parked_at IS NULL;
CREATE INDEX events_parked ON events (parked_at) WHERE parked_at IS NOT NULL;
CREATE INDEX events_created_at ON events (created_at);

-- Record an event in the transaction that it tells of, for a tenant that has a webhook.
CREATE FUNCTION event_record_v1(p_tenant text, p_kind text, p_payload jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO events (tenant, kind, payload)
    SELECT t.id, p_kind, p_payload FROM tenants AS t WHERE t.id = p_tenant AND t.policy ? 'webhook_url'
$$;

-- What happened to an object. The tenant is asked first: most have no webhook, and every upload passes here.
CREATE FUNCTION object_event_v1() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM tenants AS t WHERE t.id = NEW.tenant AND t.policy ? 'webhook_url';
    IF FOUND THEN
        INSERT INTO events (tenant, kind, payload)
        VALUES (NEW.tenant,
                CASE WHEN TG_OP = 'INSERT' THEN 'object.created'
                     WHEN NEW.deleted_at IS NULL THEN 'object.restored' ELSE 'object.deleted' END,
                jsonb_build_object(
                    'id', NEW.id, 'owner', NEW.owner, 'name', NEW.name, 'blob', encode(NEW.blob, 'hex'),
                    'content_type', NEW.content_type, 'size', NEW.size, 'metadata', NEW.metadata,
                    'created_at', NEW.created_at, 'deleted_at', NEW.deleted_at, 'purge_at', NEW.purge_at));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER objects_created AFTER INSERT ON objects
FOR EACH ROW EXECUTE FUNCTION object_event_v1();
CREATE TRIGGER objects_deleted_or_restored AFTER UPDATE OF deleted_at ON objects
FOR EACH ROW WHEN ((OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL)) EXECUTE FUNCTION object_event_v1();

-- What is told of an upload that never became an object.
CREATE FUNCTION upload_payload_v1(p_upload uploads) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'id', p_upload.id, 'owner', p_upload.owner, 'name', p_upload.name, 'content_type', p_upload.content_type,
        'metadata', p_upload.metadata, 'protocol', p_upload.protocol, 'offset', p_upload."offset",
        'length', p_upload.length, 'created_at', p_upload.created_at, 'expires_at', p_upload.expires_at)
$$;

-- Drop an upload, and with p_told tell its tenant. Returns how many acknowledged bytes it had; null: there is none.
CREATE FUNCTION upload_drop_v1(p_tenant text, p_upload uuid, p_told boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_upload uploads;
BEGIN
    SELECT * INTO v_upload FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
    IF NOT upload_terminate_v1(p_tenant, p_upload) THEN
        RETURN NULL;
    END IF;
    IF p_told THEN
        PERFORM event_record_v1(p_tenant, 'upload.terminated', upload_payload_v1(v_upload));
    END IF;
    RETURN v_upload."offset";
END $$;

-- Drop uploads that expired; rechecked under each upload's lock. Returns how many, and their acknowledged bytes.
CREATE FUNCTION uploads_expire_v2(p_limit integer) RETURNS TABLE (uploads bigint, bytes bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_upload uploads;
    -- Once, in a variable: compared with a volatile function, every row would be read.
    v_now timestamptz := catalog_clock();
BEGIN
    uploads := 0;
    bytes := 0;
    FOR v_upload IN
        SELECT * FROM uploads WHERE expires_at <= v_now ORDER BY expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM upload_release_v1(v_upload.id, 0);
        DELETE FROM uploads AS u WHERE u.id = v_upload.id;
        PERFORM event_record_v1(v_upload.tenant, 'upload.expired', upload_payload_v1(v_upload));
        uploads := uploads + 1;
        bytes := bytes + v_upload."offset";
        -- A batch is bounded in references, too: 1 TiB is a quarter of a million of them.
        EXIT WHEN bytes >= 1099511627776;
    END LOOP;
    RETURN NEXT;
END $$;

-- Claim events that are due: at most p_each of a tenant, less what is under way for it already (p_busy, p_under_way),
-- so that an endpoint that is down holds up nobody else; tenants in random order, so that a full batch passes over
-- none of them for long. A claim that is not ended within p_claim_seconds comes back by itself.
CREATE FUNCTION events_claim_v1(
    p_limit integer, p_each integer, p_busy text[], p_under_way integer[], p_claim_seconds double precision)
RETURNS TABLE (id bigint, key uuid, tenant text, kind text, payload jsonb, created_at timestamptz, attempts integer,
               url text, secrets text[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := catalog_clock();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT e.id, r.policy ->> 'webhook_url' AS url, r.webhook_secrets AS secrets
        FROM (SELECT t.*, greatest(p_each - coalesce(b.under_way, 0), 0) AS room
              FROM tenants AS t LEFT JOIN unnest(p_busy, p_under_way) AS b (tenant, under_way) ON b.tenant = t.id
              WHERE t.policy ? 'webhook_url' ORDER BY random()) AS r
        CROSS JOIN LATERAL (
            SELECT w.id FROM events AS w
            WHERE w.tenant = r.id AND w.parked_at IS NULL AND w.retry_at <= v_now
            ORDER BY w.retry_at LIMIT r.room FOR UPDATE SKIP LOCKED) AS e
        LIMIT p_limit
    )
    UPDATE events AS e SET attempts = e.attempts + 1, retry_at = v_now + make_interval(secs => p_claim_seconds)
    FROM due WHERE e.id = due.id
    RETURNING e.id, e.key, e.tenant, e.kind, e.payload, e.created_at, e.attempts, due.url, due.secrets;
END $$;
