"""What docs/performance.md says of the catalog."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.catalog.filling import Room
from bench.catalog.traffic import ABANDONED_EVERY, SHARED_EVERY, Updates
from bench.report import machine, table

MB = 10**6
CHOSEN_FILLFACTOR = 100


@dataclass(frozen=True, slots=True)
class Wal:
    """An upload's WAL in bytes: small and new, small and known, large by chunk."""

    new: float
    known: float
    chunk: float


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was measured, with the numbers of photos and of uploads it was measured with."""

    blobs: int
    uploads: int
    room: Mapping[str, Sequence[Room]]
    wal: Mapping[str, Wal]
    updates: Mapping[int, Updates]


def section(figures: Figures) -> str:
    room_head = ["table", *(f"{name}: {part}" for name in figures.room for part in _PARTS)]
    command = f"python -m bench.catalog --blobs {figures.blobs} --uploads {figures.uploads}"
    parts = [
        "## Catalog",
        f"Made by `{command}` on {machine()}, Postgres 18 with its default settings.",
        _ROOM,
        table(room_head, _rooms(figures)),
        _WAL,
        table(_WAL_HEAD, [_wal(when, wal) for when, wal in figures.wal.items()]),
        _UPDATES.format(uploads=figures.uploads, blobs=figures.blobs),
        table(_UPDATES_HEAD, [_updates(*found) for found in figures.updates.items()]),
        _CHOICE,
    ]
    return "\n\n".join(parts)


_ROOM = (
    "Room in Postgres for each TB stored, in MB. Photos have 1 MB and one chunk each; files have "
    "about 1 GB in chunks of the mean size. Nothing is shared, so this is the most a TB takes; "
    "uploads under way and garbage come on top."
)
_WAL = (
    "WAL in bytes. A large upload writes batches of 4 chunks, two transactions each. Right after a "
    "checkpoint the first change of any page writes the whole page; in between an upload costs the "
    "first line and some part of the difference, the smaller the rarer checkpoints are."
)
_UPDATES = (
    "Updates of chunks by {uploads:,} large uploads on top of {blobs:,} photos: one chunk in "
    f"{SHARED_EVERY} is known already, one upload in {ABANDONED_EVERY} is given up and its "
    "references are released."
)
_PARTS = ("rows", "indexes")
_WAL_HEAD = ("", "small, new", "small, known blob", "large, a new chunk")
_UPDATES_HEAD = ("fillfactor of chunks", "updates", "HOT", "bytes a row")
_CHOICE = (
    f"The migrations leave it at {CHOSEN_FILLFACTOR}. Every row is written and soon updated, by "
    "its commit. Postgres prunes dead versions when it meets a page of which less than a tenth is "
    "free; with room kept free for updates, inserts have moved on to another page by then, and "
    "what is pruned stays empty until a vacuum. The updates that are not HOT are first references "
    "to rows of full pages."
)


def _rooms(figures: Figures) -> list[list[str]]:
    by_table = {
        room.table: [
            {one.table: one for one in rooms}[room.table] for rooms in figures.room.values()
        ]
        for room in next(iter(figures.room.values()))
    }
    rows = [
        [name, *(f"{size / MB:,.1f}" for room in found for size in _sizes(room))]
        for name, found in by_table.items()
    ]
    totals = [
        sum(_sizes(room)[part] for room in rooms) / MB
        for rooms in figures.room.values()
        for part in range(len(_PARTS))
    ]
    return [*rows, ["all", *(f"{total:,.1f}" for total in totals)]]


def _sizes(room: Room) -> tuple[float, float]:
    return room.rows_per_tb, room.indexes_per_tb


def _wal(when: str, wal: Wal) -> list[str]:
    return [when, f"{wal.new:,.0f}", f"{wal.known:,.0f}", f"{wal.chunk:,.0f}"]


def _updates(factor: int, found: Updates) -> list[str]:
    return [
        str(factor),
        f"{found.updated:,}",
        f"{100 * found.hot_share:.1f} %",
        f"{found.bytes_per_row:.0f}",
    ]
