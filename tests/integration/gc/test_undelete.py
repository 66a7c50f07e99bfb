"""Deleted things come back while their bytes are there, under keys never doomed (INV-3)."""

import asyncio
import zlib
from uuid import UUID, uuid4

import pytest
from mediastore_gc.progress import Progress
from mediastore_gc.undeleting import BATCH_BYTES, WHY_HELD, Recoverable, Undeleter

from mediastore.catalog.dropping import terminate_upload
from mediastore.catalog.holds import add_hold
from mediastore.catalog.objects import Object
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.keys import chunk_key
from mediastore.collector_errors import BytesGone
from mediastore.errors import CatalogUnavailable, ChunkStoreUnavailable, Conflict, NotFound
from mediastore.settings import ChunkingSettings
from tests.collection_world import DAY, TENANT, World, noise
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import HOUR, WINDOW, pass_delays, run
from tests.recount_exact import assert_references_exact

CONTENT = [noise("a"), noise("b"), noise("a"), noise("c")]


@pytest.fixture
def undeleter(world: World) -> Undeleter:
    return Undeleter(world.catalog, world.store, ChunkingSettings(), Progress())


@pytest.fixture
async def removed(world: World, collector: MakeCollector) -> Object:
    """An object that was purged, its blob removed, its three keys doomed."""
    made = await world.put(CONTENT)
    await remove(world, collector, made)
    assert await world.count("doomed") == 3
    return made


async def remove(world: World, collector: MakeCollector, made: Object) -> None:
    await world.trash(made)
    await pass_delays(world, collector)


def faulty(world: World) -> FaultyStore:
    assert isinstance(world.store, FaultyStore)
    return world.store


async def bring_back(undeleter: Undeleter, made: Object, stage: str) -> Recoverable:
    (found,) = await undeleter.look(made.id)
    assert found.stage == stage
    await undeleter.bring_back(found)
    return found


async def bring_back_twice(
    undeleter: Undeleter, made: Object
) -> tuple["asyncio.Task[None]", "asyncio.Task[None]"]:
    """At once; the one that has ended, and the one that goes on."""
    (found,) = await undeleter.look(made.id)
    tasks = [asyncio.create_task(undeleter.bring_back(found)) for _ in range(2)]
    (ended,), (going_on,) = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return ended, going_on


async def assert_back(world: World, made: Object, content: list[bytes]) -> None:
    world.files[made.id] = b"".join(content)
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    row = await world.sql.fetchrow("SELECT * FROM objects WHERE id = $1", made.id)
    assert row is not None
    for name in ("tenant", "owner", "name", "content_type", "size", "created_at"):
        assert row[name] == getattr(made, name)
    assert row["deleted_at"] is None
    for table in ("purged_objects", "holds", "held_keys", "uploads", "upload_chunks"):
        assert await world.count(table) == 0


async def test_from_the_trash(world: World, undeleter: Undeleter) -> None:
    made = await world.put(CONTENT)
    await world.trash(made)
    await world.clock.advance(2 * DAY)  # its time is over, but no collector came by
    await bring_back(undeleter, made, "trash")
    await assert_back(world, made, CONTENT)


@pytest.mark.parametrize("by_hash", [False, True])
async def test_from_garbage(
    world: World, collector: MakeCollector, undeleter: Undeleter, by_hash: bool
) -> None:
    made = await world.put(CONTENT)
    await world.trash(made)
    await world.clock.advance(DAY)
    await run(collector())
    assert await world.count("garbage") == 1
    (found,) = await undeleter.look(made.blob if by_hash else made.id)
    await undeleter.bring_back(found)
    await assert_back(world, made, CONTENT)
    assert len(await world.keys()) == 3, "nothing was copied"


async def test_from_doomed_by_copying(
    world: World, collector: MakeCollector, undeleter: Undeleter, removed: Object
) -> None:
    old = await world.keys()
    found = await bring_back(undeleter, removed, "doomed")
    assert (found.to_copy, found.gone) == (3, 0)
    assert len(await world.keys() - old) == 3, "INV-3: every key is new"
    await assert_back(world, removed, CONTENT)
    await world.clock.advance(WINDOW)
    await run(collector())
    assert old.isdisjoint(await world.keys())
    await world.assert_files_read_back()


async def test_two_at_once(
    world: World, undeleter: Undeleter, removed: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One makes the copies; the other, who comes while it does, is told so, not "internal"."""
    both = asyncio.Barrier(2)

    async def both_have_looked(catalog: Catalog, tenant: str, id_: UUID) -> int | None:
        await both.wait()
        return None

    monkeypatch.setattr("mediastore_gc.undeleting.terminate_upload", both_have_looked)
    copying = Fault(gate=asyncio.Event())
    faulty(world).script("get", copying)
    second, first = await bring_back_twice(undeleter, removed)
    with pytest.raises(Conflict):
        await second
    assert copying.gate is not None
    copying.gate.set()
    await first
    await assert_back(world, removed, CONTENT)


async def test_two_at_once_and_the_first_is_done(
    world: World, undeleter: Undeleter, removed: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has looked before the other was done, and acts after it, is told that it is back."""
    both, first_is_done = asyncio.Barrier(2), asyncio.Event()
    looked: list[UUID] = []

    async def both_have_looked(catalog: Catalog, tenant: str, id_: UUID) -> int | None:
        looked.append(id_)
        if len(looked) > 2:  # what the second has copied for nothing
            return await terminate_upload(catalog, tenant, id_)
        is_second = len(looked) == 2
        await both.wait()
        if is_second:
            await first_is_done.wait()
        return None

    monkeypatch.setattr("mediastore_gc.undeleting.terminate_upload", both_have_looked)
    first, second = await bring_back_twice(undeleter, removed)
    await first
    first_is_done.set()
    await second
    await assert_back(world, removed, CONTENT)


async def test_what_is_in_use_again_is_not_copied(
    world: World, undeleter: Undeleter, removed: Object
) -> None:
    await world.put([noise("b"), noise("d")])
    found = await bring_back(undeleter, removed, "doomed")
    assert found.to_copy == 2
    await assert_back(world, removed, CONTENT)


async def test_an_empty_file(world: World, collector: MakeCollector, undeleter: Undeleter) -> None:
    made = await world.put([])
    await remove(world, collector, made)
    await bring_back(undeleter, made, "doomed")
    await assert_back(world, made, [])


async def test_by_several_batches(
    world: World, collector: MakeCollector, undeleter: Undeleter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediastore_gc.undeleting.BATCH_BYTES", 2 * 64)
    monkeypatch.setattr("mediastore.catalog.undeleting.PIECE_ENTRIES", 3)
    content = [noise(n % 9) for n in range(17)]
    made = await world.put(content)
    await remove(world, collector, made)
    await bring_back(undeleter, made, "doomed")
    await assert_back(world, made, content)
    assert BATCH_BYTES > 2 * 64


async def test_nothing_is_claimed_while_it_is_copied(
    world: World, collector: MakeCollector, undeleter: Undeleter, removed: Object
) -> None:
    """The window is over and a collector deletes others' keys between first look and first read."""
    await remove(world, collector, await world.put([noise("other")]))
    await world.clock.advance(WINDOW - 1)
    (found,) = await undeleter.look(removed.id)
    gate = Fault(gate=asyncio.Event())
    faulty(world).script("get", gate)
    copying = asyncio.create_task(undeleter.bring_back(found))
    await gate.reached.wait()
    await world.clock.advance(HOUR)
    await collector().recount()
    assert (await run(collector())).deleted_keys == 1
    assert gate.gate is not None
    gate.gate.set()
    await copying
    await assert_back(world, removed, CONTENT)


async def test_one_claimed_chunk_and_nothing_comes_back(
    world: World, collector: MakeCollector, undeleter: Undeleter, removed: Object
) -> None:
    await world.sql.execute(
        "UPDATE doomed SET claimed_at = catalog_clock()"
        " WHERE hash = (SELECT hash FROM doomed ORDER BY hash LIMIT 1)"
    )
    (found,) = await undeleter.look(removed.id)
    assert (found.to_copy, found.gone) == (2, 1)
    with pytest.raises(BytesGone):
        await undeleter.bring_back(found)
    assert await world.count("holds") == 0
    assert await world.count("purged_objects") == 1
    await assert_references_exact(world.sql)


async def test_a_copy_that_does_not_verify_is_never_used(
    world: World, undeleter: Undeleter, removed: Object
) -> None:
    row = await world.sql.fetchrow("SELECT hash, generation FROM doomed ORDER BY hash LIMIT 1")
    assert row is not None
    await world.store.put(
        chunk_key(row["hash"], row["generation"]), b"rot", crc32=zlib.crc32(b"rot")
    )
    (found,) = await undeleter.look(removed.id)
    with pytest.raises(BytesGone, match=row["hash"].hex()):
        await undeleter.bring_back(found)
    assert await world.count("objects") == 0
    assert await world.count("uploads") == 0
    assert await world.count("holds") == 0


async def test_an_attempt_that_broke_off_can_be_repeated(
    world: World, undeleter: Undeleter, removed: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediastore_gc.undeleting.BATCH_BYTES", 64)
    (found,) = await undeleter.look(removed.id)
    faulty(world).script("put", None, None, Fault(before=ChunkStoreUnavailable("down")))
    with pytest.raises(ChunkStoreUnavailable):
        await undeleter.bring_back(found)
    # As a process that died leaves it: a hold, and an upload of the object's own id.
    await add_hold(world.catalog, tenant=None, owner=None, object_=removed.id, why=WHY_HELD)
    await bring_back(undeleter, removed, "doomed")
    world.files[removed.id] = b"".join(CONTENT)
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    assert await world.count("holds") == 0


async def test_several_objects_of_one_blob(
    world: World, collector: MakeCollector, undeleter: Undeleter
) -> None:
    made = [await world.put(CONTENT) for _ in range(3)]
    for each in made:
        await world.trash(each)
    await pass_delays(world, collector)
    found = await undeleter.look(made[0].blob)
    assert {each.id for each in found} == {each.id for each in made}
    for one in found:
        await undeleter.bring_back(one)
    for each in made:
        world.files[each.id] = b"".join(CONTENT)
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    assert await world.sql.fetchval("SELECT refs FROM blobs") == 3


async def test_what_is_live_unknown_or_gone(
    world: World, collector: MakeCollector, undeleter: Undeleter, removed: Object
) -> None:
    live = await world.put([noise("live")])
    with pytest.raises(Conflict):
        await undeleter.look(live.id)
    for target in (uuid4(), live.blob):
        with pytest.raises(NotFound):
            await undeleter.look(target)
    for _ in range(2):
        await world.clock.advance(WINDOW)
        await run(collector())
    with pytest.raises(NotFound):
        await undeleter.look(removed.id)
    assert live.tenant == TENANT


async def test_an_object_that_is_still_remembered_goes_the_same_way_again(
    world: World,
    collector: MakeCollector,
    undeleter: Undeleter,
    removed: Object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its undelete lost the database behind the copy: so it is live, and remembered as purged."""

    async def lost(_catalog: object, _id: object) -> None:
        raise CatalogUnavailable

    monkeypatch.setattr("mediastore_gc.undeleting.purged_objects.forget_purged", lost)
    await bring_back(undeleter, removed, "doomed")
    monkeypatch.undo()
    assert await world.count("purged_objects") == 1
    world.files[removed.id] = b"".join(CONTENT)
    await remove(world, collector, removed)
    assert await world.count("objects") == 0
    await bring_back(undeleter, removed, "doomed")
    world.files[removed.id] = b"".join(CONTENT)
    await world.assert_files_read_back()
    await assert_references_exact(world.sql)
    assert await world.count("purged_objects") == 0
