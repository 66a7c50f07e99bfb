"""A database behind the collectors' marker: no upload relies on what it says is stored (INV-2)."""

import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import FormData
from blake3 import blake3

from mediastore.chunkstore.keys import COLLECTOR_MARKER
from mediastore.errors import ChunkStoreUnavailable
from mediastore.uploads.trust import StoreTrust
from tests.collection_world import noise
from tests.faults import Fault
from tests.integration.uploads.conftest import Service, Starter


def trust(service: Service) -> StoreTrust:
    return service.uploads.parts.trust


async def restore(service: Service, connection: "asyncpg.Connection[Any]") -> None:
    """Collectors have claimed more than this database knows of."""
    incarnation = await connection.fetchval("SELECT incarnation FROM gc_state")
    body = json.dumps({"incarnation": str(incarnation), "counter": 5}).encode()
    await service.kept.put_if(COLLECTOR_MARKER, body, version=None)
    await trust(service).ask()


async def upload(service: Service, content: bytes) -> dict[str, Any]:
    answer = await service.client.post("/v1/objects", data=content, headers=service.bearer)
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    return made


async def stored(service: Service, connection: "asyncpg.Connection[Any]", blob: bytes) -> bytes:
    """A blob's bytes, as the catalog says where they are."""
    entries = await connection.fetchval("SELECT entries FROM manifests WHERE blob = $1", blob)
    parts = []
    for at in range(0, len(entries), 40):
        row = await connection.fetchrow(
            "SELECT hash, generation FROM chunks WHERE hash = $1 AND stored AND damaged_at IS NULL",
            entries[at : at + 32],
        )
        assert row is not None
        key = f"chunks/{row['hash'].hex()}/{row['generation']:016x}"
        parts.append(await service.kept.get(key))
    return b"".join(parts)


async def lose_chunks(service: Service) -> None:
    keys = [e.key async for page in service.kept.list(prefix="chunks/") for e in page]
    await service.kept.delete_many(keys)


async def test_a_database_that_is_not_behind_is_trusted(service: Service) -> None:
    await upload(service, b"same")
    puts = service.store.count("put")
    await upload(service, b"same")
    assert (service.store.count("put"), trust(service).doubted) == (puts, False)


@pytest.mark.parametrize("size", [100, 60_000])
async def test_a_blob_whose_bytes_are_gone_is_stored_again(
    service: Service, connection: "asyncpg.Connection[Any]", size: int
) -> None:
    content = noise("content", size)
    await upload(service, content)
    await restore(service, connection)
    await lose_chunks(service)
    await upload(service, content)
    assert await stored(service, connection, blake3(content).digest()) == content


async def test_small_files_of_a_form_are_stored_again(
    service: Service, connection: "asyncpg.Connection[Any]"
) -> None:
    files = {f"f{n}": noise(n, 100) for n in range(3)}
    for content in files.values():
        await upload(service, content)
    await restore(service, connection)
    await lose_chunks(service)
    form = FormData()
    for name, content in files.items():
        form.add_field(name, content, filename=name)
    answer = await service.client.post("/v1/objects", data=form, headers=service.bearer)
    assert answer.status in (201, 207), await answer.text()
    for content in files.values():
        assert await stored(service, connection, blake3(content).digest()) == content


async def test_a_chunk_of_another_file_is_put_again(
    service: Service, connection: "asyncpg.Connection[Any]"
) -> None:
    """The blob is new, its chunks are not."""
    beginning = noise("beginning", 60_000)
    await upload(service, beginning)
    await restore(service, connection)
    await lose_chunks(service)
    await upload(service, beginning + b"more")
    blob = blake3(beginning + b"more").digest()
    assert await stored(service, connection, blob) == beginning + b"more"


async def test_a_blob_that_is_there_is_linked(
    service: Service, connection: "asyncpg.Connection[Any]"
) -> None:
    await upload(service, b"there")
    await restore(service, connection)
    puts = service.store.count("put")
    await upload(service, b"there")
    assert service.store.count("put") == puts


async def test_it_is_noticed_at_the_start_and_believed_again_after_reconcile(
    service: Service, start: Starter, connection: "asyncpg.Connection[Any]"
) -> None:
    await restore(service, connection)
    other = await start(service.kept)
    assert trust(other).doubted
    await connection.execute("UPDATE gc_state SET batch_counter = 5")
    await trust(other).ask()
    assert not trust(other).doubted
    await connection.execute("UPDATE gc_state SET incarnation = $1", uuid4())
    await trust(other).ask()
    assert trust(other).doubted


async def test_a_store_that_is_down_changes_no_mind(
    service: Service, connection: "asyncpg.Connection[Any]"
) -> None:
    await restore(service, connection)
    service.store.script("get_versioned", Fault(before=ChunkStoreUnavailable()))
    with pytest.raises(ChunkStoreUnavailable):
        await trust(service).ask()
    assert trust(service).doubted
