"""Nothing held is removed from the trash or any later stage; a hold let go gives it back."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from mediastore_gc.plan import DUE_STAGES
from mediastore_gc.status import gather_status

from mediastore.catalog.holds import AddedHold, add_hold, list_holds, remove_hold
from mediastore.catalog.objects import Object, change_object
from mediastore.errors import NotFound
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, TENANT, World, noise
from tests.faults import Fault, FaultyStore
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, run
from tests.recount_exact import assert_references_exact

YEAR = 365 * DAY


async def hold(world: World, made: Object, kind: str) -> AddedHold:
    names: dict[str, Any] = {"tenant": None, "owner": None, "object_": None}
    if kind == "object":
        names["object_"] = made.id
    else:
        names["tenant"] = made.tenant
        names["owner"] = made.owner if kind == "owner" else None
    return await add_hold(world.catalog, **names, why="case 7")


async def collect(world: World, collector: MakeCollector, seconds: float) -> None:
    """Time passes, and collectors run until there is nothing left to do."""
    await world.clock.advance(seconds)
    while (await run(collector())).did_something:
        pass


@pytest.mark.parametrize("kind", ["object", "owner", "tenant"])
@pytest.mark.parametrize("stage", ["live", "trash", "garbage", "doomed"])
async def test_what_is_held_stays_where_it_is_until_it_is_let_go(
    world: World, collector: MakeCollector, kind: str, stage: str
) -> None:
    made = await world.put([noise("held"), noise("too")])
    other = await world.put([noise("other")])
    assert await change_object(world.catalog, TENANT, other.id, owner="another") is not None
    added: AddedHold | None = None
    if stage == "live":
        added = await hold(world, made, kind)
    await world.trash(made)
    if stage != "live":
        for at in ("trash", "garbage", "doomed"):
            if at == stage:
                break
            await collect(world, collector, DAY)
    if added is None:
        added = await hold(world, made, kind)
    assert added.keys == (2 if stage == "doomed" else 0)
    if kind != "tenant":
        await world.trash(other)
    for _ in range(4):
        await collect(world, collector, YEAR / 4)
    assert len(await world.keys()) == (3 if kind == "tenant" else 2)
    plan = await collector().plan()
    assert plan.is_empty, "what is held is not due"
    status = await gather_status(world.catalog, world.store, CollectionSettings())
    due = [name for name, amount in status.stages.items() if name in DUE_STAGES and amount.count]
    assert (due, dict(status.overdue)) == ([], {}), "nor does status say so"
    assert sum(back.bytes for back in status.coming_back) == 0
    for name, amount in status.stages.items():
        if name.endswith("_held"):
            exact = plan.stages[name]
            assert (amount.count, amount.bytes) == (exact.count, exact.bytes), name
    await assert_references_exact(world.sql)

    await remove_hold(world.catalog, added.hold)
    for _ in range(3):
        await collect(world, collector, WINDOW)
    assert len(await world.keys()) == (1 if kind == "tenant" else 0)
    assert await world.count("purged_objects") == 0
    assert await world.count("tombstones") == 0
    assert await world.count("held_keys") == 0
    await world.assert_files_read_back()


async def test_a_hold_waits_for_the_batch_under_way_and_sees_all_of_it(
    world: World, collector: MakeCollector, dsn: str
) -> None:
    """A removal whose transaction is open: the hold is added behind it, and finds what it left."""
    made = await world.put([noise("a")])
    await world.trash(made)
    await collect(world, collector, DAY)
    await world.clock.advance(DAY)
    async with world.catalog.connection() as connection:
        async with connection.transaction():
            statement = world.catalog.statement("garbage_remove")
            assert (await connection.fetchrow(statement, 10, DAY))["blobs"] == 1
            adding = asyncio.create_task(hold(world, made, "owner"))
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not await world.sql.fetchval(waits):  # noqa: ASYNC110  (another session)
                await asyncio.sleep(0.01)
    assert (await adding).keys == 1
    for _ in range(3):
        await collect(world, collector, YEAR)
    assert len(await world.keys()) == 1


async def test_a_hold_that_comes_behind_the_claim_says_so(
    world: World, collector: MakeCollector
) -> None:
    made = await world.put([noise("a")])
    await world.trash(made)
    for _ in range(2):
        await collect(world, collector, DAY)
    await world.clock.advance(WINDOW)
    assert isinstance(world.store, FaultyStore)
    gate = Fault(gate=asyncio.Event())
    world.store.script("delete_many", gate)
    running = asyncio.create_task(run(collector()))
    await gate.reached.wait()
    added = await hold(world, made, "object")
    assert (added.keys, added.claimed) == (1, 1)
    assert gate.gate is not None
    gate.gate.set()
    await running


async def test_a_hold_on_what_is_not_known_is_refused(world: World) -> None:
    unknown: list[dict[str, Any]] = [
        {"tenant": "nobody", "owner": None, "object_": None},
        {"tenant": None, "owner": None, "object_": uuid4()},
    ]
    for names in unknown:
        with pytest.raises(NotFound):
            await add_hold(world.catalog, **names, why="")
    with pytest.raises(NotFound):
        await remove_hold(world.catalog, 1)
    assert await list_holds(world.catalog) == []
