"""What docs/performance.md says of uploads: the tables, and what was to be reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import machine, table
from bench.uploads.measure import Cell, Load
from mediastore.settings import KIB, MIB

OURS, THEIRS = "mediastore", "tusd"
_HEAD = (
    "size, connections",
    "mediastore uploads/s",
    "tusd uploads/s",
    "ratio",
    "to reach",
    "mediastore CPU ms",
    "its Postgres CPU ms",
    "tusd CPU ms",
)
_AGAIN_HEAD = (
    "size, connections",
    "first time, uploads/s",
    "again, uploads/s",
    "ratio",
    "to reach",
)
_CONDITIONS = (
    "tusd 2.9.1 with its s3store (no hooks, no downloads, no hashing of bodies, 8 MiB parts) and "
    "one mediastore process (default settings, no access log) with a durable Postgres 18; each has "
    "a bucket of its own of one MinIO, everything on the same machine and disk. The same client, a "
    "process of its own, sends bytes never seen before over keep-alive connections; the servers "
    "take turns, and the medians of {count} rounds are shown. CPU is user and system time for each "
    "upload of the process, Postgres's of all of its processes."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """All cells at one distance from the store."""

    latency_ms: int
    cells: Sequence[Cell]
    again: Sequence[Cell]


def section(measured: Sequence[Measured], count: int) -> str:
    parts = [
        "## Uploads",
        f"Made by `python -m bench.uploads --rounds {count}` on {machine()}. "
        + _CONDITIONS.format(count=count),
    ]
    ways = {1: "one request (creation with upload)", 2: "two requests (POST, then PATCH)"}
    for found in measured:
        where = f"{found.latency_ms} ms added to every S3 answer" if found.latency_ms else "S3 near"
        for requests, way in ways.items():
            rows = _rows(found, requests)
            parts += [f"{where[0].upper()}{where[1:]}, an upload in {way}:", table(_HEAD, rows)]
        parts += [
            f"{where[0].upper()}{where[1:]}, the same bytes uploaded to mediastore twice:",
            table(_AGAIN_HEAD, _again_rows(found)),
        ]
    return "\n\n".join(parts)


def _rows(found: Measured, requests: int) -> list[list[str]]:
    ours = {cell.load: cell for cell in found.cells if _is(cell, OURS, requests)}
    theirs = {cell.load: cell for cell in found.cells if _is(cell, THEIRS, requests)}
    return [_row(ours[load], theirs[load], found.latency_ms) for load in ours]


def _is(cell: Cell, server: str, requests: int) -> bool:
    return cell.server == server and cell.requests == requests


def _row(ours: Cell, theirs: Cell, latency_ms: int) -> list[str]:
    ratio = ours.median.uploads_per_second / theirs.median.uploads_per_second
    return [
        _load(ours.load),
        _number(ours.median.uploads_per_second),
        _number(theirs.median.uploads_per_second),
        f"{ratio:.2f}×",
        _target(ours.load, latency_ms),
        _number(ours.median.cpu_ms),
        _number(ours.median.database_cpu_ms),
        _number(theirs.median.cpu_ms),
    ]


def _again_rows(found: Measured) -> list[list[str]]:
    first = {cell.load: cell for cell in found.again if not cell.again}
    second = {cell.load: cell for cell in found.again if cell.again}
    rows = []
    for load, cell in first.items():
        rates = cell.median.uploads_per_second, second[load].median.uploads_per_second
        target = "3×" if found.latency_ms else "–"
        rows.append([_load(load), *map(_number, rates), f"{rates[1] / rates[0]:.2f}×", target])
    return rows


def _target(load: Load, latency_ms: int) -> str:
    if latency_ms:
        return "2×" if load.size <= 256 * KIB else "1×"
    return "1.5×" if load.size == 16 * KIB else "–"


def _load(load: Load) -> str:
    size = f"{load.size // MIB} MiB" if load.size >= MIB else f"{load.size // KIB} KiB"
    return f"{size}, {load.connections}"


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
