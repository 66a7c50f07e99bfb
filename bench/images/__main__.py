"""`python -m bench.images`: variants that nobody has asked for before, end to end over HTTP, beside
libvips doing the same in one process.

Every request is another width, so nothing is answered from what is there. Two workers here, two
threads there, each on one core; rounds alternate and the median is shown. Needs `pip install
"pyvips[binary]"`. Writes its section of docs/performance.md.
"""

import argparse
import itertools
import os
import re
import statistics
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from bench.images.photos import photos
from bench.origin.servers import mediastore
from bench.report import machine, table, write_section
from mediastore.clock import SystemClock

CONCURRENCY: Final = 2
# As mediastore encodes; libvips' effort is 9 minus libaom's speed.
VIPS_SAVED: Final = {
    "jpg": ".jpg[Q=80,optimize_coding=true,keep=none]",
    "webp": ".webp[Q=78,effort=4,keep=none]",
    "avif": ".avif[Q=60,effort=1,keep=none]",
    "png": ".png[compression=6,keep=none]",
}
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
_PEAK = re.compile(rb"^mediastore_image_worker_peak_bytes ([0-9.e+]+)$", re.MULTILINE)
Make = Callable[[int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=12, help="of one side in one round")
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    vips = _vips()
    sources = photos()
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        with mediastore(Path(folder), sources) as (server, media, _, key):
            rows = []
            for name, extension in CASES:
                base = server.url + media[name].rpartition("/")[0]
                ours = _over_http(base, extension, key)
                theirs = vips(sources[name], extension)
                rows.append(_row(name, extension, ours, theirs, options.rounds, options.pictures))
            peak = _peak_bytes(Path(folder))
    body = _section(rows, options.rounds, options.pictures, peak)
    print(body)
    if not options.dry:
        write_section("images", body)


def _row(
    name: str, extension: str, ours: Make, theirs: Make, rounds: int, pictures: int
) -> list[str]:
    widths = itertools.count(WIDTH)
    _ = ours(next(widths)), theirs(next(widths))  # processes are there, code is loaded
    rates: dict[Make, list[float]] = {ours: [], theirs: []}
    for _ in range(rounds):
        wanted = list(itertools.islice(widths, pictures))
        for make in (ours, theirs):
            rates[make].append(_rate(make, wanted))
    here, there = (statistics.median(rates[make]) for make in (ours, theirs))
    return [f"{name} to {extension}", f"{here:.1f}", f"{there:.1f}", f"{here / there:.2f} (≥ 1.1)"]


def _rate(make: Make, widths: list[int]) -> float:
    clock = SystemClock()
    began = clock.monotonic()
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        _ = list(threads.map(make, widths))
    return len(widths) / (clock.monotonic() - began)


def _over_http(base: str, extension: str, key: str) -> Make:
    def make(width: int) -> int:
        request = urllib.request.Request(
            f"{base}/fit-{width}x0/p.{extension}", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return len(response.read())

    return make


def _vips() -> Callable[[bytes, str], Make]:
    os.environ["VIPS_CONCURRENCY"] = "1"
    import pyvips

    pyvips.cache_set_max(0)

    def of(data: bytes, extension: str) -> Make:
        def make(width: int) -> Any:
            picture = pyvips.Image.thumbnail_buffer(data, width, height=100_000, size="down")
            return len(picture.write_to_buffer(VIPS_SAVED[extension]))

        return make

    return of


def _peak_bytes(folder: Path) -> float:
    (url,) = _metrics_urls(folder)
    with urllib.request.urlopen(url, timeout=10) as response:
        found = _PEAK.search(response.read())
    return 0.0 if found is None else float(found[1])


def _metrics_urls(folder: Path) -> Iterator[str]:
    log = (folder / "mediastore.log").read_text(encoding="utf-8")
    yield re.findall(r'metrics_url"?[:=] ?"?(http[^"\s]+)', log)[-1]


def _section(rows: list[list[str]], rounds: int, pictures: int, peak: float) -> str:
    head = ["made cold", "mediastore, pictures/s", "libvips, pictures/s", "of libvips"]
    return f"""\
## Pictures: variants that are not there yet

`python -m bench.images`. {machine()}. To {WIDTH} pixels of width and, one after the other, a pixel
more; the same qualities and efforts on both sides, no metadata. mediastore end to end over HTTP
with {CONCURRENCY} workers: read, verified, drawn, hashed, stored, recorded, sent. libvips through
pyvips in one process with {CONCURRENCY} threads, from memory to memory. {rounds} rounds of
{pictures} pictures each in alternation, medians. A worker held at most {peak / 2**20:.0f} MiB.

{table(head, rows)}
"""


if __name__ == "__main__":
    main()
