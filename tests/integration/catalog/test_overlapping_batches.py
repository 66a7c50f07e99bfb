"""Batches whose intents are written while those before them are on their way."""

from typing import Any

import asyncpg
import pytest

from mediastore.catalog.pool import Catalog
from mediastore.catalog.staging import intend_staged
from mediastore.catalog.uploads import CommitChunk, IntentChunk, Upload, commit, intend
from mediastore.errors import InvariantBroken
from tests.integration.catalog.test_staging import acme as acme
from tests.integration.catalog.test_staging import begun, offset, rows
from tests.recount_exact import assert_references_exact


async def behind(catalog: Catalog, upload: Upload, start: int, *chunks: bytes) -> list[IntentChunk]:
    """The intent of a batch that begins at `start`, before what lies before it is committed."""
    return await intend_staged(
        catalog, upload, rows(*chunks), staged_bytes=start, expires_seconds=3600
    )


async def committed(
    catalog: Catalog, upload: Upload, size: int, seen: list[IntentChunk], *, finishing: bool = False
) -> int:
    put = [CommitChunk(chunk.hash, chunk.generation, True) for chunk in seen]
    return await commit(catalog, upload, size, put, finishing=finishing, expires_seconds=3600)


async def test_inv_1_a_commit_moves_the_offset_over_its_own_batch_alone(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    upload = await begun(acme)
    first = await intend(acme, upload, rows(b"abc", b"def"), expires_seconds=3600)
    await behind(acme, upload, 6, b"ghi")
    assert await committed(acme, upload, 6, first) == 6
    assert await offset(acme, upload) == 6
    await assert_references_exact(connection)


@pytest.mark.parametrize("size", [3, 5, 7, 9])
async def test_inv_8_a_commit_of_another_size_than_its_rows_is_refused(
    acme: Catalog, size: int
) -> None:
    upload = await begun(acme)
    first = await intend(acme, upload, rows(b"abcdef"), expires_seconds=3600)
    await behind(acme, upload, 6, b"ghij")
    with pytest.raises(InvariantBroken):
        await committed(acme, upload, size, first)
    assert await offset(acme, upload) == 0


async def test_an_intent_that_is_written_again_releases_what_lies_behind_its_batch(
    acme: Catalog, connection: "asyncpg.Connection[Any]"
) -> None:
    upload = await begun(acme)
    await intend(acme, upload, rows(b"abc"), expires_seconds=3600)
    await behind(acme, upload, 3, b"def")
    await intend(acme, upload, rows(b"abc"), expires_seconds=3600)
    assert await connection.fetchval("SELECT sum(size) FROM upload_chunks") == 3
    with pytest.raises(InvariantBroken):  # its predecessor has to come first
        await behind(acme, upload, 6, b"ghi")
    await assert_references_exact(connection)


async def test_nothing_lies_behind_what_is_to_be_finished(acme: Catalog) -> None:
    upload = await begun(acme, 6)
    first = await intend(acme, upload, rows(b"abc"), expires_seconds=3600)
    await behind(acme, upload, 3, b"def")
    with pytest.raises(InvariantBroken):
        await committed(acme, upload, 3, first, finishing=True)
