"""python -m bench.chunking: measures, and writes its section of docs/performance.md.

Needs MinIO's server program, and PyPI the first time (wheels are kept in bench/results/).
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.chunking.contents import EDITED_SIZE, RELEASES, edits, noise, release_tars
from bench.chunking.cutting import (
    LAYOUTS,
    MIB,
    cut_as_served,
    cut_fixed,
    cut_normalized,
    forced_share,
    ingest_rates,
    mean_size,
    saved_share,
)
from bench.chunking.putting import PUTS_AT_ONCE, ROUNDS, put_rates
from bench.report import machine, table, write_section

NOISE_BYTES = 512 * MIB
DELAY_SECONDS = 0.02
TB = 10**12
# Of one chunk in Postgres: its row (100 bytes with header and line pointer, fillfactor 90), its
# entry in the primary key (52 bytes, pages two thirds full after random inserts), its manifest
# entry.
CATALOG_BYTES_PER_CHUNK = round(100 / 0.9 + 52 / 0.67 + 42)
HERE = Path(__file__).parent


def costs() -> str:
    """Throughput, rows and catalog bytes for each layout."""
    content = noise(NOISE_BYTES, 0)
    near = asyncio.run(put_rates(content, LAYOUTS, delay_seconds=0))
    far = asyncio.run(put_rates(content, LAYOUTS, delay_seconds=DELAY_SECONDS))
    ingest = ingest_rates(content, LAYOUTS)
    rows = []
    for layout, ingest_rate, near_rate, far_rate in zip(LAYOUTS, ingest, near, far, strict=True):
        mean = mean_size(content, cut_as_served(layout))
        rows.append(
            [
                layout.name,
                f"{mean / MIB:.2f} MiB",
                f"{ingest_rate / MIB:,.0f}",
                f"{near_rate / MIB:,.0f}",
                f"{far_rate / MIB:,.0f}",
                f"{TB / mean:,.0f}",
                f"{TB / mean * CATALOG_BYTES_PER_CHUNK / MIB:,.0f} MiB",
            ]
        )
    head = ["average", "mean size", "cut and hash, one core, MiB/s", "PUT MiB/s",
            f"PUT MiB/s, each {DELAY_SECONDS * 1000:.0f} ms later", "chunks per TB",
            "catalog per TB (estimate)"]  # fmt: skip
    return table(head, rows)


def savings() -> tuple[str, str]:
    """What is saved between versions, by layout; and by level of normalization."""
    by_layout, by_level = [], []
    for package, versions in RELEASES.items():
        tars = list(release_tars(package))
        size = sum(map(len, tars)) / len(tars) / MIB
        name = f"{package} {' → '.join(versions)}, tar of {size:.0f} MiB"
        by_layout.append(_saved_row(name, tars))
        by_level.append(
            [
                package,
                *(
                    _percent(saved_share(tars, cut_normalized(layout, level)))
                    for layout in LAYOUTS
                    for level in (1, 2, 3)
                ),
            ]
        )
    for name, versions_edited in edits():
        by_layout.append(_saved_row(f"{EDITED_SIZE // MIB} MiB binary, {name}", versions_edited))
    content = noise(NOISE_BYTES, 0)
    by_level.append(
        [
            "chunks cut by force at the max",
            *(
                _percent(forced_share(content, cut_normalized(layout, level), layout))
                for layout in LAYOUTS
                for level in (1, 2, 3)
            ),
        ]
    )
    layouts = [layout.name for layout in LAYOUTS]
    levels = [f"{layout}, level {level}" for layout in layouts for level in (1, 2, 3)]
    fixed = [f"fixed {layout}" for layout in layouts]
    return table(["saved", *layouts, *fixed], by_layout), table(["saved", *levels], by_level)


def _saved_row(name: str, versions: Sequence[bytes]) -> list[str]:
    cuts = [make(layout) for make in (cut_as_served, cut_fixed) for layout in LAYOUTS]
    return [name, *(_percent(saved_share(versions, cut)) for cut in cuts)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    argparse.ArgumentParser(prog="python -m bench.chunking", description=__doc__).parse_args()
    cost_table = costs()
    saved_table, level_table = savings()
    body = (HERE / "section.md").read_text(encoding="utf-8").format(
        machine=machine(), costs=cost_table, saved=saved_table, levels=level_table,
        catalog_bytes=CATALOG_BYTES_PER_CHUNK, noise_mib=NOISE_BYTES // MIB,
        puts=PUTS_AT_ONCE, rounds=ROUNDS,
    )  # fmt: skip
    write_section("chunking", body)
    print(body)


if __name__ == "__main__":
    main()
