"""Counts every reference by plain SQL and compares with what the rows say (INV-3, INV-4, INV-12).

Independent of the service's own functions on purpose: entries are taken apart here.
"""

from collections import Counter
from typing import Any

import asyncpg

ENTRY = 40


def hashes_of(entries: bytes, first: int = 0) -> list[bytes]:
    assert len(entries) % ENTRY == 0, "a list is not made of whole entries"
    return [entries[at : at + 32] for at in range(first * ENTRY, len(entries), ENTRY)]


async def assert_references_exact(connection: "asyncpg.Connection[Any]") -> None:
    """In one snapshot: refs of chunks and blobs exact, garbage iff refs = 0, no doomed key used."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counted: Counter[bytes] = Counter()
        for row in await connection.fetch("SELECT entries FROM manifests"):
            counted.update(hashes_of(row["entries"]))
        for row in await connection.fetch("SELECT hash FROM upload_chunks"):
            counted[row["hash"]] += 1
        for row in await connection.fetch("SELECT entries, cursor FROM unlinking"):
            counted.update(hashes_of(row["entries"], row["cursor"]))
        chunks = await connection.fetch("SELECT hash, refs FROM chunks")
        assert {row["hash"]: row["refs"] for row in chunks} == dict(counted), "chunks.refs"

        pointing = Counter(
            row["blob"] for row in await connection.fetch("SELECT blob FROM objects")
        )
        for row in await connection.fetch("SELECT result FROM variants"):
            pointing[row["result"]] += 1
        blobs = await connection.fetch("SELECT hash, refs FROM blobs")
        assert {row["hash"]: row["refs"] for row in blobs} == {
            row["hash"]: pointing[row["hash"]] for row in blobs
        }, "blobs.refs"
        assert set(pointing) <= {row["hash"] for row in blobs}, "an object without its blob"

        manifests = {row["blob"] for row in await connection.fetch("SELECT blob FROM manifests")}
        assert manifests == {row["hash"] for row in blobs}, "a blob without its manifest"
        garbage = {row["blob"] for row in await connection.fetch("SELECT blob FROM garbage")}
        assert garbage == {row["hash"] for row in blobs if row["refs"] == 0}, "garbage"

        in_use = await connection.fetchval(
            "SELECT count(*) FROM doomed JOIN chunks USING (hash, generation)"
        )
        assert in_use == 0, "INV-3: a doomed key is a chunk's key"
