"""The commands that look whether everything is as it must be: thin, over one module each.

A report is printed whole, then the outcome becomes the exit code: 0 nothing was found, 40 something
was, 41 stopped before the end (SIGTERM or Ctrl-C let the page under way finish).
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import typer
from prometheus_client import CollectorRegistry

from mediastore.catalog.auditing import CopyName, HashRange, estimated_rows
from mediastore.catalog.collection import chunks_total
from mediastore.chunkstore.keys import parse_chunk_key
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import SystemClock
from mediastore.collector_errors import AuditFindings, AuditStopped
from mediastore.errors import BadRequest
from mediastore.settings import load_settings
from mediastore_gc import audit_rendering as lines_of
from mediastore_gc.audit_records import record_orphans, record_scrub, record_verify
from mediastore_gc.commands.command_line import (
    Config,
    Json,
    ShareMax,
    given_share,
    group,
    in_room,
    settings_of,
)
from mediastore_gc.commands.command_line import show as show_answer
from mediastore_gc.commands.progress_bar import shown
from mediastore_gc.doctor import Health, examine
from mediastore_gc.dooming import OrphanDoom
from mediastore_gc.inventory import Inventory
from mediastore_gc.listing import live_pages
from mediastore_gc.orphans import KeyMerge
from mediastore_gc.progress import Progress
from mediastore_gc.rendering import as_json as json_of
from mediastore_gc.room import Room
from mediastore_gc.scrub import Scrub, ScrubOrder
from mediastore_gc.verify import Verify

Prefix = Annotated[
    str, typer.Option(metavar="HEX", help="Only hashes that begin so: 256 runs of two digits.")
]
InventoryFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="An S3 Inventory's manifest.json instead of a listing."),
]


auditing = group()


@auditing.command("verify")
def verify_command(
    context: typer.Context,
    config: Config = None,
    prefix: Prefix = "",
    sample: Annotated[
        int, typer.Option(min=0, max=6, metavar="DIGITS", help="A random prefix of so many digits.")
    ] = 0,
    resume: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Go on where a stopped run said.")
    ] = None,
    inventory: InventoryFile = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what leaks and what is counted too low.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every invariant in the database and the store. Safe while the service runs.

    Changes nothing without --repair; deletes nothing ever. Exit codes: 0 all is well, 40 something
    was found that is not mended, 41 stopped before the end.
    """
    range_ = HashRange(token_hex(3)[:sample] if sample else prefix)

    async def work(room: Room) -> None:
        listed = _listed(room, range_, inventory)
        progress = Progress()
        verify = Verify(
            room.catalog,
            room.store,
            range_,
            repair=repair,
            stop=room.stop,
            progress=progress,
            listed=listed,
        )
        async with shown(progress, quiet=as_json):
            found = await verify.run(resume)
        await record_verify(room.catalog, found)
        show(found, lines_of.verified_lines(found, repaired=repair), as_json=as_json)
        if found.resume is not None:
            raise AuditStopped(f"stopped; go on with --resume {found.resume}")
        if found.findings.unmended:
            raise AuditFindings(f"{found.findings.unmended} things are not as they must be")

    in_room(settings_of(context, config), work)


@auditing.command("orphans")
def orphans_command(
    context: typer.Context,
    config: Config = None,
    prefix: Prefix = "",
    after: Annotated[str | None, typer.Option(metavar="KEY", help="Go on behind this key.")] = None,
    inventory: InventoryFile = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Doom them: they wait the window, then 'run' has them.")
    ] = False,
    delete_share_max: ShareMax = None,
    as_json: Json = False,
) -> None:
    """Find keys that no row names, and rows whose key is missing. A dry run unless --delete.

    Exit codes: 0 no row lacks its key, 40 some do, 41 stopped before the end.
    """
    settings = settings_of(context, config, **given_share(delete_share_max))
    range_ = HashRange(prefix)
    start = CopyName.before(range_) if after is None else _copy_of(after)

    async def work(room: Room) -> None:
        doom = OrphanDoom(room.catalog, room.store, settings.collection, SystemClock())
        rows = await estimated_rows(room.catalog, "chunks", "doomed", share=range_.share)
        progress = Progress("orphans", "keys", total=rows)
        merge = KeyMerge(
            room.catalog,
            room.store,
            range_,
            stop=room.stop,
            progress=progress,
            on_orphans=doom.doom if delete else None,
        )
        async with shown(progress, quiet=as_json):
            found = await merge.run(_listed(room, range_, inventory)(start), start)
        await record_orphans(room.catalog, found, doomed=doom.keys)
        report = {**json_of(found), "doomed": doom.keys, "doomed_bytes": doom.bytes}
        show(report, lines_of.orphans_lines(found, doom.keys, dry_run=not delete), as_json=as_json)
        if found.stopped_behind is not None:
            raise AuditStopped(f"stopped; go on with --after {found.stopped_behind.key}")
        if found.missing:
            raise AuditFindings(f"{found.missing} rows have no bytes; 'verify --repair' marks them")

    in_room(settings, work)


@auditing.command("scrub")
def scrub_command(
    context: typer.Context,
    config: Config = None,
    prefix: Prefix = "",
    rate: Annotated[
        int, typer.Option(min=0, metavar="BYTES", help="Read so much a second; 0: no limit.")
    ] = 0,
    sample: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Of all chunks, others each time.")
    ] = 1.0,
    since: Annotated[
        datetime | None, typer.Option(help="Only content of uploads begun since (UTC).")
    ] = None,
    after: Annotated[str, typer.Option(metavar="HASH", help="Go on behind this hash.")] = "",
    heal_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings whose chunk_store is a second copy."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report only: mark nothing, heal nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read chunks back and hash them; mark what is bad, name the objects it hurts.

    A marked chunk is healed by the next upload of its bytes, or from --heal-from. Exit codes:
    0 all is well or healed, 40 something is bad, 41 stopped before the end.
    """
    order = ScrubOrder(
        HashRange(prefix), sample, _utc(since), rate, HashRange(after).last if after else b""
    )

    async def work(room: Room) -> None:
        progress = Progress("scrub", "bytes", total=await _bytes_to_scrub(room, order))
        async with _second_store(heal_from) as second:
            scrub = Scrub(
                room.catalog,
                room.store,
                SystemClock(),
                second=second,
                mark=not dry_run,
                stop=room.stop,
                progress=progress,
            )
            async with shown(progress, quiet=as_json):
                found = await scrub.run(order)
        await record_scrub(room.catalog, found)
        show(found, lines_of.scrubbed_lines(found, dry_run=dry_run), as_json=as_json)
        if found.bad > len(found.healed):
            raise AuditFindings(f"{found.bad - len(found.healed)} chunks are bad")
        if found.resume is not None:
            option = "--since" if since else "--after"
            raise AuditStopped(f"stopped; go on with {option} {found.resume}")

    in_room(settings_of(context, config), work)


@auditing.command("doctor")
def doctor_command(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Check that clocks, delays, marker and bucket are as collection assumes. Changes nothing.

    Exit codes: 0 fit, with warnings maybe; 40 something is bad.
    """

    async def work(room: Room) -> None:
        found = await examine(room.catalog, room.store, room.settings, SystemClock())
        show(
            found,
            (f"{item.health.value:<8} {item.name}: {item.says}" for item in found),
            as_json=as_json,
        )
        bad = [item.name for item in found if item.health is Health.BAD]
        if bad:
            raise AuditFindings(f"not fit: {', '.join(bad)}")

    in_room(settings_of(context, config), work)


def show(found: object, lines: Iterable[str], *, as_json: bool) -> None:
    show_answer(json_of(found), lines, as_json=as_json)


def _listed(
    room: Room, range_: HashRange, inventory: Path | None
) -> Callable[[CopyName], AsyncIterator[Any]]:
    if inventory is None:
        return lambda after: live_pages(room.store, range_, after)
    read = Inventory(inventory, prefix=room.settings.chunk_store.prefix)
    return lambda after: read.pages(range_, after)


@asynccontextmanager
async def _second_store(config: Path | None) -> AsyncIterator[ChunkStore | None]:
    if config is None:
        yield None
        return
    settings = load_settings(config).chunk_store
    async with open_chunk_store(settings, SystemClock(), CollectorRegistry()) as store:
        yield store


def _copy_of(key: str) -> CopyName:
    try:
        return CopyName(*parse_chunk_key(key))
    except ValueError as error:
        raise BadRequest(f"--after is where a stopped run said: {error}") from error


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC)


async def _bytes_to_scrub(room: Room, order: ScrubOrder) -> int | None:
    """About how much there is to read; None: not known."""
    if order.since is not None:
        return None
    total = await chunks_total(room.catalog)
    return round(total.bytes * order.sample * order.range_.share) or None
