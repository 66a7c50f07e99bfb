"""What `open_chunk_store` puts together."""

import zlib
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.errors import ChunkStoreUnavailable
from mediastore.settings import ChunkStoreSettings
from tests.unit.chunkstore.fake_clock import FakeClock

KEY = chunk_key(bytes(32), 1)


@pytest.mark.parametrize("driver", ["memory", "directory"])
async def test_a_store_that_works_and_is_measured(driver: str, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    settings = ChunkStoreSettings.model_validate({"driver": driver, "directory": tmp_path / "c"})
    async with open_chunk_store(settings, FakeClock(), registry) as store:
        await store.put(KEY, b"x", crc32=zlib.crc32(b"x"))
        assert await store.get(KEY) == b"x"
        await store.check()
    labels = {"operation": "put", "outcome": "ok"}
    assert registry.get_sample_value("mediastore_chunk_store_calls_total", labels) == 1


async def test_failures_are_retried_and_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    settings = ChunkStoreSettings(
        driver="directory", directory=tmp_path / "c", attempts_max=3, retry_delay_seconds=1
    )
    clock = FakeClock()
    async with open_chunk_store(settings, clock, registry) as store:
        (tmp_path / "c").rename(tmp_path / "away")
        with pytest.raises(ChunkStoreUnavailable):
            await store.get(KEY)
    assert len(clock.slept) == 2
    sample = registry.get_sample_value
    assert sample("mediastore_chunk_store_retries_total", {"operation": "get"}) == 2
    labels = {"operation": "get", "outcome": "unavailable"}
    assert sample("mediastore_chunk_store_calls_total", labels) == 1


async def test_an_s3_that_is_away_does_not_keep_the_service_from_starting() -> None:
    settings = ChunkStoreSettings.model_validate(
        {"driver": "s3", "endpoint_url": "http://127.0.0.1:1", "access_key_id": "k",
         "secret_access_key": "s", "path_style": True}
    )  # fmt: skip
    async with open_chunk_store(settings, FakeClock(), CollectorRegistry()) as store:
        with pytest.raises(ChunkStoreUnavailable):
            await store.check()
