"""Keys without a row and rows without a key: found by merging, doomed, never deleted (INV-11)."""

import asyncio
import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from blake3 import blake3
from mediastore_gc import inventory_files
from mediastore_gc.dooming import OrphanDoom
from mediastore_gc.inventory import Inventory
from mediastore_gc.listing import live_pages
from mediastore_gc.orphans import KeyMerge, KeysFound, Orphans
from mediastore_gc.progress import Progress
from pyarrow import parquet

from mediastore.catalog.auditing import CopyName, HashRange
from mediastore.chunkstore.keys import chunk_key, new_generation, parse_chunk_key
from mediastore.chunkstore.protocol import Entry
from mediastore.collector_errors import CollectorPaused, CollectorRefused, DatabaseRestored
from mediastore.errors import BadRequest, InvariantBroken
from mediastore.settings import CollectionSettings
from tests.collection_world import World, leave_upload, noise
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_guards import incarnation, set_marker
from tests.integration.gc.test_stages import WINDOW, doom, run
from tests.recount_exact import assert_references_exact

EVERYTHING = HashRange()


async def merge(
    world: World,
    *,
    range_: HashRange = EVERYTHING,
    listed: AsyncIterator[list[Entry]] | None = None,
    stop: asyncio.Event | None = None,
    after: CopyName | None = None,
    doomer: OrphanDoom | None = None,
) -> KeysFound:
    after = after or CopyName.before(range_)
    found = KeyMerge(
        world.catalog,
        world.store,
        range_,
        stop=stop or asyncio.Event(),
        progress=Progress(),
        on_orphans=None if doomer is None else doomer.doom,
    )
    return await found.run(listed or live_pages(world.store, range_, after), after)


def doomer(world: World, **settings: object) -> OrphanDoom:
    return OrphanDoom(world.catalog, world.store, CollectionSettings(**settings), world.clock)


async def orphan(world: World, body: bytes) -> str:
    """A key that no row names."""
    key = chunk_key(blake3(body).digest(), new_generation())
    await world.store.put(key, body, crc32=zlib.crc32(body))
    return key


async def pages(*keys: Sequence[tuple[str, int]]) -> AsyncIterator[list[Entry]]:
    for page in keys:
        yield [Entry(*entry) for entry in page]


async def test_what_belongs_together_is_left_alone(world: World, collector: MakeCollector) -> None:
    await doom(world, collector, [noise("doomed")])
    await world.put([noise("a"), noise("b")])
    await leave_upload(world, [noise("c")])
    found = await merge(world)
    assert (found.keys, found.rows, found.stored_rows) == (4, 4, 2)
    assert (found.orphans, found.missing) == (0, 0)


async def test_a_row_that_is_not_stored_needs_no_key(world: World) -> None:
    await leave_upload(world, [noise("a")])
    await world.store.delete_many(sorted(await world.keys()))
    found = await merge(world)
    assert (found.rows, found.missing) == (1, 0)


async def test_orphans_and_missing_bytes_are_named(world: World) -> None:
    await world.put([noise(n) for n in range(20)])
    lost, cut = sorted(await world.keys())[3:5]
    await world.store.delete_many([lost])
    await world.store.put(cut, b"short", crc32=zlib.crc32(b"short"))
    extra = sorted([await orphan(world, noise(("orphan", n))) for n in range(5)])
    found = await merge(world)
    assert found.first_orphans == extra
    assert found.first_missing == [lost, cut]
    assert (found.orphan_bytes, found.missing_bytes) == (5 * 64, 2 * 64)


async def test_another_generation_of_a_live_hash_is_an_orphan(
    world: World, collector: MakeCollector
) -> None:
    body = noise("twice")
    await world.put([body])
    extra = await orphan(world, body)
    assert (await merge(world, doomer=doomer(world))).first_orphans == [extra]
    await world.clock.advance(WINDOW)
    assert (await run(collector())).deleted_keys == 1
    assert extra not in await world.keys()
    await world.assert_files_read_back()


async def test_an_orphan_is_doomed_and_waits_the_whole_window(
    world: World, collector: MakeCollector
) -> None:
    extra = await orphan(world, noise("orphan"))
    doomed = doomer(world)
    await merge(world, doomer=doomed)
    assert (doomed.keys, doomed.bytes) == (1, 64)
    assert await world.keys() == {extra}
    await merge(world, doomer=doomed)
    assert doomed.keys == 1, "what is doomed already is no orphan"
    await world.clock.advance(WINDOW - 1)
    assert (await run(collector())).deleted_keys == 0
    await world.clock.advance(1)
    assert (await run(collector())).deleted_keys == 1
    assert await world.keys() == set()
    await assert_references_exact(world.sql)


async def test_a_dry_run_dooms_nothing(world: World) -> None:
    await orphan(world, noise("orphan"))
    assert (await merge(world)).orphans == 1
    assert await world.count("doomed") == 0


async def test_a_key_that_is_deleted_between_listing_and_rows_is_no_orphan(
    world: World, collector: MakeCollector
) -> None:
    """The page is read, then a collector deletes one of its keys and forgets the row."""
    await doom(world, collector, [noise("a"), noise("b")])
    await world.clock.advance(WINDOW)

    async def listed() -> AsyncIterator[list[Entry]]:
        page = [entry async for page in world.store.list(prefix="chunks/") for entry in page]
        await run(collector())
        assert await world.keys() == set()
        yield page

    found = await merge(world, listed=listed())
    assert (found.keys, found.orphans) == (2, 0)


async def test_a_file_that_is_stored_behind_the_page_lacks_nothing(world: World) -> None:
    async def listed() -> AsyncIterator[list[Entry]]:
        await world.put([noise("late"), noise("later")])
        yield [Entry(chunk_key(b"\xff" * 32, 1), 1)]

    found = await merge(world, listed=listed())
    assert (found.rows, found.missing) == (2, 0)


async def test_an_orphan_that_has_a_row_by_now_is_left_alone(world: World) -> None:
    """What decides is looked at again under the lock, whatever the merge saw before."""
    await world.put([noise("a")])
    key = (await world.keys()).pop()
    judged: Orphans = [(CopyName(*parse_chunk_key(key)), 64)]
    await doomer(world).doom(judged, KeysFound())
    assert await world.count("doomed") == 0


async def test_a_listing_out_of_order_ends_it(world: World) -> None:
    keys = [await orphan(world, noise(n)) for n in range(3)]
    first, second, third = sorted(keys)
    doomed = doomer(world)
    with pytest.raises(InvariantBroken, match="not in order"):
        await merge(world, listed=pages([(first, 64)], [(third, 64), (second, 64)]), doomer=doomed)
    with pytest.raises(InvariantBroken, match="not in order"):
        await merge(world, listed=pages([(first, 64)], [(first, 64)]))


async def test_foreign_keys_are_counted_and_left_alone(world: World) -> None:
    keys = [
        "chunks/README",
        "chunks/ab/cd",
        chunk_key(b"\xaa" * 32, 5).upper().replace("CHUNKS", "chunks"),
        chunk_key(b"\xaa" * 32, 5) + "x",
    ]
    found = await merge(world, listed=pages([(key, 1) for key in sorted(keys)]))
    assert (found.foreign, found.keys, found.orphans) == (4, 0, 0)


async def test_it_stops_between_pages_and_goes_on_there(world: World) -> None:
    await world.put([noise(n) for n in range(30)])
    for n in range(6):
        await orphan(world, noise(("orphan", n)))
    keys = sorted(await world.keys())
    stop = asyncio.Event()

    async def listed() -> AsyncIterator[list[Entry]]:
        yield [Entry(key, 64) for key in keys[:17]]
        stop.set()
        yield [Entry(key, 64) for key in keys[17:20]]
        raise AssertionError("it was asked to stop")

    first = await merge(world, listed=listed(), stop=stop)
    assert first.stopped_behind is not None
    assert first.stopped_behind.key == keys[19]
    second = await merge(world, after=first.stopped_behind)
    assert first.orphans + second.orphans == 6
    assert first.rows + second.rows == 30
    assert (first.missing, second.missing) == (0, 0)


async def test_prefixes_share_the_work(world: World) -> None:
    await world.put([noise(n) for n in range(40)])
    for n in range(10):
        await orphan(world, noise(("orphan", n)))
    found = [await merge(world, range_=HashRange(f"{digit:x}")) for digit in range(16)]
    assert sum(one.keys for one in found) == 50
    assert sum(one.rows for one in found) == 40
    assert sum(one.orphans for one in found) == 10
    assert sum(one.missing for one in found) == 0


@pytest.mark.parametrize("prefix", ["A", "xy", "0" * 65])
def test_a_prefix_is_hex(prefix: str) -> None:
    with pytest.raises(BadRequest, match="lower-case hex"):
        HashRange(prefix)


async def test_too_many_orphans_are_not_doomed(world: World) -> None:
    """An empty or wrong database makes all of the store look like orphans."""
    for n in range(8):
        await orphan(world, noise(n))
    with pytest.raises(CollectorRefused, match="right database"):
        await merge(world, doomer=doomer(world, delete_share_floor_bytes=100))
    assert await world.count("doomed") == 0


async def test_a_restored_database_dooms_no_orphans(world: World) -> None:
    await orphan(world, noise("a"))
    await set_marker(world, await incarnation(world), 3)
    with pytest.raises(DatabaseRestored):
        await merge(world, doomer=doomer(world))
    assert await world.count("doomed") == 0


async def test_a_pause_dooms_no_orphans(world: World) -> None:
    await orphan(world, noise("a"))
    await world.catalog.execute("collector_pause", "hands off")
    with pytest.raises(CollectorPaused):
        await merge(world, doomer=doomer(world))
    assert await world.count("doomed") == 0


def inventory(
    folder: Path,
    rows: Sequence[Sequence[str]],
    *,
    schema: str = "Bucket, Key, Size",
    files: int = 3,
) -> Path:
    """As S3 delivers one: a manifest in a dated folder, data beside it, in no order."""
    dated = folder / "2030-01-01T00-00Z"
    dated.mkdir()
    (folder / "data").mkdir()
    listed = []
    for number in range(files):
        path = folder / "data" / f"part{number}.csv.gz"
        with gzip.open(path, "wt", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows[number::files])
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        listed.append({"key": f"inv/data/{path.name}", "size": 1, "MD5checksum": digest})
    manifest = dated / "manifest.json"
    manifest.write_text(json.dumps({"fileFormat": "CSV", "fileSchema": schema, "files": listed}))
    return manifest


PARQUET_SCHEMA = (
    "message s3.inventory { required binary bucket (STRING); required binary key (STRING); "
    "optional boolean is_latest; optional boolean is_delete_marker; optional int64 size; }"
)


def parquet_inventory(folder: Path, columns: dict[str, list[Any]], *, files: int = 3) -> Path:
    """As `inventory`, in Parquet: keys are not written as in URLs."""
    (folder / "data").mkdir()
    listed = []
    for number in range(files):
        path = folder / "data" / f"part{number}.parquet"
        part = {name: values[number::files] for name, values in columns.items()}
        parquet.write_table(pyarrow.table(part), path, row_group_size=7)
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        listed.append({"key": f"inv/data/{path.name}", "size": 1, "MD5checksum": digest})
    manifest = folder / "manifest.json"
    document = {"fileFormat": "Parquet", "fileSchema": PARQUET_SCHEMA, "files": listed}
    manifest.write_text(json.dumps(document))
    return manifest


async def rows_of(world: World, prefix: str = "") -> list[list[str]]:
    rows = [
        ["bucket", (prefix + entry.key).replace("/", "%2F"), str(entry.size)]
        async for page in world.store.list()
        for entry in page
    ]
    return rows[::-1]


async def test_an_inventory_instead_of_a_listing(world: World, tmp_path: Path) -> None:
    await world.put([noise(n) for n in range(40)])
    extra = sorted([await orphan(world, noise(("orphan", n))) for n in range(4)])
    rows = await rows_of(world, "a+b/")
    rows.append(["bucket", "a%2Bb/other", "3"])
    rows.append(["bucket", "elsewhere", "3"])
    rows = [[b, key.replace("+", "%2B"), size] for b, key, size in rows]
    read = Inventory(inventory(tmp_path, rows), prefix="a+b/")
    start = CopyName.before(EVERYTHING)
    found = await merge(world, listed=read.pages(EVERYTHING, start))
    assert (found.keys, found.first_orphans, found.missing) == (44, extra, 0)
    half = HashRange("8")
    part = await merge(world, range_=half, listed=read.pages(half, CopyName.before(half)))
    assert part.keys == sum(key.startswith("chunks/8") for key in await world.keys())
    at = CopyName(*parse_chunk_key(sorted(await world.keys())[20]))
    assert (await merge(world, listed=read.pages(EVERYTHING, at), after=at)).keys == 23


async def test_an_inventory_is_older_than_the_store(world: World, tmp_path: Path) -> None:
    """What was stored since lacks no key, and what was deleted since is no orphan."""
    gone = await orphan(world, noise("gone"))
    manifest = inventory(tmp_path, await rows_of(world))
    await world.store.delete_many([gone])
    await world.put([noise("new")])
    start = CopyName.before(EVERYTHING)
    found = await merge(world, listed=Inventory(manifest, prefix="").pages(EVERYTHING, start))
    assert (found.orphans, found.missing) == (0, 0)


async def test_old_versions_in_an_inventory_do_not_count(world: World, tmp_path: Path) -> None:
    key = chunk_key(b"\x01" * 32, 1)
    rows = [["b", key, "9", "false", "false"], ["b", key, "", "true", "true"]]
    schema = "Bucket, Key, Size, IsLatest, IsDeleteMarker"
    read = Inventory(inventory(tmp_path, rows, schema=schema), prefix="")
    start = CopyName.before(EVERYTHING)
    assert [page async for page in read.pages(EVERYTHING, start)] == []


async def test_an_inventory_that_is_not_whole_is_refused(world: World, tmp_path: Path) -> None:
    await world.put([noise("a")])
    manifest = inventory(tmp_path, await rows_of(world), files=2)
    part = tmp_path / "data" / "part1.csv.gz"
    part.write_bytes(part.read_bytes() + b"x")
    with pytest.raises(CollectorRefused, match="not the one it lists"):
        Inventory(manifest, prefix="")
    part.unlink()
    with pytest.raises(CollectorRefused, match="not there"):
        Inventory(manifest, prefix="")
    manifest.write_text('{"fileFormat": "ORC"}')
    with pytest.raises(CollectorRefused, match="ORC"):
        Inventory(manifest, prefix="")
    for nothing in ("[]", "{}", "", '{"fileFormat": "CSV", "fileSchema": "Key, Size"}'):
        manifest.write_text(nothing)
        with pytest.raises(BadRequest, match="no inventory"):
            Inventory(manifest, prefix="")
    for unreadable in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(BadRequest, match="cannot be read"):
            Inventory(unreadable, prefix="")


async def test_an_inventory_in_parquet(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_files, "BATCH_ROWS", 3)
    await world.put([noise(n) for n in range(40)])
    extra = sorted([await orphan(world, noise(("orphan", n))) for n in range(4)])
    sizes = {e.key: e.size async for page in world.store.list(prefix="chunks/") for e in page}
    old, marked = chunk_key(b"\x01" * 32, 1), chunk_key(b"\x01" * 32, 2)
    keys = [f"a+b%/{key}" for key in [*reversed(sizes), old, marked]] + ["a+b%/other"]
    columns: dict[str, list[Any]] = {
        "bucket": ["b"] * len(keys),
        "key": keys,
        "is_latest": [True] * len(sizes) + [False, True, True],
        "is_delete_marker": [False] * len(sizes) + [False, True, False],
        "size": [*reversed(sizes.values()), 9, None, 3],
        "last_modified_date": [datetime(2030, 1, 1, tzinfo=UTC)] * len(keys),
    }
    read = Inventory(parquet_inventory(tmp_path, columns), prefix="a+b%/")
    start = CopyName.before(EVERYTHING)
    found = await merge(world, listed=read.pages(EVERYTHING, start))
    assert (found.keys, found.first_orphans, found.missing) == (44, extra, 0)


async def test_parquet_of_current_versions_alone_has_fewer_columns(
    world: World, tmp_path: Path
) -> None:
    key = chunk_key(b"\x01" * 32, 1)
    columns: dict[str, list[Any]] = {"key": [key.encode(), b"x"], "size": [9, 1]}
    read = Inventory(parquet_inventory(tmp_path, columns, files=1), prefix="")
    pages = [page async for page in read.pages(EVERYTHING, CopyName.before(EVERYTHING))]
    assert pages == [[Entry(key, 9)]]


async def test_parquet_that_cannot_be_read_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = parquet_inventory(tmp_path, {"key": ["a"], "etag": ["b"]}, files=1)
    read = Inventory(manifest, prefix="")
    with pytest.raises(CollectorRefused, match="lacks the columns"):
        await anext(read.pages(EVERYTHING, CopyName.before(EVERYTHING)))
    part = tmp_path / "data" / "part0.parquet"
    part.write_bytes(b"PAR1nonsensePAR1")
    document = json.loads(manifest.read_text())
    document["files"][0]["MD5checksum"] = hashlib.md5(part.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(document))
    with pytest.raises(CollectorRefused, match="cannot be read"):
        await anext(Inventory(manifest, prefix="").pages(EVERYTHING, CopyName.before(EVERYTHING)))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CollectorRefused, match=r"mediastore\[parquet\]"):
        Inventory(manifest, prefix="")
