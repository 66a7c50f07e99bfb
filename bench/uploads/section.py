"""What docs/performance.md says of uploads: the tables, and what was to be reached."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import machine, table
from bench.uploads.measure import Cell, Load, Reading
from mediastore.settings import KIB, MIB

OURS, TUSD, TUSD_BARE, TUS_NODE = "mediastore", "tusd", "tusd, bare", "@tus/server"
_RATES_HEAD = (
    "uploads/s; size, connections",
    OURS,
    TUSD,
    "ratio",
    "to reach",
    TUS_NODE,
    "ratio",
    "to reach",
    TUSD_BARE,
    "ratio",
)
_CPU_HEAD = (
    "CPU ms an upload; size, connections",
    OURS,
    TUSD,
    "ratio",
    "to reach",
    TUSD_BARE,
    TUS_NODE,
    "mediastore's Postgres",
)
_CONDITIONS = (
    "tusd 2.9.1 with its s3store and @tus/server 2.4.5 with @tus/s3-store 2.0.7 on Node, one "
    "process each with its defaults: they let the store check what it receives, as mediastore does "
    "(a CRC-32). Bare is tusd without that check, hooks, downloads, CORS and metrics, and with "
    "parts of 8 MiB, so that it sends before it has 50. One mediastore process (default settings, "
    "no access "
    "log) with a durable Postgres 18; each has a bucket of its own of one MinIO, everything on the "
    "same machine and disk. The same client, a process of its own, sends bytes never seen before "
    "over keep-alive connections; the servers take turns, and the medians of {count} rounds are "
    "shown. With 16 connections two cores are full, of which MinIO and the client take the larger "
    "part whoever the server is: those ratios compare what an upload costs. With 4 it is waiting "
    "that decides, most of all for a store farther off. CPU is user and system time for each "
    "upload of the process, Postgres's of all of its processes; what is to be reached is for the "
    "process."
)
_SMALL_MAX_BYTES = MIB
TARGETS = {TUSD: ("1.7×", "2.5×"), TUS_NODE: ("3×", "4×")}  # of small uploads, near and far


@dataclass(frozen=True, slots=True)
class Measured:
    """All cells at one distance from the store."""

    latency_ms: int
    cells: Sequence[Cell]


def section(measured: Sequence[Measured], count: int) -> str:
    parts = [
        "## Uploads",
        f"Made by `python -m bench.uploads --rounds {count}` on {machine()}. "
        + _CONDITIONS.format(count=count),
    ]
    ways = {1: "one request (creation with upload)", 2: "two requests (POST, then PATCH)"}
    for found in measured:
        for requests, way in ways.items():
            by_load = _by_load(found, requests)
            parts += [
                f"{place(found.latency_ms)}, an upload in {way}:",
                table(_RATES_HEAD, [_rates(*one, found.latency_ms) for one in by_load.items()]),
                table(_CPU_HEAD, [_cpu(*one) for one in by_load.items()]),
            ]
    return "\n\n".join(parts)


def place(latency_ms: int) -> str:
    return f"{latency_ms} ms added to every S3 answer" if latency_ms else "S3 near"


def _by_load(found: Measured, requests: int) -> dict[Load, dict[str, Reading]]:
    """For each load, the reading of each server."""
    readings: dict[Load, dict[str, Reading]] = {}
    for cell in found.cells:
        if cell.requests == requests:
            readings.setdefault(cell.load, {})[cell.server] = cell.median
    return readings


def _rates(load: Load, readings: dict[str, Reading], latency_ms: int) -> list[str]:
    rate = {name: reading.uploads_per_second for name, reading in readings.items()}
    row = [load_text(load), number(rate[OURS])]
    for name in (TUSD, TUS_NODE, TUSD_BARE):
        row += _beside(rate[OURS], rate.get(name))
        if name in TARGETS:
            row.append(_target(load, name, latency_ms))
    return row


def _beside(ours: float, theirs: float | None) -> list[str]:
    return ["–", "–"] if theirs is None else [number(theirs), f"{ours / theirs:.2f}×"]


def _cpu(load: Load, readings: dict[str, Reading]) -> list[str]:
    ours = readings[OURS]
    return [
        load_text(load),
        number(ours.cpu_ms),
        number(readings[TUSD].cpu_ms),
        f"{ours.cpu_ms / readings[TUSD].cpu_ms:.2f}×",
        "≤ 0.7×" if load.size <= _SMALL_MAX_BYTES else "≤ 1.2×",
        *(_cpu_of(readings.get(name)) for name in (TUSD_BARE, TUS_NODE)),
        number(ours.database_cpu_ms),
    ]


def _cpu_of(reading: Reading | None) -> str:
    return "–" if reading is None else number(reading.cpu_ms)


def _target(load: Load, server: str, latency_ms: int) -> str:
    if load.size > _SMALL_MAX_BYTES:
        return "1.2×" if latency_ms else "–"
    near, far = TARGETS[server]
    return far if latency_ms else near


def load_text(load: Load) -> str:
    return f"{size_text(load.size)}, {load.connections}"


def size_text(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
