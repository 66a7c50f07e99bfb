"""All of a small catalog in one snapshot, and the bytes that its rows lead to.

Read by plain SQL and put together here, on purpose by other means than the service's own.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from blake3 import blake3

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.chunkstore.protocol import MissingKey
from tests.recount_exact import hashes_of

TABLES = (
    "objects",
    "manifests",
    "chunks",
    "doomed",
    "uploads",
    "upload_chunks",
    "purged_objects",
    "tombstones",
)
Row = Any


@dataclass(frozen=True, slots=True)
class Picture:
    """Rows by their keys. `held` is what the store holds now."""

    store: MemoryChunkStore
    objects: dict[UUID, Row]
    manifests: dict[bytes, bytes]
    chunks: dict[bytes, Row]
    doomed: dict[bytes, list[Row]]
    uploads: dict[UUID, Row]
    upload_chunks: dict[UUID, list[Row]]
    purged: dict[UUID, Row]
    tombstones: dict[bytes, bytes]

    async def body(self, key: str) -> bytes | None:
        try:
            return await self.store.get(key)
        except MissingKey:
            return None

    async def has(self, prefix: str) -> bool:
        """Is there a key that is this, or begins with it?"""
        return any([page async for page in self.store.list(prefix=prefix)])

    async def chunk(self, hash_: bytes, *, doomed: bool = False) -> bytes | None:
        """A chunk's bytes under its row's key; with `doomed` also under one that is not claimed."""
        row = self.chunks.get(hash_)
        keys = []
        if row is not None and row["stored"] and row["damaged_at"] is None:
            keys.append(chunk_key(hash_, row["generation"]))
        if doomed:
            keys += [
                chunk_key(hash_, each["generation"])
                for each in self.doomed.get(hash_, [])
                if each["claimed_at"] is None
            ]
        for key in keys:
            body = await self.body(key)
            if body is not None and blake3(body).digest() == hash_:
                return body
        return None

    async def content(self, entries: bytes, *, doomed: bool = False) -> bytes | None:
        """What a manifest leads to; None: not to all of it."""
        parts = [await self.chunk(hash_, doomed=doomed) for hash_ in hashes_of(entries)]
        whole = [part for part in parts if part is not None]
        return b"".join(whole) if len(whole) == len(parts) else None

    async def object_content(self, id_: UUID, *, doomed: bool = False) -> bytes | None:
        """Of an object with a row, or of a purged one for as long as it can come back."""
        row = self.objects.get(id_) or self.purged.get(id_)
        if row is None:
            return None
        entries = self.manifests.get(row["blob"])
        if entries is None:
            entries, doomed = self.tombstones.get(row["blob"]), True
        if entries is None:
            return None
        content = await self.content(entries, doomed=doomed)
        if content is not None and blake3(content).digest() != row["blob"]:
            return None
        return content

    async def committed(self, id_: UUID, *, doomed: bool = False) -> bytes | None:
        """The acknowledged bytes of an upload: pass 1 below its cursor, pass 0 from there on."""
        upload = self.uploads[id_]
        cursor = upload["rechunked"] or 0
        content = bytearray()
        rows = self.upload_chunks.get(id_, [])
        for row in sorted(rows, key=lambda row: (-row["pass"], row["offset"])):
            start, end = row["offset"], row["offset"] + row["size"]
            if (row["pass"] == 1 and end > cursor) or end <= len(content):
                continue
            if start > len(content) or start >= upload["offset"]:
                break
            chunk = await self.chunk(row["hash"], doomed=doomed)
            if chunk is None:
                return None
            content += chunk[len(content) - start :]
        return bytes(content[: upload["offset"]]) if len(content) >= upload["offset"] else None


def chunk_prefix(hash_: bytes) -> str:
    """What the keys of all copies of a chunk begin with."""
    return chunk_key(hash_, 0).rpartition("/")[0] + "/"


async def take_picture(connection: "asyncpg.Connection[Any]", store: MemoryChunkStore) -> Picture:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = {table: await connection.fetch(f"SELECT * FROM {table}") for table in TABLES}
    doomed: dict[bytes, list[Row]] = {}
    for row in rows["doomed"]:
        doomed.setdefault(row["hash"], []).append(row)
    upload_chunks: dict[UUID, list[Row]] = {}
    for row in rows["upload_chunks"]:
        upload_chunks.setdefault(row["upload"], []).append(row)
    return Picture(
        store,
        {row["id"]: row for row in rows["objects"]},
        {row["blob"]: row["entries"] for row in rows["manifests"]},
        {row["hash"]: row for row in rows["chunks"]},
        doomed,
        {row["id"]: row for row in rows["uploads"]},
        upload_chunks,
        {row["id"]: row for row in rows["purged_objects"]},
        {row["blob"]: row["entries"] for row in sorted(rows["tombstones"], key=lambda r: r["id"])},
    )
