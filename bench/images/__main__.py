"""`python -m bench.images`: variants that nobody has asked for before, end to end over HTTP, beside
libvips doing the same behind HTTP and, without any server, in this process.

Every request is another width, so nothing is answered from what is there. Two workers here, two
threads there, twice as many requests at once; rounds alternate and the median is shown. How like a
resize of all pixels the results are is compared too: speed at another quality is no speed. Needs
`pip install "pyvips[binary]"`. Writes its section of docs/performance.md.
"""

import argparse
import io
import itertools
import re
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from bench.images.photos import photos
from bench.images.vips import THREADS, thumbnail
from bench.origin.servers import mediastore
from bench.processes import Server, free_port, running
from bench.report import machine, table, write_section
from mediastore.clock import SystemClock
from tests.pictures import ssim

CONCURRENCY: Final = 2 * THREADS
CASES: Final = (
    ("24 MP JPEG", "jpg"),
    ("24 MP JPEG", "webp"),
    ("24 MP JPEG", "avif"),
    ("8 MP JPEG", "jpg"),
    ("8 MP JPEG", "webp"),
    ("8 MP JPEG", "avif"),
    ("8 MP PNG", "jpg"),
    ("8 MP PNG", "png"),
)
WIDTH: Final = 512
LEAST: Final = 1.1
_PEAK = re.compile(rb"^mediastore_image_worker_peak_bytes ([0-9.e+]+)$", re.MULTILINE)
Make = Callable[[int], bytes]
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Side:
    """One way to have a picture of a width made."""

    make: Make
    at_once: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=16, help="of one side in one round")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the first; then one more each")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    sources = photos()
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        with (
            mediastore(Path(folder), sources) as (server, media, _, key),
            _vips(Path(folder), sources) as vips,
        ):
            rows = []
            for name, extension in CASES:
                base = server.url + media[name].rpartition("/")[0]
                sides = [
                    Side(_ours(base, extension, key), CONCURRENCY),
                    Side(_over_http(f"{vips.url}/{_file(name)}", extension), CONCURRENCY),
                    Side(_in_process(sources[name], extension), THREADS),
                ]
                row = _row(sides, sources[name], options)
                rows.append([f"{name} to {extension}", *row])
            peaks = _peak_bytes(Path(folder)), _high_water_bytes(vips.pid)
    body = _section(rows, options, *peaks)
    print(body)
    if not options.dry:
        write_section("images", body)


def _row(sides: list[Side], source: bytes, options: argparse.Namespace) -> list[str]:
    widths = itertools.count(options.width)
    first = next(widths)
    made = [side.make(first) for side in sides]  # processes are there, code is loaded
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(options.rounds):
        wanted = list(itertools.islice(widths, options.pictures))
        for side, seen in zip(sides, rates, strict=True):
            seen.append(_rate(side, wanted))
    ours, theirs, bare = (statistics.median(seen) for seen in rates)
    like, theirs_like = (f"{_likeness(data, source):.4f}" for data in made[:2])
    sizes = [f"{len(data) / 1024:.0f}" for data in made[:2]]
    return [
        *(f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}×", f"≥ {LEAST}×"),
        *(f"{bare:.1f}", f"{ours / bare:.2f}×", like, theirs_like, *sizes),
    ]


def _rate(side: Side, widths: list[int]) -> float:
    clock = SystemClock()
    began = clock.monotonic()
    with ThreadPoolExecutor(side.at_once) as threads:
        _ = list(threads.map(side.make, widths))
    return len(widths) / (clock.monotonic() - began)


def _ours(base: str, extension: str, key: str) -> Make:
    def make(width: int) -> bytes:
        return _get(f"{base}/fit-{width}x0/p.{extension}", {"Authorization": f"Bearer {key}"})

    return make


def _over_http(base: str, extension: str) -> Make:
    return lambda width: _get(f"{base}/{width}.{extension}", {})


def _in_process(source: bytes, extension: str) -> Make:
    return lambda width: thumbnail(source, width, extension)


def _get(url: str, headers: Mapping[str, str]) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as found:
        return bytes(found.read())


@contextmanager
def _vips(folder: Path, sources: Mapping[str, bytes]) -> Iterator[Server]:
    files, port = folder / "sources", free_port()
    files.mkdir()
    for name, data in sources.items():
        (files / _file(name)).write_bytes(data)
    command = [sys.executable, "-m", "bench.images.vips", str(files), str(port)]
    with running(command, port, folder / "vips.log") as server:
        yield server


def _file(name: str) -> str:
    return name.replace(" ", "-")


def _likeness(data: bytes, source: bytes) -> float:
    """Structural similarity to a Lanczos resize of every pixel."""
    made = Image.open(io.BytesIO(data)).convert("RGB")
    whole = Image.open(io.BytesIO(source)).convert("RGB")
    return ssim(made, whole.resize(made.size, Image.Resampling.LANCZOS))


def _peak_bytes(folder: Path) -> float:
    (url,) = _metrics_urls(folder)
    found = _PEAK.search(_get(url, {}))
    return 0.0 if found is None else float(found[1])


def _high_water_bytes(pid: int) -> int:
    """The most memory that a process has held at once; Linux tells it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return 0 if found is None else int(found[1]) * 1024


def _metrics_urls(folder: Path) -> Iterator[str]:
    log = (folder / "mediastore.log").read_text(encoding="utf-8")
    yield re.findall(r'metrics_url"?[:=] ?"?(http[^"\s]+)', log)[-1]


def _section(
    rows: list[list[str]], options: argparse.Namespace, peak: float, vips_bytes: float
) -> str:
    head = [
        *("made cold", "mediastore/s", "libvips over HTTP/s", "ratio", "to reach"),
        *("libvips in process/s", "ratio", "SSIM", "libvips' SSIM", "KiB", "libvips' KiB"),
    ]
    command = f"python -m bench.images --rounds {options.rounds} --pictures {options.pictures}"
    return f"""\
## Pictures: variants that are not there yet

Made by `{command}` on {machine()}.
To {options.width} pixels of width and, one after the other, a pixel more; the same qualities and
efforts on both sides, no metadata. mediastore end to end with {THREADS} workers: read, verified,
drawn, hashed, stored, recorded, sent. libvips by pyvips with {THREADS} threads: behind aiohttp,
with its sources in memory and nothing stored; and in the process that measures, without any server.
{CONCURRENCY} requests at once ({THREADS} in process), {options.rounds} rounds of {options.pictures}
pictures each in alternation, medians. SSIM is to a Lanczos resize of all pixels, encoding included.
A worker of mediastore held at most {peak / MIB:.0f} MiB; libvips, both threads and all sources in
one process, {vips_bytes / MIB:.0f} MiB.

{table(head, rows)}
"""


if __name__ == "__main__":
    main()
