"""`python -m bench.gc PART`: each part measures one thing and writes its section of
docs/performance.md.

`fill` makes a catalog in a folder that is kept, for the parts that look at large ones. Needs minio,
`restic` needs restic. Readings are kept in bench/results/, so that parts may run at other times.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.gc import audits, churn, deleting, growth, load, queues, restic
from bench.gc.filling import Shape
from bench.gc.readings import keep, kept
from bench.gc.world import fill_folder
from bench.processes import end_on_sigterm
from bench.report import write_section

Options = argparse.Namespace


def main() -> None:
    options = _parser().parse_args()
    end_on_sigterm()
    if options.part == "fill":
        seconds = asyncio.run(fill_folder(options.folder, Shape(options.live, options.garbage)))
        print(f"filled in {seconds:.0f} s")
        return
    with tempfile.TemporaryDirectory(prefix="bench-gc-") as name:
        section, body = PARTS[options.part](Path(name), options)
    print(body)
    if not options.dry:
        write_section(section, body)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("fill", help="a folder with a catalog of so many chunks")
    part.add_argument("folder", type=Path)
    part.add_argument("--live", type=int, required=True)
    part.add_argument("--garbage", type=int, default=growth.KEYS)
    part = parts.add_parser("deleting", help="a round more against a bare loop")
    part.add_argument("folder", type=Path)
    part.add_argument("--anew", action="store_true", help="forget the rounds before")
    part = parts.add_parser("growth", help="the same garbage in filled folders, one or more")
    part.add_argument("folders", type=Path, nargs="*")
    part = parts.add_parser("restic", help="its prune at sizes, ascending")
    part.add_argument("--sizes", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    part = parts.add_parser("audits", help="looks at a filled folder")
    part.add_argument("folder", type=Path)
    part.add_argument("--verbs", nargs="+", choices=audits.ROUNDS, default=list(audits.ROUNDS))
    part = parts.add_parser("load", help="uploads and reads beside a paced collection")
    part.add_argument("--rounds", type=int, default=3)
    parts.add_parser("churn", help="a day of uploads and deletes")
    parts.add_parser("queues", help="a blob of 1 TB goes; a long drain")
    return parser


def _deleting(folder: Path, options: Options) -> tuple[str, str]:
    turns = [] if options.anew else kept("deleting") or []
    round_ = asyncio.run(deleting.measure(folder, options.folder))
    turns += [asdict(turn) for turn in round_]
    keep("deleting", turns)
    found = [deleting.turn_of(turn) for turn in turns]
    return "gc-deleting", deleting.section(found, "python -m bench.gc deleting FOLDER")


def _growth(folder: Path, options: Options) -> tuple[str, str]:
    for number, catalog in enumerate(options.folders):
        (folder / str(number)).mkdir()
        found = asyncio.run(growth.measure(folder / str(number), catalog))
        others = [one for one in kept("growth") or [] if one["chunks"] != found.chunks]
        keep("growth", sorted([*others, asdict(found)], key=lambda one: one["chunks"]))
    return _grown()


def _restic(folder: Path, options: Options) -> tuple[str, str]:
    found = restic.prunes(folder, options.sizes)
    keep("restic", [asdict(one) for one in found])
    return _grown()


def _grown() -> tuple[str, str]:
    """One section of two parts' readings."""
    found = [growth.collected_of(one) for one in kept("growth") or []]
    prunes = [restic.Pruned(**one) for one in kept("restic") or []]
    if found and prunes:
        growth.PICTURE.write_text(growth.draw(found, prunes), encoding="utf-8")
    return "gc-growth", growth.section(found, prunes)


def _audits(folder: Path, options: Options) -> tuple[str, str]:
    reading = asyncio.run(audits.measure(folder, options.folder, options.verbs))
    before = kept("audits")
    if before is not None and before["chunks"] == reading["chunks"]:
        reading["looks"] = {**before["looks"], **reading["looks"]}
    keep("audits", reading)
    return "gc-audits", audits.section(reading)


def _load(folder: Path, options: Options) -> tuple[str, str]:
    rounds = asyncio.run(load.measure(folder, options.rounds))
    return "gc-load", load.section(rounds, f"python -m bench.gc load --rounds {options.rounds}")


def _churn(folder: Path, _options: Options) -> tuple[str, str]:
    day = asyncio.run(churn.measure(folder))
    return "gc-churn", churn.section(day, "python -m bench.gc churn")


def _queues(folder: Path, _options: Options) -> tuple[str, str]:
    huge, drains = asyncio.run(queues.measure(folder))
    return "gc-queues", queues.section(huge, drains, "python -m bench.gc queues")


PARTS: dict[str, Callable[[Path, Options], tuple[str, str]]] = {
    "deleting": _deleting,
    "growth": _growth,
    "restic": _restic,
    "audits": _audits,
    "load": _load,
    "churn": _churn,
    "queues": _queues,
}


if __name__ == "__main__":
    main()
