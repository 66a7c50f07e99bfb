"""The folder of chunks on the local disk: it saves reads of the store, and costs no answer."""

import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from mediastore.app_keys import MEMORY
from mediastore.delivery import disk_cache
from mediastore.delivery.disk_folder import DiskFolder
from mediastore.errors import BadSettings, ChunkStoreUnavailable
from mediastore.settings import Settings
from tests.faults import Fault
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, bearer, running, settings_on, until, upload

CONTENT = Random(3).randbytes(40_000)
SMALL = b"of one chunk"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def settings(dsn: str, tmp_path: Path, cache: Path) -> Settings:
    """Nothing stays in memory: what is read again comes from the disk, or from the store."""
    return settings_on(
        dsn,
        tmp_path,
        memory={"chunk_cache_bytes": 0},
        delivery={"disk_cache_directory": str(cache)},
    )


def kept(cache: Path) -> list[Path]:
    return [file for file in (cache / "chunks").rglob("*") if file.is_file()]


async def read(service: Service, made: dict[str, Any]) -> bytes:
    async with service.client.get(made["links"]["media"]) as response:
        assert response.status == 200
        return await response.read()


async def read_and_kept(service: Service, made: dict[str, Any], content: bytes) -> None:
    """Read it, and wait until all that was read is on disk."""
    chunks = service.store.count("get")
    assert await read(service, made) == content
    chunks = service.store.count("get") - chunks
    assert chunks
    await until(lambda: service.sample("disk_cache_writes_total", outcome="written") >= chunks)


async def test_what_was_read_is_not_asked_of_the_store_again_nor_after_a_restart(
    settings: Settings, keys: Keys, service: Service
) -> None:
    made = await upload(service, keys.public, CONTENT)
    await read_and_kept(service, made, CONTENT)
    asked = service.store.count("get")
    assert await read(service, made) == CONTENT
    assert service.store.count("get") == asked
    assert service.sample("disk_cache_reads_total", outcome="hit") == asked
    async with running(settings) as again:  # beside the first: they share the folder
        again.store.always("get", Fault(before=ChunkStoreUnavailable()))
        assert await read(again, made) == CONTENT
        assert again.store.count("get") == 0
        await until(lambda: again.sample("disk_cache_bytes") > len(CONTENT))


async def test_a_chunk_whose_copy_in_the_store_is_gone(
    settings: Settings, keys: Keys, service: Service
) -> None:
    made = await upload(service, keys.public, SMALL)
    await read_and_kept(service, made, SMALL)
    service.file_of(SMALL).unlink()
    assert await read(service, made) == SMALL


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * len(SMALL), SMALL + b"x"])
async def test_a_damaged_file_gives_nothing_of_itself_and_is_replaced(
    cache: Path, keys: Keys, service: Service, damage: bytes
) -> None:
    made = await upload(service, keys.public, SMALL)
    await read_and_kept(service, made, SMALL)
    (file,) = kept(cache)
    file.write_bytes(damage)
    await read_and_kept(service, made, SMALL)
    assert service.sample("disk_cache_reads_total", outcome="damaged") == 1
    await until(lambda: service.sample("disk_cache_writes_total", outcome="written") == 2)
    assert file.read_bytes() == SMALL
    assert service.sample("chunks_bad_total", what="damaged") == 0  # the store's copy is well


async def test_what_may_not_be_read_is_not_read_from_the_disk_either(
    keys: Keys, service: Service
) -> None:
    made = await upload(service, keys.public, SMALL)
    await read_and_kept(service, made, SMALL)
    url = f"/v1/objects/{made['id']}"
    async with service.client.delete(url, headers=bearer(keys.public)):
        pass
    async with service.client.get(made["links"]["media"]) as response:
        assert response.status == 404


async def test_a_disk_that_fails_costs_no_answer(cache: Path, keys: Keys, service: Service) -> None:
    made = await upload(service, keys.public, CONTENT)
    (cache / "chunks").rmdir()
    (cache / "chunks").write_text("a disk that is broken")
    with capture_logs() as logged:
        for _ in range(2):
            assert await read(service, made) == CONTENT
        await until(lambda: service.sample("disk_cache_writes_total", outcome="failed") > 0)
    assert service.sample("disk_cache_reads_total", outcome="failed") > 0
    assert {entry["log_level"] for entry in logged} == {"warning"}
    await until(lambda: service.app[MEMORY].in_use_bytes == 0)


async def test_a_disk_that_hangs_costs_no_answer(
    keys: Keys, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await upload(service, keys.public, SMALL)
    go = threading.Event()
    monkeypatch.setattr(disk_cache, "READ_MAX_SECONDS", 0.05)
    monkeypatch.setattr(DiskFolder, "read", lambda *_arguments: go.wait() and None)
    try:
        assert await read(service, made) == SMALL
        assert service.sample("disk_cache_reads_total", outcome="failed") == 1
    finally:
        go.set()


async def test_what_is_written_takes_free_memory_only(
    keys: Keys, service: Service, cache: Path
) -> None:
    made = await upload(service, keys.public, SMALL)
    memory = service.app[MEMORY]
    free = memory.limit_bytes - memory.in_use_bytes
    assert memory.try_acquire(free - len(SMALL))  # enough to read it, nothing to write it with
    async with service.client.get(made["links"]["media"]) as response:
        assert await response.read() == SMALL
    assert service.sample("disk_cache_writes_total", outcome="skipped") == 1
    assert kept(cache) == []
    memory.release(free - len(SMALL))


async def test_a_folder_that_cannot_be_made_ends_the_start(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = settings_on(
        dsn, tmp_path, delivery={"disk_cache_directory": str(tmp_path / "file" / "cache")}
    )
    with pytest.raises(BadSettings, match="disk_cache_directory"):
        async with running(settings):
            pass
