-- The tables of the design. `refs` is in no index: an index on it takes updates from nearly all HOT to none.
-- Rows whose refs change stay narrow: manifests and metadata live in tables of their own.

-- The one clock of every delay that decides about bytes (INV-6). Tests replace this function.
CREATE FUNCTION catalog_clock() RETURNS timestamptz
LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE tenants (
    id text PRIMARY KEY,
    public boolean NOT NULL DEFAULT false,
    trash_seconds integer NOT NULL DEFAULT 2592000,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_id_is_a_slug CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT tenants_trash_not_negative CHECK (trash_seconds >= 0)
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants,
    name text NOT NULL,
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_secret_hash_is_blake3 CHECK (length(secret_hash) = 32),
    CONSTRAINT api_keys_secret_hash_unique UNIQUE (secret_hash)
);

CREATE TABLE blobs (
    hash bytea PRIMARY KEY,
    size bigint NOT NULL,
    refs bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT blobs_hash_is_blake3 CHECK (length(hash) = 32),
    CONSTRAINT blobs_size_not_negative CHECK (size >= 0),
    CONSTRAINT blobs_refs_not_negative CHECK (refs >= 0)
) WITH (fillfactor = 90);

-- A blob's chunks in order, 40 bytes each: hash, end offset (big-endian bigint). EXTERNAL keeps it
-- uncompressed, so that substr() fetches only the part that is asked for.
CREATE TABLE manifests (
    blob bytea PRIMARY KEY REFERENCES blobs,
    entries bytea NOT NULL,
    chunk_size_min_bytes integer NOT NULL,
    chunk_size_average_bytes integer NOT NULL,
    chunk_size_max_bytes integer NOT NULL,
    CONSTRAINT manifests_entries_are_whole CHECK (length(entries) % 40 = 0)
);
ALTER TABLE manifests ALTER COLUMN entries SET STORAGE EXTERNAL;

-- What was learnt by looking into a blob; filled by images/.
CREATE TABLE media (
    blob bytea PRIMARY KEY REFERENCES blobs,
    probe jsonb NOT NULL
);

-- Here and in uploads `tenant` has no foreign key: every upload of a tenant would have to note a lock in that
-- tenant's one row, and they would wait for each other there. An authenticated key, which has one, names the tenant.
CREATE TABLE objects (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    blob bytea NOT NULL REFERENCES blobs,
    content_type text NOT NULL,
    size bigint NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    purge_at timestamptz,
    CONSTRAINT objects_purge_follows_deletion CHECK ((deleted_at IS NULL) = (purge_at IS NULL))
);
-- Blob first: it answers "may this tenant read this blob" and serves the foreign key as well.
CREATE INDEX objects_blob_tenant ON objects (blob, tenant);
CREATE INDEX objects_tenant_id ON objects (tenant, id);
CREATE INDEX objects_purge_at ON objects (purge_at) WHERE purge_at IS NOT NULL;

-- A row is a dedup hit only while stored and undamaged (INV-2); a committed row has refs > 0 (INV-4).
-- No fillfactor: every row is updated soon after its insert, and a page is pruned when it is nearly full; inserts that
-- keep room free leave it before that, and the rows take two thirds more space (docs/performance.md).
CREATE TABLE chunks (
    hash bytea PRIMARY KEY,
    generation bigint NOT NULL,
    size integer NOT NULL,
    refs bigint NOT NULL,
    stored boolean NOT NULL DEFAULT false,
    damaged_at timestamptz,
    CONSTRAINT chunks_hash_is_blake3 CHECK (length(hash) = 32),
    CONSTRAINT chunks_generation_is_62_bits CHECK (generation >= 0 AND generation < 4611686018427387904),
    CONSTRAINT chunks_size_positive CHECK (size > 0),
    CONSTRAINT chunks_refs_positive CHECK (refs > 0),
    CONSTRAINT chunks_damaged_only_when_stored CHECK (damaged_at IS NULL OR stored)
);
CREATE INDEX chunks_damaged_at ON chunks (damaged_at) WHERE damaged_at IS NOT NULL;

CREATE TABLE uploads (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    metadata jsonb NOT NULL,
    protocol text NOT NULL,
    state text NOT NULL DEFAULT 'open',
    "offset" bigint NOT NULL DEFAULT 0,
    length bigint,
    declared_hash bytea,
    epoch bigint NOT NULL,
    created_at timestamptz NOT NULL,
    touched_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT uploads_state_known CHECK (state IN ('open', 'finishing')),
    CONSTRAINT uploads_protocol_known CHECK (protocol IN ('tus', 'ietf', 'form', 'raw')),
    CONSTRAINT uploads_offset_not_negative CHECK ("offset" >= 0),
    CONSTRAINT uploads_offset_within_length CHECK (length IS NULL OR "offset" <= length),
    CONSTRAINT uploads_declared_hash_is_blake3 CHECK (declared_hash IS NULL OR length(declared_hash) = 32)
) WITH (fillfactor = 80);
CREATE INDEX uploads_expires_at ON uploads (expires_at);
CREATE INDEX uploads_finishing ON uploads (touched_at) WHERE state = 'finishing';

-- An upload's own references to chunks, in order. `pass` counts re-chunkings.
CREATE TABLE upload_chunks (
    upload uuid NOT NULL REFERENCES uploads,
    pass integer NOT NULL DEFAULT 0,
    "offset" bigint NOT NULL,
    hash bytea NOT NULL,
    size integer NOT NULL,
    PRIMARY KEY (upload, pass, "offset"),
    CONSTRAINT upload_chunks_offset_not_negative CHECK ("offset" >= 0),
    CONSTRAINT upload_chunks_size_positive CHECK (size > 0),
    CONSTRAINT upload_chunks_hash_is_blake3 CHECK (length(hash) = 32)
);

CREATE TABLE idempotency_keys (
    tenant text NOT NULL REFERENCES tenants,
    key text NOT NULL,
    object uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);

-- Blobs without references, waiting for the revive delay (INV-12).
CREATE TABLE garbage (
    blob bytea PRIMARY KEY REFERENCES blobs,
    since timestamptz NOT NULL
);
CREATE INDEX garbage_since ON garbage (since);

-- References on their way out: entries at and past the cursor still count (INV-4).
CREATE TABLE unlinking (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    blob bytea,
    entries bytea NOT NULL,
    cursor integer NOT NULL DEFAULT 0,
    since timestamptz NOT NULL,
    CONSTRAINT unlinking_entries_are_whole CHECK (length(entries) % 40 = 0 AND length(entries) > 0),
    CONSTRAINT unlinking_cursor_within CHECK (cursor >= 0 AND cursor < length(entries) / 40)
) WITH (fillfactor = 80);
ALTER TABLE unlinking ALTER COLUMN entries SET STORAGE EXTERNAL;

-- Keys that never come back (INV-3), waiting for the recovery window (INV-6) and a recount (INV-7).
-- `transaction` tells whether a recount's snapshot saw the row: a timestamp could not.
CREATE TABLE doomed (
    hash bytea NOT NULL,
    generation bigint NOT NULL,
    size integer NOT NULL,
    since timestamptz NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kept_by_recount bigint,
    claimed_at timestamptz,
    retry_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (hash, generation),
    CONSTRAINT doomed_hash_is_blake3 CHECK (length(hash) = 32)
) WITH (fillfactor = 80);
CREATE INDEX doomed_since ON doomed (since);

-- What a removed blob was made of, kept for the recovery window.
CREATE TABLE tombstones (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    blob bytea NOT NULL,
    size bigint NOT NULL,
    entries bytea NOT NULL,
    since timestamptz NOT NULL
);
ALTER TABLE tombstones ALTER COLUMN entries SET STORAGE EXTERNAL;
CREATE INDEX tombstones_blob ON tombstones (blob);
CREATE INDEX tombstones_since ON tombstones (since);

-- Hashes whose counted references do not fit their row. Nothing here is ever deleted by the collector.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL,
    released bigint NOT NULL,
    refs bigint,
    since timestamptz NOT NULL
);
CREATE INDEX quarantine_hash ON quarantine (hash);

CREATE TABLE variants (
    blob bytea NOT NULL REFERENCES blobs,
    transform text NOT NULL,
    result bytea NOT NULL REFERENCES blobs,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (blob, transform),
    CONSTRAINT variants_result_is_another_blob CHECK (result <> blob)
);
CREATE INDEX variants_result ON variants (result);

-- Transactional outbox: claimed row by row and deleted.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz
);

CREATE TABLE gc_state (
    only_row boolean PRIMARY KEY DEFAULT true,
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    batch_counter bigint NOT NULL DEFAULT 0,
    clock_high timestamptz NOT NULL,
    paused_at timestamptz,
    paused_why text,
    CONSTRAINT gc_state_has_one_row CHECK (only_row)
);
INSERT INTO gc_state (clock_high) VALUES (catalog_clock());

CREATE TABLE gc_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text,
    counts jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX gc_runs_started_at ON gc_runs (started_at);

-- Complete recounts (INV-7): the snapshot was taken before the pass read its first reference.
CREATE TABLE recounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incarnation uuid NOT NULL,
    snapshot pg_snapshot NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    references_read bigint,
    manifests_read bigint
);

-- Doomed hashes that a recount saw referenced.
CREATE TABLE recount_kept (
    recount bigint NOT NULL REFERENCES recounts ON DELETE CASCADE,
    hash bytea NOT NULL,
    PRIMARY KEY (recount, hash)
);
