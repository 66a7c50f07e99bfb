"""What is believed about who may read what (INV-10)."""

import asyncio
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import pytest

from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import ReadableContent
from mediastore.clock import SystemClock
from mediastore.delivery import allowed
from mediastore.delivery.allowed import AllowedReads
from mediastore.settings import DeliverySettings


async def test_an_answer_to_a_question_from_before_listen_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delete between the question and LISTEN was told to nobody."""
    asked = 0
    answer = asyncio.Event()

    async def find(_catalog: Catalog, _tenant: str, blob: bytes) -> ReadableContent:
        nonlocal asked
        asked += 1
        await answer.wait()
        return ReadableContent(
            tenant="acme",
            id=UUID(int=1),
            owner="",
            blob=blob,
            size=1,
            content_type="a/b",
            name=None,
            created_at=datetime.now(UTC),
            public=True,
        )

    monkeypatch.setattr(allowed, "find_readable_blob", find)
    reads = AllowedReads(cast("Catalog", None), SystemClock(), DeliverySettings())
    question = asyncio.create_task(reads.blob("acme", "00" * 32))
    await asyncio.sleep(0)
    reads.listening()
    answer.set()
    await question
    await reads.blob("acme", "00" * 32)
    assert asked == 2
    await reads.blob("acme", "00" * 32)
    assert asked == 2
