"""A restore of the database to an earlier moment, by the commands of docs/restoring.md (INV-6).

Inside the recovery window every object of the moment reads back identical; before it, reconcile
names exactly what is gone, and an upload of the same bytes heals it.
"""

from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from tests.acceptance.client import Unreachable, id_of
from tests.acceptance.conftest import short_folder
from tests.acceptance.content import content
from tests.acceptance.history import (
    HOUR,
    MARGIN,
    WINDOW,
    History,
    Restored,
    write_history,
)
from tests.acceptance.keys import row_keys
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact, hashes_of

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with short_folder() as folder:
        yield write_history(folder)


@pytest.mark.parametrize("name", ["edge", "middle", "recent"])
def test_every_object_of_a_moment_inside_the_window_reads_back(history: History, name: str) -> None:
    with history.restored(name) as world:
        assert_noticed(world)
        again = next(iter(world.moment.objects.values()))
        assert_readable(world, {world.client.made(again)["id"]: again})
        report = world.days.answer(world.commands.look)
        assert (report["missing"], report["hurt"]["objects"], report["applied"]) == (0, [], False)
        report = world.days.answer(world.commands.apply)
        assert (report["missing"], report["applied"]) == (0, True)
        assert_readable(world, world.moment.objects)
        world.days.answer(world.commands.collect_again)
        finish_upload(world)
        assert world.days.answer(world.commands.orphans)["doomed"] > 0, "uploads since the moment"
        world.days.move_to(history.ahead_seconds + WINDOW + MARGIN + HOUR)
        world.days.answer(world.commands.collect_again)
        world.days.answer(world.commands.collect_again)
        assert_readable(world, world.moment.objects)
        assert world.ask(row_keys) == world.keys(), "space has come back, and nothing else"
        world.ask(assert_references_exact)
        world.ask(assert_counts_exact)


def test_before_the_window_reconcile_names_exactly_what_is_gone(history: History) -> None:
    with history.restored("long ago") as world:
        objects = world.moment.objects
        keys = world.keys()
        read, uploaded, *_ = sorted(gone(world))
        assert len(gone(world)) < len(objects)
        assert_noticed(world)

        assert_gone(world, read)  # that marks it, and yet it is to be named
        made = world.client.made(objects[uploaded])["id"]  # no dedup hit, though a row says so
        assert_readable(world, {made: objects[uploaded], uploaded: objects[uploaded]})
        lost = gone(world)
        assert read in lost
        assert uploaded not in lost

        for command in (world.commands.look, world.commands.apply):
            report = world.days.answer(command, code=40)
            assert {item["id"] for item in report["hurt"]["objects"]} == set(lost)
            assert report["missing"] == len(set().union(*lost.values()))
        assert world.ask(marked) == set().union(*lost.values())
        for id_ in lost:
            assert_gone(world, id_)
        assert_readable(world, {id_: objects[id_] for id_ in objects if id_ not in lost})
        assert keys <= world.keys(), "nothing was deleted"

        for id_ in lost:
            assert_readable(world, {world.client.made(objects[id_])["id"]: objects[id_]})
        assert_readable(world, objects)
        assert world.days.answer(world.commands.look)["missing"] == 0
        world.days.answer(world.commands.collect_again)
        assert_readable(world, objects)
        world.ask(assert_references_exact)
        world.ask(assert_counts_exact)
        world.server.until(world.server.log, lambda log: "dedup_hits_trusted_again" in log)


def assert_noticed(world: Restored) -> None:
    """By the service and by a collector, though nobody has told them."""
    assert "dedup_hits_doubted" in world.server.log()
    before = world.keys()
    refused = world.days.run(world.commands.collect)
    assert (refused.returncode, refused.stdout) == (33, "")
    assert "database_restored" in refused.stderr
    assert "reconcile" in refused.stderr
    assert world.keys() == before


def assert_readable(world: Restored, objects: dict[str, bytes]) -> None:
    for id_, data in objects.items():
        assert world.client.content(id_) == data


def assert_gone(world: Restored, id_: str) -> None:
    """It says so, or breaks off where bytes are missing: never a complete-looking answer."""
    try:
        answer = world.client.get(f"/v1/objects/{id_}/content")
    except Unreachable as error:
        if "IncompleteRead" not in str(error):
            raise
    else:
        assert (answer.status, answer.code) == (500, "content_missing")


def finish_upload(world: Restored) -> None:
    """It goes on where it was at the moment."""
    upload, start = world.moment.upload, world.moment.acknowledged
    assert world.client.offset(upload) == start
    data = content(200_000, seed=99)
    assert world.client.patch(upload, start, data[start:]).offset == len(data)
    assert world.client.content(id_of(upload)) == data


def gone(world: Restored) -> dict[str, set[bytes]]:
    """Objects of which the store lacks chunks, and which: by plain SQL and a plain listing."""
    keys = world.keys()

    async def look(connection: "asyncpg.Connection[Any]") -> dict[str, set[bytes]]:
        rows = await connection.fetch("SELECT hash, generation FROM chunks")
        missing = {
            row["hash"]
            for row in rows
            if f"chunks/{row['hash'].hex()}/{row['generation']:016x}" not in keys
        }
        named = await connection.fetch(
            "SELECT o.id, m.entries FROM objects AS o JOIN manifests AS m USING (blob)"
        )
        found = {str(row["id"]): missing & set(hashes_of(row["entries"])) for row in named}
        return {id_: hashes for id_, hashes in found.items() if hashes}

    return world.ask(look)


async def marked(connection: "asyncpg.Connection[Any]") -> set[bytes]:
    rows = await connection.fetch("SELECT hash FROM chunks WHERE damaged_at IS NOT NULL")
    return {row["hash"] for row in rows}
