"""Catalogs as they are after a while, filled through SQL, and how much room their tables take."""

from dataclasses import dataclass

import asyncpg

BATCH_BLOBS = 100
TENANT = "bench"
TB = 10**12

# Hashes of numbers come in random order, as names of content do: index pages get as full as in
# life. A few chunks at a time are written, committed and updated, as by intents and commits.
_FILL = """
CREATE FUNCTION bench_hash(p_text text) RETURNS bytea LANGUAGE sql IMMUTABLE
AS $$ SELECT sha256(convert_to(p_text, 'UTF8')) $$;
CREATE PROCEDURE bench_fill(
    p_blobs integer, p_batch integer, p_chunks integer, p_chunk_size integer, p_type text
) LANGUAGE plpgsql AS $$
DECLARE
    v_size bigint := p_chunks::bigint * p_chunk_size;
    v_last integer;
BEGIN
    SET synchronous_commit = off;
    FOR v_first IN 1..p_blobs * p_chunks BY 8 LOOP
        v_last := least(v_first + 7, p_blobs * p_chunks);
        INSERT INTO chunks (hash, generation, size, refs)
        SELECT bench_hash('chunk ' || c), (random() * 4e18)::bigint, p_chunk_size, 1
        FROM generate_series(v_first, v_last) AS c;
        COMMIT;
        UPDATE chunks SET stored = true WHERE hash = ANY (ARRAY(
            SELECT bench_hash('chunk ' || c) FROM generate_series(v_first, v_last) AS c));
        COMMIT;
    END LOOP;
    FOR v_first IN 1..p_blobs BY p_batch LOOP
        v_last := least(v_first + p_batch - 1, p_blobs);
        INSERT INTO blobs (hash, size, refs)
        SELECT bench_hash('blob ' || b), v_size, 1 FROM generate_series(v_first, v_last) AS b;
        INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes,
                               chunk_size_max_bytes)
        SELECT bench_hash('blob ' || b),
               (SELECT string_agg(bench_hash('chunk ' || (b - 1) * p_chunks + c)
                                  || int8send(c::bigint * p_chunk_size), ''::bytea ORDER BY c)
                FROM generate_series(1, p_chunks) AS c), 1048576, 4194304, 8388608
        FROM generate_series(v_first, v_last) AS b;
        INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata,
                             created_at)
        SELECT uuidv7(), 'bench', 'user-' || (random() * 1e6)::integer, 'IMG_' || b || '.jpg',
               bench_hash('blob ' || b), p_type, v_size,
               jsonb_build_object('album', 'holiday ' || b % 100, 'device', 'phone 12'), now()
        FROM generate_series(v_first, v_last) AS b;
        COMMIT;
    END LOOP;
END $$
"""
_SIZES = """
SELECT c.relname AS name, pg_table_size(c.oid) AS rows_bytes, pg_indexes_size(c.oid) AS index_bytes
FROM pg_class AS c WHERE c.oid = ANY ($1::text[]::regclass[])
"""
TABLES = ("objects", "blobs", "manifests", "chunks")


@dataclass(frozen=True, slots=True)
class Content:
    """What a catalog is full of: blobs of some chunks of one size each."""

    name: str
    content_type: str
    blobs: int
    chunks: int
    chunk_size: int

    @property
    def stored_bytes(self) -> int:
        return self.blobs * self.chunks * self.chunk_size


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a table takes for a TB of content."""

    table: str
    rows_per_tb: float
    indexes_per_tb: float


async def fill(connection: asyncpg.Connection, content: Content) -> None:
    await connection.execute("INSERT INTO tenants (id) VALUES ($1)", TENANT)
    await connection.execute(_FILL)
    await connection.execute(
        "CALL bench_fill($1, $2, $3, $4, $5)",
        content.blobs,
        BATCH_BLOBS,
        content.chunks,
        content.chunk_size,
        content.content_type,
    )
    await connection.execute("VACUUM ANALYZE")


async def rooms(connection: asyncpg.Connection, content: Content) -> list[Room]:
    found = {row["name"]: row for row in await connection.fetch(_SIZES, list(TABLES))}
    share = TB / content.stored_bytes
    return [
        Room(name, found[name]["rows_bytes"] * share, found[name]["index_bytes"] * share)
        for name in TABLES
    ]
