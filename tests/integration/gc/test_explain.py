"""Explain names every reference there is, says why, and tells what happened when."""

from uuid import uuid4

import pytest
from blake3 import blake3
from mediastore_gc.explaining import Explainer, Explanation
from mediastore_gc.progress import Progress

from mediastore.catalog import explaining as facts
from mediastore.catalog.holds import add_hold
from mediastore.errors import NotFound
from mediastore.settings import CollectionSettings
from tests.collection_world import DAY, World, leave_upload, noise
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_stages import WINDOW, pass_delays, run


@pytest.fixture
def explainer(world: World) -> Explainer:
    return Explainer(world.catalog, CollectionSettings(), Progress())


def named(one: Explanation) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for reference in one.references:
        kinds.setdefault(reference.kind, {})[reference.id] = reference.times
    return kinds


async def test_a_chunk_and_everything_that_names_it(
    world: World, explainer: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PAGE_MANIFESTS", 2)
    shared = noise("shared")
    twice = await world.put([shared, noise("x"), shared])
    once = await world.put([noise("y"), shared])
    for n in range(5):
        await world.put([noise(n)])
    upload = await leave_upload(world, [shared])
    (chunk,) = await explainer.explain(blake3(shared).digest())
    assert named(chunk) == {
        "manifest": {twice.blob.hex(): 2, once.blob.hex(): 1},
        "upload": {str(upload): 1},
    }
    assert (chunk.kind, chunk.facts["refs"], chunk.facts["references_not_found"]) == ("chunk", 4, 0)
    assert "kept" in chunk.why


async def test_a_hash_across_two_entries_is_not_taken_for_a_reference(
    world: World, explainer: Explainer
) -> None:
    made = await world.put([noise("a"), noise("b")])
    entries = await world.sql.fetchval("SELECT entries FROM manifests")
    across = entries[20:52]
    async for page in facts.manifests_naming(world.catalog, across):
        assert page.naming == {}
    assert made.size == 128


async def test_the_life_of_an_object_in_full(
    world: World, collector: MakeCollector, explainer: Explainer
) -> None:
    made = await world.put([noise("a"), noise("b")])
    object_, blob = await explainer.explain(made.id)
    assert object_.why.startswith("live")
    assert named(blob) == {"object": {str(made.id): 1}}

    await world.trash(made)
    object_, _ = await explainer.explain(made.id)
    assert object_.why == "in the trash"
    assert object_.timeline[-1].expected

    await world.clock.advance(DAY)
    await run(collector())
    object_, blob = await explainer.explain(made.id)
    assert "purged" in object_.why
    assert "garbage" in blob.why

    await world.clock.advance(DAY)
    await run(collector())
    added = await add_hold(world.catalog, tenant=None, owner=None, object_=made.id, why="case 7")
    object_, blob = await explainer.explain(made.id)
    assert f"hold {added.hold} keeps it" in object_.why
    assert "case 7" in [reference.about for reference in blob.references]
    assert (blob.facts["doomed_keys"], blob.facts["doomed_bytes"]) == (2, 128)
    (chunk,) = await explainer.explain(blake3(noise("a")).digest())
    assert "doomed" in chunk.why
    assert [moment.expected for moment in chunk.timeline] == [False, True]
    words = [moment.what for moment in object_.timeline]
    assert words[:3] == ["created", "deleted: into the trash", "purged from the trash"]


async def test_what_has_gone_and_what_never_was(
    world: World, collector: MakeCollector, explainer: Explainer
) -> None:
    made = await world.put([noise("a")])
    await world.trash(made)
    await pass_delays(world, collector)
    for _ in range(2):
        await world.clock.advance(WINDOW)
        await run(collector())
    for target in (made.id, made.blob, uuid4()):
        with pytest.raises(NotFound):
            await explainer.explain(target)


async def test_an_upload_that_is_under_way(world: World, explainer: Explainer) -> None:
    upload = await leave_upload(world, [noise("a")])
    (told,) = await explainer.explain(upload)
    assert (told.kind, told.timeline[-1].expected) == ("upload", True)
