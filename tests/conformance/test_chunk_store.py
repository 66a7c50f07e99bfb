"""What every chunk store promises (chunkstore/protocol.py), on every driver and wrapper."""

import asyncio
import hashlib
import os
import zlib

import pytest

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import (
    ChunkStore,
    ConditionFailed,
    DeleteResult,
    Entry,
    MissingKey,
)
from mediastore.errors import ChunkStoreUnavailable
from tests.conformance.conftest import REFUSING_DAMAGE

DOCUMENT = "_mediastore/collector"
KEY = chunk_key(hashlib.sha256(b"a").digest(), 7)
OTHER_KEY = chunk_key(hashlib.sha256(b"b").digest(), 7)


async def put(store: ChunkStore, key: str, body: bytes) -> None:
    await store.put(key, body, crc32=zlib.crc32(body))


async def listed(store: ChunkStore, *, prefix: str = "", after: str = "") -> list[Entry]:
    return [entry async for page in store.list(prefix=prefix, after=after) for entry in page]


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 1024 * 1024 + 1])
async def test_what_is_put_is_got(store: ChunkStore, size: int) -> None:
    body = os.urandom(size)
    await put(store, KEY, body)
    assert await store.get(KEY) == body
    assert await store.head(KEY) == Entry(KEY, size)


async def test_a_put_replaces(store: ChunkStore) -> None:
    await put(store, KEY, b"first")
    await put(store, KEY, b"2nd")
    assert await store.get(KEY) == b"2nd"
    assert await listed(store) == [Entry(KEY, 3)]


@pytest.mark.parametrize("store", REFUSING_DAMAGE, indirect=True)
async def test_a_damaged_body_is_refused_and_nothing_stored(store: ChunkStore) -> None:
    with pytest.raises(ChunkStoreUnavailable):
        await store.put(KEY, b"damaged on the way", crc32=zlib.crc32(b"as it was"))
    with pytest.raises(MissingKey):
        await store.get(KEY)


@pytest.mark.parametrize("store", REFUSING_DAMAGE, indirect=True)
async def test_a_damaged_body_does_not_replace(store: ChunkStore) -> None:
    await put(store, KEY, b"good")
    with pytest.raises(ChunkStoreUnavailable):
        await store.put(KEY, b"damaged", crc32=1)
    assert await store.get(KEY) == b"good"


async def test_missing_keys(store: ChunkStore) -> None:
    await put(store, OTHER_KEY, b"x")
    for call in (store.get, store.head):
        with pytest.raises(MissingKey):
            await call(KEY)
    for versioned in (store.get, store.get_versioned, store.head):
        with pytest.raises(MissingKey):
            await versioned(DOCUMENT)


@pytest.mark.parametrize(
    "key",
    ["", "x", "chunks/x", KEY.upper(), f"{KEY}0", f"/{KEY}", "_mediastore/", "_mediastore/../x",
     "_mediastore/.hidden", "_mediastore//x", "_mediastore/" + "x" * 200, f"{KEY}\n"],
)  # fmt: skip
async def test_other_keys_are_refused(store: ChunkStore, key: str) -> None:
    for attempt in (
        store.put(key, b"", crc32=0),
        store.put_if(key, b"", version=None),
        store.get(key),
        store.get_versioned(key),
        store.head(key),
        store.delete_many([KEY, key]),
    ):
        with pytest.raises(ValueError, match="key"):
            await attempt


async def test_chunks_have_no_versions(store: ChunkStore) -> None:
    with pytest.raises(ValueError, match="not a document key"):
        await store.put_if(KEY, b"", version=None)
    with pytest.raises(ValueError, match="not a document key"):
        await store.get_versioned(KEY)


async def test_a_document_is_made_once(store: ChunkStore) -> None:
    version = await store.put_if(DOCUMENT, b"one", version=None)
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"two", version=None)
    document = await store.get_versioned(DOCUMENT)
    assert (document.body, document.version) == (b"one", version)


async def test_a_document_changes_only_from_the_version_named(store: ChunkStore) -> None:
    first = await store.put_if(DOCUMENT, b"one", version=None)
    second = await store.put_if(DOCUMENT, b"two", version=first)
    assert second != first
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"three", version=first)
    document = await store.get_versioned(DOCUMENT)
    assert (document.body, document.version) == (b"two", second)


async def test_a_document_that_is_gone_does_not_change(store: ChunkStore) -> None:
    version = await store.put_if(DOCUMENT, b"one", version=None)
    await store.delete_many([DOCUMENT])
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"two", version=version)
    with pytest.raises(MissingKey):
        await store.get_versioned(DOCUMENT)


async def test_of_many_that_change_a_document_at_once_one_succeeds(store: ChunkStore) -> None:
    version = await store.put_if(DOCUMENT, b"start", version=None)
    outcomes = await asyncio.gather(
        *(store.put_if(DOCUMENT, b"%d" % n, version=version) for n in range(8)),
        return_exceptions=True,
    )
    won = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, str)]
    assert len(won) == 1
    assert sum(isinstance(outcome, ConditionFailed) for outcome in outcomes) == 7
    assert (await store.get_versioned(DOCUMENT)).body == b"%d" % won[0]


async def test_documents_are_read_listed_and_measured_without_their_version(
    store: ChunkStore,
) -> None:
    nested = "_mediastore/erased/2026-01-01"
    await store.put_if(DOCUMENT, b"body", version=None)
    await put(store, nested, b"unconditional")
    await put(store, KEY, b"chunk")
    assert await store.get(DOCUMENT) == b"body"
    assert await store.head(DOCUMENT) == Entry(DOCUMENT, 4)
    assert await listed(store) == [Entry(DOCUMENT, 4), Entry(nested, 13), Entry(KEY, 5)]
    assert await listed(store, prefix="chunks/") == [Entry(KEY, 5)]
    assert await listed(store, prefix="_mediastore/e") == [Entry(nested, 13)]


async def test_an_unconditional_put_changes_the_version(store: ChunkStore) -> None:
    first = await store.put_if(DOCUMENT, b"one", version=None)
    await put(store, DOCUMENT, b"two")
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"three", version=first)


async def test_deletes_answer_for_every_key_in_order(store: ChunkStore) -> None:
    keys = [chunk_key(bytes([n]) * 32, n) for n in (9, 3, 7, 1)]
    for key in keys[:3]:
        await put(store, key, b"x")
    await put(store, OTHER_KEY, b"stays")
    asked = [*keys, keys[0]]
    assert await store.delete_many(asked) == [DeleteResult(key) for key in asked]
    assert await listed(store) == [Entry(OTHER_KEY, 5)]
    assert await store.delete_many([]) == []


async def test_a_delete_of_one_generation_leaves_the_others(store: ChunkStore) -> None:
    hash_ = bytes(32)
    older, newer = chunk_key(hash_, 1), chunk_key(hash_, 2)
    await put(store, older, b"x")
    await put(store, newer, b"x")
    await store.delete_many([older])
    assert await listed(store) == [Entry(newer, 1)]


async def test_at_most_a_thousand_keys_are_deleted_at_once(store: ChunkStore) -> None:
    keys = [chunk_key(n.to_bytes(32, "big"), n) for n in range(1001)]
    with pytest.raises(ValueError, match="1000"):
        await store.delete_many(keys)
    assert all(result.deleted for result in await store.delete_many(keys[:1000]))


async def test_an_empty_store_lists_nothing(store: ChunkStore) -> None:
    assert await listed(store) == []
    assert await listed(store, prefix="chunks/", after=KEY) == []


async def test_listings_are_in_key_order_from_any_key(store: ChunkStore) -> None:
    hashes = [
        bytes([0]) * 32,
        bytes([0]) * 31 + b"\1",
        b"\0\1" + bytes(30),
        b"\1" * 32,
        b"\xff" * 32,
    ]
    keys = [chunk_key(hash_, generation) for hash_ in hashes for generation in (0, 5, 1 << 61)]
    for key in reversed(keys):
        await put(store, key, key[-5:].encode())
    assert keys == sorted(keys)
    assert [entry.key for entry in await listed(store)] == keys
    for index, key in enumerate(keys):
        assert [entry.key for entry in await listed(store, after=key)] == keys[index + 1 :]
        # between two keys, and a key that does not exist
        assert [e.key for e in await listed(store, after=key + "0")] == keys[index + 1 :]
    for length in (1, 6, 7, 8, 9, 10, 11, 12, 60, len(KEY)):
        prefix = keys[4][:length]
        expected = [key for key in keys if key.startswith(prefix)]
        assert [entry.key for entry in await listed(store, prefix=prefix)] == expected
        assert [entry.key for entry in await listed(store, prefix=prefix, after=keys[4])] == [
            key for key in expected if key > keys[4]
        ]
    assert await listed(store, prefix="chunks0") == []


async def test_long_listings_come_in_pages_without_gap_or_repeat(store: ChunkStore) -> None:
    keys = sorted(chunk_key(hashlib.sha256(b"%d" % n).digest(), n) for n in range(1003))
    for start in range(0, len(keys), 50):
        await asyncio.gather(*(put(store, key, b"x") for key in keys[start : start + 50]))
    pages = [page async for page in store.list(prefix="chunks/")]
    assert [entry.key for page in pages for entry in page] == keys
    assert [len(page) for page in pages] == [1000, 3]


async def test_a_listing_may_be_left_early(store: ChunkStore) -> None:
    await put(store, KEY, b"x")
    async for page in store.list():
        assert page == [Entry(KEY, 1)]
        break
    assert await store.get(KEY) == b"x"


async def test_many_calls_at_once(store: ChunkStore) -> None:
    bodies = {chunk_key(hashlib.sha256(b"%d" % n).digest(), n): os.urandom(n) for n in range(40)}
    await asyncio.gather(*(put(store, key, body) for key, body in bodies.items()))
    assert await asyncio.gather(*map(store.get, bodies)) == list(bodies.values())


async def test_check_passes_and_leaves_no_chunk(store: ChunkStore) -> None:
    await store.check()
    await store.check()
    assert await listed(store, prefix="chunks/") == []
