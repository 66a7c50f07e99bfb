"""One look of the collector in a process of its own: `python -m bench.gc.looking CONFIG < job >
result`. The product's own code, as its verbs call it.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mediastore_gc.inventory import Inventory
from mediastore_gc.orphans import KeyMerge
from mediastore_gc.room import Room, open_room
from mediastore_gc.safety import CollectionDelays
from mediastore_gc.status import gather_status
from mediastore_gc.verify import Verify

from bench.gc.apart import run_apart
from bench.gc.collecting import StageTimes
from mediastore.allocator import bound_arenas
from mediastore.catalog.auditing import CopyName, HashRange
from mediastore.settings import load_settings

STATUS, RECOUNT, VERIFY, ORPHANS = "status", "recount", "verify", "orphans"
SECONDS_MAX = 3600
FOUND_NOTHING = "a look at a sound catalog found something wrong"


@dataclass(frozen=True, slots=True)
class Job:
    """What to look at; `inventory` is the manifest of the store's keys."""

    verb: str
    inventory: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds by step, how much was read in each, and the most memory that the process has had."""

    seconds: dict[str, float]
    rows: dict[str, int]
    memory_bytes: int


async def look(config: Path, job: Job) -> Seen:
    times = StageTimes()
    async with open_room(load_settings(config)) as room:
        rows = await VERBS[job.verb](room, Path(job.inventory), times)
        seconds = times.seconds()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Seen(seconds, rows, memory)


async def _status(room: Room, _inventory: Path, times: StageTimes) -> dict[str, int]:
    times.begin(STATUS, "")
    status = await gather_status(room.catalog, room.store, room.settings.collection)
    return {STATUS: status.live.count}


async def _recount(room: Room, _inventory: Path, times: StageTimes) -> dict[str, int]:
    delays = CollectionDelays.from_settings(room.settings.collection, unsafe=True)
    report = await room.collector(delays, progress=times).recount()
    if report is None:
        raise SystemExit("the recount was stopped")
    return {"recounting": report.references_read}


async def _verify(room: Room, inventory: Path, times: StageTimes) -> dict[str, int]:
    listing = Inventory(inventory, prefix="")
    verify = Verify(
        room.catalog,
        room.store,
        HashRange(),
        repair=False,
        stop=room.stop,
        progress=times,
        listed=lambda after: listing.pages(HashRange(), after),
    )
    report = await verify.run()
    if report.findings.unmended:
        raise SystemExit(FOUND_NOTHING)
    return {
        "references": report.chunks + report.references,
        "blobs": report.blobs,
        "uploads": report.uploads,
        "keys": report.keys,
    }


async def _orphans(room: Room, inventory: Path, times: StageTimes) -> dict[str, int]:
    times.begin(ORPHANS, "")
    listing, everything = Inventory(inventory, prefix=""), HashRange()
    merge = KeyMerge(room.catalog, room.store, everything, stop=room.stop, progress=times)
    found = await merge.run(listing.pages(everything, CopyName.before(everything)))
    if found.orphans or found.missing:
        raise SystemExit(FOUND_NOTHING)
    return {ORPHANS: found.keys}


Look = Callable[[Room, Path, StageTimes], Awaitable[dict[str, int]]]
VERBS: dict[str, Look] = {
    STATUS: _status,
    RECOUNT: _recount,
    VERIFY: _verify,
    ORPHANS: _orphans,
}


async def seen(config: Path, job: Job) -> Seen:
    """The same, in a process of its own."""
    return Seen(**await run_apart("bench.gc.looking", job, str(config), seconds_max=SECONDS_MAX))


if __name__ == "__main__":
    bound_arenas()
    print(json.dumps(asdict(asyncio.run(look(Path(sys.argv[1]), Job(**json.load(sys.stdin)))))))
