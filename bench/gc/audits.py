"""What looking at a large catalog takes: `status`, the recount, `verify`, the merge of orphans."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg

from bench.gc.looking import ORPHANS, RECOUNT, STATUS, VERIFY, Job, Seen, seen
from bench.gc.world import BUCKET, FILLED, kept_postgres, write_config
from bench.processes import minio
from bench.report import machine, table
from mediastore.settings import HOUR_SECONDS, MIB

PLANNED = 300_000_000
STATUS_SECONDS_MAX = 1.0
ROUNDS = {STATUS: 5, RECOUNT: 1, VERIFY: 1, ORPHANS: 1}
_KEYS = """
SELECT 'bucket', 'chunks/' || encode(hash, 'hex') || '/' || lpad(to_hex(generation), 16, '0'), size
FROM chunks
"""


async def measure(folder: Path, catalog: Path, verbs: Sequence[str]) -> dict[str, Any]:
    """Looks change next to nothing, so they are at the kept catalog itself."""
    with kept_postgres(catalog) as postgres, minio(folder, [BUCKET]) as store:
        dsn = postgres.dsn(FILLED)
        config = write_config(folder / "gc.toml", dsn, store.url)
        connection = await asyncpg.connect(dsn)
        chunks = await connection.fetchval("SELECT count(*) FROM chunks")
        inventory = ""
        if {VERIFY, ORPHANS} & set(verbs):
            inventory = str(await _inventory(folder, connection))
        await connection.close()
        looks = {
            verb: [asdict(await seen(config, Job(verb, inventory))) for _ in range(ROUNDS[verb])]
            for verb in verbs
        }
    return {"chunks": chunks, "looks": looks}


async def _inventory(folder: Path, connection: "asyncpg.Connection[Any]") -> Path:
    """An S3 Inventory of exactly the keys that rows name, in the order of the rows."""
    data = folder / "keys.csv"
    await connection.copy_from_query(_KEYS, output=data, format="csv", timeout=None)
    with data.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps(
            {
                "fileFormat": "CSV",
                "fileSchema": "Bucket, Key, Size",
                "files": [{"key": data.name, "MD5checksum": md5}],
            }
        )
    )
    return manifest


def section(reading: dict[str, Any]) -> str:
    chunks = reading["chunks"]
    looks = {verb: [Seen(**one) for one in found] for verb, found in reading["looks"].items()}
    rows = [
        row for verb in (RECOUNT, VERIFY, ORPHANS) for one in looks.get(verb, []) for row in
        _rows(verb, one, chunks)
    ]  # fmt: skip
    parts = [
        "## Looking at a large catalog",
        (
            f"Made by `python -m bench.gc audits` on {machine()}. There are {chunks:,} "
            f"chunks. {_TEXT}"
        ),
    ]
    if STATUS in looks:
        worst = max(one.seconds[STATUS] for one in looks[STATUS])
        memory = max(one.memory_bytes for one in looks[STATUS]) / MIB
        parts.append(
            f"`status` took {worst:.2f} s, the slowest of {len(looks[STATUS])} processes' first "
            f"looks (to reach: less than {STATUS_SECONDS_MAX:.0f} s), and {memory:.0f} MiB."
        )
    return "\n\n".join([*parts, table(_HEAD, rows), _SUM.format(chunks=chunks)])


_TEXT = (
    "One process each, as fast as it goes, on a Postgres with 1 GB of shared buffers; `verify` and "
    "`orphans` are given the store's keys as an S3 Inventory, whose sorting is in their time. A "
    "listing of a live store comes by 1,000 keys a request and is not measured here."
)
_HEAD = (
    "what is read",
    "rows",
    "seconds",
    "rows a second",
    "MiB of memory",
    f"hours at {PLANNED:,} chunks",
)
_SUM = (
    f"The last column is seconds × {PLANNED:,} ÷ {{chunks:,}} ÷ {HOUR_SECONDS:,}, for a catalog of "
    "the same shape. It was not measured: it assumes that rows are read as fast when the catalog "
    "does not fit into memory. Memory does not "
    "grow with rows, but for the recount's filter: 2 bytes a doomed key, rounded up to a power of "
    "two."
)


def _rows(verb: str, one: Seen, chunks: int) -> list[list[str]]:
    rows = []
    for step, count in one.rows.items():
        rows.append(
            [
                verb if step in (verb, "recounting") else f"{verb}: {step}",
                f"{count:,}",
                f"{one.seconds[step]:.1f}",
                f"{count / one.seconds[step]:,.0f}",
                f"{one.memory_bytes / MIB:.0f}",
                f"{one.seconds[step] * PLANNED / chunks / HOUR_SECONDS:.2f}",
            ]
        )
    return rows
