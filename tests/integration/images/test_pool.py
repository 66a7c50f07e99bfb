"""Worker processes: what they make, what ends them, and that there is always another one."""

import asyncio
import io
import os
import random
import signal
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from mediastore.clock import SystemClock
from mediastore.errors import ShuttingDown, Unavailable
from mediastore.image_errors import ImageRefused, ImageTooCostly, ImageTooLarge
from mediastore.images.image_metrics import ImageMetrics
from mediastore.images.pool import WorkerPool
from mediastore.images.worker_process import Job, Made
from mediastore.settings import MIB, ImagesSettings
from tests.integration.service import until
from tests.pictures import (
    animation,
    decoded,
    encoded,
    gif_frames,
    heic,
    jpeg,
    photo,
    png_claiming,
)

REGISTRIES: dict[WorkerPool, CollectorRegistry] = {}


def make_pool(**changes: object) -> WorkerPool:
    registry = CollectorRegistry()
    chosen = ImagesSettings.model_validate(
        {"workers": 1, "worker_memory_bytes": 512 * MIB} | changes
    )
    pool = WorkerPool(chosen, SystemClock(), ImageMetrics(registry))
    REGISTRIES[pool] = registry
    return pool


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    made = make_pool()
    yield made
    await made.close()


def lost(pool: WorkerPool) -> float:
    return REGISTRIES[pool].get_sample_value("mediastore_image_workers_lost_total") or 0


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


async def make(
    pool: WorkerPool, data: bytes, transform: str = "fit-64x64", output: str = "jpg"
) -> Made:
    return await pool.make(Job(transform, output, len(data)), pieces(data))


async def assert_well(pool: WorkerPool) -> None:
    """It makes the next picture."""
    made = await make(pool, jpeg(100, 80))
    assert decoded(made.data).size == (64, 51)


async def test_one_worker_makes_one_picture_after_the_other(pool: WorkerPool) -> None:
    made = await make(pool, jpeg(), "fill-90x60", "webp")
    assert (made.width, made.height, made.frames) == (90, 60, 1)
    (pid,) = pool.pids
    await assert_well(pool)
    assert pool.pids == [pid]
    assert (await make(pool, animation(3), "fit-40x0", "gif")).frames == 3


async def test_a_worker_is_replaced_after_its_share_of_pictures() -> None:
    pool = make_pool(worker_jobs_max=2)
    await make(pool, jpeg())
    first = pool.pids
    await make(pool, jpeg())
    assert pool.pids == []
    await make(pool, jpeg())
    assert pool.pids != first
    await pool.close()


async def test_an_idle_worker_that_died_is_replaced(pool: WorkerPool) -> None:
    await assert_well(pool)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await assert_well(pool)
    assert lost(pool) == 0


async def test_a_worker_that_is_killed_over_a_picture_costs_that_picture(
    pool: WorkerPool,
) -> None:
    await assert_well(pool)
    (pid,) = pool.pids

    async def killing() -> AsyncGenerator[bytes, None]:
        data = jpeg()
        yield data[:1000]
        os.kill(pid, signal.SIGKILL)
        yield data[1000:]

    with pytest.raises(ImageTooCostly, match="signal 9"):
        await pool.make(Job("fit-64x64", "jpg", len(jpeg())), killing())
    assert lost(pool) == 1
    await assert_well(pool)


async def test_a_worker_that_hangs_is_killed() -> None:
    pool = make_pool(cpu_seconds=1, wall_seconds=1)
    await assert_well(pool)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ImageTooCostly, match="longer"):
        await make(pool, jpeg())
    assert not Path(f"/proc/{pid}").exists()
    assert lost(pool) == 1
    await pool.close()


async def test_a_picture_that_takes_too_much_processor_time() -> None:
    pool = make_pool(cpu_seconds=1, worker_memory_bytes=1536 * MIB)
    slow = encoded(Image.effect_noise((5000, 5000), 90), "PNG", compress_level=1)
    with pytest.raises(ImageTooCostly, match="processor time"):
        await make(pool, slow, "orig", "avif")
    await assert_well(pool)
    await pool.close()


async def test_a_picture_that_takes_too_much_memory() -> None:
    pool = make_pool(worker_memory_bytes=256 * MIB)
    large = encoded(Image.new("RGBA", (9000, 9000), (1, 2, 3, 4)), "PNG", compress_level=1)
    with pytest.raises(ImageTooCostly):
        await make(pool, large)
    await assert_well(pool)
    await pool.close()


@pytest.mark.parametrize("error", [LookupError, ConnectionResetError])
async def test_a_source_that_cannot_be_read_ends_its_worker_and_nothing_else(
    pool: WorkerPool, error: type[Exception]
) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield jpeg()[:100]
        raise error("the store is down")

    with pytest.raises(error):
        await pool.make(Job("orig", "jpg", len(jpeg())), broken())
    await assert_well(pool)


async def test_a_source_that_is_read_slowly_is_not_the_pictures_fault() -> None:
    pool = make_pool(cpu_seconds=1, wall_seconds=1)

    async def endless() -> AsyncGenerator[bytes, None]:
        yield jpeg()[:100]
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="not read in time"):
        await pool.make(Job("orig", "jpg", len(jpeg())), endless())
    await assert_well(pool)
    await pool.close()


async def test_closing_ends_every_process() -> None:
    pool = make_pool(workers=2)
    await asyncio.gather(make(pool, jpeg()), make(pool, jpeg()))
    pids = pool.pids
    assert len(pids) == 2
    await pool.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    with pytest.raises(ShuttingDown):
        await make(pool, jpeg())


async def test_a_worker_ends_with_its_service(pool: WorkerPool) -> None:
    """Whatever becomes of the service, the end of its pipe is the end of the worker."""
    await assert_well(pool)
    (worker,) = pool._idle
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert await asyncio.wait_for(worker._process.wait(), 20) == 0


async def test_a_worker_sees_nothing_of_the_services_environment(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIASTORE_CATALOG__DSN", "postgresql://secret")
    await assert_well(pool)
    (pid,) = pool.pids
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"secret" not in environment
    assert b"MEDIASTORE" not in environment
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"Max address space         {512 * MIB}" in limits


async def test_a_worker_decodes_heic(pool: WorkerPool) -> None:
    """Within its limits: its library was loaded before they were set."""
    made = await make(pool, heic(photo(4000, 3000)))
    assert decoded(made.data).size == (64, 48)
    assert lost(pool) == 0


# Hostile pictures


def zeros(count: int) -> bytes:
    """A PNG of so many lines of zeros, each of 30,000 pixels, in a few kilobytes."""
    return png_claiming(30_000, count, (bytes(90_001) for _ in range(count)))


def lying_jpeg() -> bytes:
    """Its header claims 65,500 x 65,500 pixels."""
    data = bytearray(jpeg(64, 64))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def text_bomb() -> bytes:
    """Metadata of a PNG that unpacks to 200 MB."""
    chunk = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(200 * MIB), 9)
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    whole = encoded(photo(32, 32), "PNG")
    return whole[:33] + packed + whole[33:]


HOSTILE: list[tuple[str, bytes, type[ImageRefused]]] = [
    ("nothing", b"", ImageRefused),
    ("text", b"hello, this is no picture", ImageRefused),
    ("truncated jpeg", jpeg()[:9000], ImageRefused),
    ("truncated png", encoded(photo(), "PNG")[:5000], ImageRefused),
    ("truncated webp", encoded(photo(), "WEBP")[:3000], ImageRefused),
    ("truncated gif", animation(3)[:9000], ImageRefused),
    ("truncated avif", encoded(photo(), "AVIF")[:3000], ImageRefused),
    ("truncated heic", heic(photo())[:3000], ImageRefused),
    ("no pixels", png_claiming(0, 0), ImageRefused),
    ("absurd size", png_claiming(2**31 - 1, 2**31 - 1), ImageTooLarge),
    ("many pixels", png_claiming(20_000, 20_000), ImageTooLarge),
    ("pixels that are not there", png_claiming(5000, 5000), ImageRefused),
    ("zeros", zeros(4000), ImageTooLarge),
    ("lying jpeg", lying_jpeg(), ImageTooLarge),
    ("metadata that unpacks", text_bomb(), ImageRefused),
    ("frames without end", gif_frames(100_000), ImageTooLarge),
    ("frames on a large screen", gif_frames(150, claimed=3000), ImageTooLarge),
    ("postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", ImageRefused),
    ("svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', ImageRefused),
    ("photoshop", b"8BPS\0\x01" + bytes(200), ImageRefused),
    ("icon", b"\0\0\x01\0\x01\0" + bytes(100), ImageRefused),
    ("fits", b"SIMPLE  =                    T" + bytes(3000), ImageRefused),
]  # fmt: skip


@pytest.mark.parametrize(("what", "data", "error"), HOSTILE, ids=[case[0] for case in HOSTILE])
async def test_hostile_pictures_are_refused_by_a_worker_that_lives_on(
    pool: WorkerPool, what: str, data: bytes, error: type[ImageRefused]
) -> None:
    await assert_well(pool)
    before = pool.pids
    with pytest.raises(ImageRefused) as refused:
        await make(pool, data, "fit-64x64", "gif" if "frames" in what else "jpg")
    assert type(refused.value) is error, refused.value.detail
    assert refused.value.status == 422
    await assert_well(pool)
    assert pool.pids == before
    assert lost(pool) == 0


async def test_a_polyglot_becomes_a_picture_and_nothing_else(pool: WorkerPool) -> None:
    """A JPEG that is a web page and a ZIP as well: what comes out has none of it."""
    page = b"<html><script>alert(1)</script></html>"
    exif_like = b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page
    source = jpeg()
    data = source[:2] + exif_like + source[2:] + b"PK\x03\x04" + page
    made = await make(pool, data)
    assert b"script" not in made.data
    assert b"PK\x03\x04" not in made.data


DAMAGED = [
    ("jpg", jpeg(200, 150)),
    ("png", encoded(photo(120, 90), "PNG")),
    ("webp", encoded(photo(200, 150), "WEBP")),
    ("gif", animation(3, size=(60, 40))),
    ("avif", encoded(photo(120, 90), "AVIF")),
    ("tiff", encoded(photo(60, 40), "TIFF", compression="tiff_lzw")),
    ("bmp", encoded(photo(60, 40), "BMP")),
    ("heic", heic(photo(120, 90))),
]


@pytest.mark.parametrize(("kind", "whole"), DAMAGED, ids=[case[0] for case in DAMAGED])
async def test_damaged_pictures_are_made_or_refused(
    pool: WorkerPool, kind: str, whole: bytes
) -> None:
    """Bytes overwritten, cut out and doubled at random, the same ones at every run."""
    chosen = random.Random(f"damage {kind}")
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chosen.randrange(1, 12)):
            at = chosen.randrange(len(data))
            match chosen.randrange(3):
                case 0:
                    data[at : at + chosen.randrange(1, 8)] = chosen.randbytes(chosen.randrange(8))
                case 1:
                    del data[at : at + chosen.randrange(1, 64)]
                case _:
                    data[at:at] = data[at : at + chosen.randrange(1, 64)]
            if not data:
                break
        output = chosen.choice(["jpg", "webp", "png", "gif"])
        try:
            made = await make(pool, bytes(data), "fit-64x64", output)
        except ImageRefused:
            continue
        assert max(Image.open(io.BytesIO(made.data)).size) <= 64
    await assert_well(pool)
