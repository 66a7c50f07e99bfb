"""The directory driver when things go wrong: crashes, failing disks, folders that vanish."""

import asyncio
import errno
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mediastore.chunkstore.directory import DirectoryChunkStore, open_directory
from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import ConditionFailed, Entry
from mediastore.errors import ChunkStoreUnavailable, StorageFull
from tests.unit.chunkstore.fake_clock import START, FakeClock

KEY = chunk_key(b"\xab\xcd" + bytes(30), 1)
DOCUMENT = "_mediastore/collector"
BODY = b"some bytes"
CRC32 = zlib.crc32(BODY)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "made" / "on" / "demand"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[DirectoryChunkStore]:
    opened = await open_directory(root, FakeClock(), threads_max=4)
    yield opened
    await opened.close()


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def chunk_files(root: Path) -> list[str]:
    return [name for name in files(root) if not name.startswith(".")]


async def listed(store: DirectoryChunkStore) -> list[Entry]:
    return [entry async for page in store.list() for entry in page]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception | None], None]:
    """Make an `os` function fail from now on; None heals it."""
    originals = {name: getattr(os, name) for name in ("write", "fsync", "open", "replace")}

    def set_fault(name: str, error: Exception | None) -> None:
        def failing(*_arguments: object, **_options: object) -> object:
            assert error is not None
            raise error

        monkeypatch.setattr(os, name, originals[name] if error is None else failing)

    return set_fault


async def test_the_layout_is_two_levels_of_folders(store: DirectoryChunkStore, root: Path) -> None:
    await store.put(KEY, BODY, crc32=CRC32)
    await store.put_if(DOCUMENT, BODY, version=None)
    name = f"{KEY[7:71]}.{KEY[72:]}"
    assert chunk_files(root) == [f"chunks/ab/cd/{name}", "documents/collector"]
    assert (root / "chunks/ab/cd" / name).read_bytes() == BODY


async def test_a_put_is_on_disk_before_its_name_and_its_name_before_the_answer(
    store: DirectoryChunkStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of every folder whose names are new: in that order."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("file" if path.parent.name == "temporary" else str(path.relative_to(root)))
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> Path:
        result = rename(source, target)
        steps.append("rename")
        return result

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    await store.put(KEY, BODY, crc32=CRC32)
    assert steps[:2] == ["file", "rename"]
    assert sorted(steps[2:]) == ["chunks", "chunks/ab", "chunks/ab/cd"]
    steps.clear()
    await store.put(chunk_key(b"\xab\xcd" + bytes(30), 2), BODY, crc32=CRC32)
    assert steps == ["file", "rename", "chunks/ab/cd"]
    steps.clear()
    await store.put_if(DOCUMENT, BODY, version=None)
    assert steps == ["file", "rename", "documents"]
    steps.clear()
    await store.delete_many([KEY])
    assert steps == ["chunks/ab/cd"]


async def test_a_folder_another_process_made_is_made_durable_too(
    store: DirectoryChunkStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "chunks/ab/cd").mkdir(parents=True)
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    await store.put(KEY, BODY, crc32=CRC32)
    assert {str(root / "chunks/ab"), str(root / "chunks")} < set(synced)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
async def test_a_process_killed_at_any_step_leaves_the_old_file_or_the_new(
    root: Path, step: str
) -> None:
    """A child is killed in the middle of replacing a chunk and a document."""
    store = await open_directory(root, FakeClock(), threads_max=1)
    await store.put(KEY, BODY, crc32=CRC32)
    await store.put_if(DOCUMENT, BODY, version=None)
    for call in (
        f"put({KEY!r}, new, crc32=zlib.crc32(new))",
        f"put({DOCUMENT!r}, new, crc32=zlib.crc32(new))",
    ):
        child = f"""
import asyncio, os, pathlib, signal, zlib
from mediastore.chunkstore.directory import open_directory
from mediastore.clock import SystemClock
new = b"n" * 100_000
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def half(descriptor, body):
    written(descriptor, body[: len(body) // 2])
    die()
async def main():
    store = await open_directory(pathlib.Path({str(root)!r}), SystemClock(), threads_max=1)
    if {step!r} == "write":
        global written
        written, os.write = os.write, half
    elif {step!r} == "fsync":
        os.fsync = die
    else:
        pathlib.Path.replace = die
    await store.{call}
asyncio.run(main())
"""
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", child],
            cwd=Path(__file__).parents[3],
            check=False,
        )
        assert killed.returncode == -9
    assert await store.get(KEY) == BODY
    assert await store.get(DOCUMENT) == BODY
    assert await listed(store) == [Entry(DOCUMENT, 10), Entry(KEY, 10)]
    assert await store.put_if(
        DOCUMENT, b"new", version=(await store.get_versioned(DOCUMENT)).version
    )
    await store.close()


async def test_what_a_crash_left_is_swept_at_open_and_what_is_being_written_is_not(
    store: DirectoryChunkStore, root: Path
) -> None:
    await store.put(KEY, BODY, crc32=CRC32)
    old, new = root / "temporary" / "1-old", root / "temporary" / "2-new"
    for path, age_seconds in ((old, 3601), (new, 3599)):
        path.write_bytes(BODY)
        written = START.timestamp() - age_seconds
        os.utime(path, (written, written))
    again = await open_directory(root, FakeClock(), threads_max=1)
    assert not old.exists()
    assert new.exists()
    assert await again.get(KEY) == BODY
    await again.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, ChunkStoreUnavailable),
        (errno.EROFS, ChunkStoreUnavailable),
        (errno.EACCES, ChunkStoreUnavailable),
        (errno.EMFILE, ChunkStoreUnavailable),
        (errno.ESTALE, ChunkStoreUnavailable),
    ],
)
@pytest.mark.parametrize("step", ["write", "fsync"])
async def test_disk_errors(
    store: DirectoryChunkStore,
    root: Path,
    disk: Callable[[str, Exception | None], None],
    step: str,
    number: int,
    kind: type[Exception],
) -> None:
    disk(step, OSError(number, os.strerror(number), str(root)))
    for call in (
        store.put(KEY, BODY, crc32=CRC32),
        store.put_if(DOCUMENT, BODY, version=None),
        store.check(),
    ):
        with pytest.raises(kind) as raised:
            await call
        assert str(root) not in str(raised.value)
    assert chunk_files(root) == []  # no part and no temporary file
    disk(step, None)
    await store.put(KEY, BODY, crc32=CRC32)
    await store.put_if(DOCUMENT, BODY, version=None)
    await store.check()


async def test_a_disk_that_takes_little_at_a_time(
    store: DirectoryChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, body: write(descriptor, body[:3]))
    await store.put(KEY, BODY, crc32=CRC32)
    assert await store.get(KEY) == BODY


async def test_a_deletion_that_may_not_last_is_not_reported_as_done(
    store: DirectoryChunkStore, disk: Callable[[str, Exception | None], None]
) -> None:
    other = chunk_key(bytes(32), 1)
    await store.put(KEY, BODY, crc32=CRC32)
    disk("fsync", OSError(errno.EIO, "broken"))
    results = await store.delete_many([KEY, other])  # there never was a folder for the other
    assert [result.deleted for result in results] == [False, True]
    with pytest.raises(ChunkStoreUnavailable):
        await store.delete_many([KEY])
    disk("fsync", None)
    assert (await store.delete_many([KEY]))[0].deleted


async def gone(root: Path) -> Path:
    return await asyncio.to_thread(root.rename, root.with_name("away"))


@pytest.mark.parametrize("left_behind", ["nothing", "an empty folder", "empty subfolders"])
async def test_a_folder_that_vanishes_is_unavailable_and_never_empty(
    store: DirectoryChunkStore, root: Path, left_behind: str
) -> None:
    await store.put(KEY, BODY, crc32=CRC32)
    version = await store.put_if(DOCUMENT, BODY, version=None)
    away = await gone(root)
    if left_behind != "nothing":  # the mount point below a file system that went away
        root.mkdir()
    if left_behind == "empty subfolders":
        for name in ("chunks", "documents", "temporary"):
            (root / name).mkdir()
    missing = chunk_key(bytes(32), 1)
    for call in (
        lambda: store.get(KEY),
        lambda: store.get(missing),
        lambda: store.get_versioned(DOCUMENT),
        lambda: store.head(KEY),
        lambda: store.put(KEY, BODY, crc32=CRC32),
        lambda: store.put_if(DOCUMENT, BODY, version=None),
        lambda: store.put_if(DOCUMENT, BODY, version=version),
        lambda: store.delete_many([KEY]),
        lambda: listed(store),
        store.check,
    ):
        with pytest.raises(ChunkStoreUnavailable):
            await call()
    if left_behind != "nothing":
        assert files(root) == []
        for folder in root.iterdir():
            folder.rmdir()
        root.rmdir()
    away.rename(root)
    assert await store.get(KEY) == BODY
    await store.put_if(DOCUMENT, BODY, version=version)
    await store.put(missing, BODY, crc32=CRC32)
    assert [entry.key for entry in await listed(store)] == [DOCUMENT, missing, KEY]
    await store.check()


async def test_a_fan_out_folder_removed_by_hand_is_made_again(
    store: DirectoryChunkStore, root: Path
) -> None:
    await store.put(KEY, BODY, crc32=CRC32)
    await store.delete_many([KEY])
    (root / "chunks/ab/cd").rmdir()
    (root / "chunks/ab").rmdir()
    await store.put(KEY, BODY, crc32=CRC32)
    assert await store.get(KEY) == BODY


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ChunkStoreUnavailable):
        await open_directory(tmp_path / "file" / "chunks", FakeClock(), threads_max=1)


async def test_strangers_files_are_neither_listed_nor_touched(
    store: DirectoryChunkStore, root: Path
) -> None:
    await store.put(KEY, BODY, crc32=CRC32)
    strangers = [root / name for name in ("README", "chunks/lost+found", "chunks/ab/.nfs00001",
                                          "chunks/ab/cd/x.tmp", "documents/.hidden")]  # fmt: skip
    for stranger in strangers:
        stranger.write_bytes(b"")
    assert await listed(store) == [Entry(KEY, 10)]
    assert all(stranger.exists() for stranger in strangers)


async def test_chunks_deleted_while_a_page_is_read_are_left_out(
    store: DirectoryChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = chunk_key(b"\xab\xcd" + bytes(30), 2)
    for key in (KEY, other):
        await store.put(key, BODY, crc32=CRC32)
    stat = Path.stat

    def racing(path: Path, **options: bool) -> os.stat_result:
        if path.name.endswith(KEY[-16:]):
            path.unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", racing)
    assert await listed(store) == [Entry(other, 10)]


async def test_a_version_never_comes_back(store: DirectoryChunkStore) -> None:
    """ABA: the same body again is another version, also after a delete."""
    first = await store.put_if(DOCUMENT, b"A", version=None)
    second = await store.put_if(DOCUMENT, b"B", version=first)
    third = await store.put_if(DOCUMENT, b"A", version=second)
    await store.delete_many([DOCUMENT])
    fourth = await store.put_if(DOCUMENT, b"A", version=None)
    assert len({first, second, third, fourth}) == 4
    with pytest.raises(ConditionFailed):
        await store.put_if(DOCUMENT, b"C", version=first)


async def test_processes_count_together_without_losing_a_step(
    store: DirectoryChunkStore, root: Path
) -> None:
    """Each of three processes adds 20 to a number by conditional puts."""
    await store.put_if(DOCUMENT, b"0", version=None)
    child = f"""
import asyncio, pathlib
from mediastore.chunkstore.directory import open_directory
from mediastore.chunkstore.protocol import ConditionFailed
from mediastore.clock import SystemClock
async def main():
    store = await open_directory(pathlib.Path({str(root)!r}), SystemClock(), threads_max=2)
    done = 0
    while done < 20:
        seen = await store.get_versioned({DOCUMENT!r})
        try:
            await store.put_if({DOCUMENT!r}, b"%d" % (int(seen.body) + 1), version=seen.version)
            done += 1
        except ConditionFailed:
            pass
    await store.close()
asyncio.run(main())
"""
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", child, cwd=Path(__file__).parents[3]
        )
        for _ in range(3)
    ]
    assert [await child.wait() for child in children] == [0, 0, 0]
    assert await store.get(DOCUMENT) == b"60"


async def test_a_lock_that_is_never_given_back_makes_documents_unavailable(
    store: DirectoryChunkStore, root: Path
) -> None:
    import fcntl

    with (root / ".documents.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ChunkStoreUnavailable, match="locked"):
            await store.put_if(DOCUMENT, BODY, version=None)
        await store.put(KEY, BODY, crc32=CRC32)
    await store.put_if(DOCUMENT, BODY, version=None)


async def test_a_damaged_document_is_not_taken_for_one(
    store: DirectoryChunkStore, root: Path
) -> None:
    (root / "documents" / "collector").write_bytes(b"{}")
    with pytest.raises(ChunkStoreUnavailable):
        await store.get_versioned(DOCUMENT)
    with pytest.raises(ChunkStoreUnavailable):
        await store.put_if(DOCUMENT, BODY, version=None)
