"""A folder of chunks: nothing unverified leaves it, and it never takes more than its limit."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediastore.delivery import disk_folder
from mediastore.delivery.disk_folder import (
    ABANDONED_SECONDS,
    BLOCK_BYTES,
    LOW_SHARE,
    USED_SECONDS,
    DamagedFile,
    DiskFolder,
    cost_of,
)

LIMIT = 20 * BLOCK_BYTES
DAY = 86_400.0
MakeFolder = Callable[..., DiskFolder]


class Watch:
    """A clock that a test sets; it begins now, as files have times of the system."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.passed)

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def make(tmp_path: Path, watch: Watch) -> MakeFolder:
    def maker(**given: float) -> DiskFolder:
        return DiskFolder(
            tmp_path / "cache",
            limit_bytes=int(given.get("limit_bytes", LIMIT)),
            seconds_max=given.get("seconds_max", DAY),
            clock=watch,
        )

    return maker


def chunk(number: int, size: int = 1000) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def named(data: bytes) -> bytes:
    return blake3(data).digest()


def keep(folder: DiskFolder, data: bytes) -> bool:
    return folder.write(named(data), data)


def has(folder: DiskFolder, data: bytes) -> bool:
    found = folder.read(named(data), len(data))
    assert found in (None, data)
    return found is not None


def files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file() and file.name != "held"]


def taken(path: Path) -> int:
    return sum(cost_of(file.stat().st_size) for file in files(path))


def test_what_is_kept_is_there_after_a_restart(make: MakeFolder, tmp_path: Path) -> None:
    folder = make()
    assert not has(folder, chunk(1))
    assert keep(folder, chunk(1))
    assert not keep(folder, chunk(1))
    folder.close()
    again = make()
    assert has(again, chunk(1))
    assert again.sweep() == cost_of(1000) == taken(tmp_path)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files(tmp_path))


@pytest.mark.parametrize("how", ["changed", "shorter", "longer", "empty"])
def test_a_file_that_is_not_what_its_name_says_goes(
    make: MakeFolder, tmp_path: Path, how: str
) -> None:
    folder = make()
    keep(folder, chunk(1))
    (file,) = files(tmp_path)
    content = file.read_bytes()
    file.write_bytes(
        {
            "changed": b"x" + content[1:],
            "shorter": content[:-1],
            "longer": content + b"x",
            "empty": b"",
        }[how]
    )
    with pytest.raises(DamagedFile):
        folder.read(named(content), len(content))
    assert not has(folder, chunk(1))
    assert files(tmp_path) == []
    assert keep(folder, chunk(1))
    assert has(folder, chunk(1))


def test_another_size_than_the_catalog_says_is_damage_as_well(make: MakeFolder) -> None:
    folder = make()
    keep(folder, chunk(1))
    with pytest.raises(DamagedFile):
        folder.read(named(chunk(1)), 999)


def test_what_was_used_longest_ago_goes_first(make: MakeFolder, watch: Watch) -> None:
    folder = make()
    for number in range(20):
        watch.passed += USED_SECONDS + 1
        keep(folder, chunk(number))
    watch.passed += USED_SECONDS + 1
    assert has(folder, chunk(0))
    keep(folder, chunk(20))
    assert has(folder, chunk(0))
    assert not has(folder, chunk(1))
    assert has(folder, chunk(20))


def test_what_is_too_old_goes_however_much_it_is_used(make: MakeFolder, watch: Watch) -> None:
    folder = make()
    keep(folder, chunk(1))
    watch.passed += DAY - 1
    assert has(folder, chunk(1))
    keep(folder, chunk(2))
    watch.passed += 2
    assert folder.sweep() == cost_of(1000)
    assert not has(folder, chunk(1))
    assert has(folder, chunk(2))


def test_a_chunk_that_would_take_all_of_it_is_not_kept(make: MakeFolder, tmp_path: Path) -> None:
    folder = make()
    assert not keep(folder, chunk(1, int(LIMIT * LOW_SHARE) + 4))
    assert files(tmp_path) == []


def test_a_smaller_limit_holds_from_the_next_sweep_on(make: MakeFolder, tmp_path: Path) -> None:
    folder = make()
    for number in range(20):
        keep(folder, chunk(number))
    folder.close()
    assert make(limit_bytes=LIMIT / 2).sweep() <= LIMIT / 2
    assert taken(tmp_path) <= LIMIT / 2


def test_files_of_others_are_let_alone(make: MakeFolder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = make()
    keep(folder, chunk(1))
    others = [cache / "chunks" / "notes.txt", cache / "chunks" / "ab" / "x", cache / "new" / "y"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
    make(limit_bytes=BLOCK_BYTES, seconds_max=0).sweep()
    assert all(other.read_text() == "mine" for other in others)


def test_what_was_being_written_when_a_process_died_is_counted_and_then_goes(
    make: MakeFolder, tmp_path: Path, watch: Watch
) -> None:
    folder = make()
    left = tmp_path / "cache" / "new" / f"{'0' * 16}-{5 * BLOCK_BYTES}"
    left.write_bytes(b"half")
    assert folder.sweep() == 5 * BLOCK_BYTES
    watch.passed += ABANDONED_SECONDS + 5
    assert folder.sweep() == 0
    assert not left.exists()


def test_a_write_that_fails_leaves_nothing(
    make: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make()

    def full(_descriptor: int, _data: bytes) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(disk_folder, "_write", full)
    with pytest.raises(OSError, match="no space left"):
        keep(folder, chunk(1))
    monkeypatch.undo()
    assert files(tmp_path) == []
    with folder._locked() as held:
        assert held.total == 0


def test_a_count_that_was_lost_is_made_anew(make: MakeFolder, tmp_path: Path) -> None:
    folder = make()
    keep(folder, chunk(1))
    os.truncate(tmp_path / "cache" / "held", 3)
    assert folder.sweep() == cost_of(1000)
    with folder._locked() as held:
        assert held.total == cost_of(1000)


def test_many_writers_never_take_more_than_the_limit(make: MakeFolder, tmp_path: Path) -> None:
    """Two folders are two processes; threads write to both, and read."""
    folders = [make(), make()]
    most: list[int] = []
    wrong: list[Exception] = []

    def work(seed: int) -> None:
        try:
            for number in range(60):
                data = chunk(seed * 1000 + number % 17, 4 * (1 + number % 5) * 1000)
                keep(folders[number % 2], data)
                has(folders[(number + 1) % 2], data)
                with folders[0]._locked() as held:
                    most.append(held.total)
        except (OSError, AssertionError, DamagedFile) as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(most) <= LIMIT
    with folders[0]._locked() as held:
        assert taken(tmp_path) == held.total
    assert folders[1].sweep() == taken(tmp_path) <= LIMIT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["keep", "read", "damage", "sweep", "wait"]),
            st.integers(0, 9),
            st.integers(1, 40_000),
        ),
        max_size=40,
    )
)
def test_whatever_happens_it_keeps_count_and_gives_out_nothing_wrong(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path, watch = tmp_path_factory.mktemp("cache"), Watch()
    folder = DiskFolder(path, limit_bytes=LIMIT, seconds_max=DAY, clock=watch)
    known: dict[int, bytes] = {}
    for step, number, size in steps:
        data = known.setdefault(number, os.urandom(size))
        if step == "keep":
            keep(folder, data)
        elif step == "read":
            try:
                has(folder, data)
            except DamagedFile:
                assert not has(folder, data)
        elif step == "damage" and (path / "chunks").exists():
            for file in files(path)[:1]:
                file.write_bytes(file.read_bytes()[::-1])
        elif step == "sweep":
            folder.sweep()
        else:
            watch.passed += size
        with folder._locked() as held:
            assert held.total == taken(path) <= LIMIT
    folder.close()
