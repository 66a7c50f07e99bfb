"""`python -m bench.origin.cold`: reads that nothing has in memory, from MinIO behind a toxiproxy.

The same process asks mediastore and, with the driver that mediastore uses and through the same
proxy, the store itself, in turns. Every chunk of the first table is read for the first time; the
large blob is larger than the cache of chunks, so that a read of it from its beginning finds nothing
there. Writes its section of docs/performance.md. Needs minio and toxiproxy.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import uvloop

from bench.processes import ACCESS_KEY, SECRET_KEY
from bench.report import machine, table, write_section
from bench.uploads.servers import LATENCY_MS, MEDIASTORE_BUCKET, Subject, mediastore, world
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.clock import SystemClock
from mediastore.settings import MIB, ChunkStoreSettings

CHUNK_BYTES = MIB  # at most the least size of a chunk: one chunk, named as its blob is
BLOB_BYTES = 256 * MIB
READ_BYTES = MIB
READ_AHEAD_CHUNKS = (1, 3)  # the first one is the default
FIRST_BYTE_MS_MAX = 10
THROUGHPUT_LEAST = 0.9


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's id and its blob."""

    id: str
    blob: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    with world() as made:
        with mediastore(made.folder, made.store.url, made.postgres) as service:
            one = _upload(service, CHUNK_BYTES, seed=0)  # what opens the connections
            small = [_upload(service, CHUNK_BYTES, seed) for seed in range(1, options.chunks + 1)]
            large = _upload(service, BLOB_BYTES, seed=-1)
        with (
            made.store_url(LATENCY_MS) as url,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            store = S3ChunkStore(_settings(url), SystemClock())
            try:
                first: list[tuple[float, float]] = []
                rates: dict[int, list[tuple[float, float]]] = {}
                for ahead in READ_AHEAD_CHUNKS:
                    settings = f"[delivery]\nread_ahead_chunks = {ahead}\n"
                    with mediastore(made.folder, url, made.postgres, settings=settings) as service:
                        _first_byte(service, one)
                        keys = runner.run(_keys(store))
                        runner.run(store.get(keys[one.blob][0]))
                        if not first:
                            first = [
                                (_first_byte(service, stored), _direct(runner, store, key))
                                for stored in small
                                for key in keys[stored.blob]
                            ]
                        single = {one.blob, *(stored.blob for stored in small)}
                        parts = [key for name in keys if name not in single for key in keys[name]]
                        rates[ahead] = [
                            (_whole(service, large), _together(runner, store, parts, 1 + ahead))
                            for _ in range(options.rounds)
                        ]
            finally:
                runner.run(store.close())
    body = _section(first, rates)
    print(body)
    if not options.dry:
        write_section("origin-cold", body)


def _settings(url: str) -> ChunkStoreSettings:
    return ChunkStoreSettings.model_validate(
        {
            "driver": "s3",
            "bucket": MEDIASTORE_BUCKET,
            "endpoint_url": url,
            "path_style": True,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }
    )


async def _keys(store: S3ChunkStore) -> dict[str, list[str]]:
    """All keys of chunks, by the chunk's hash."""
    found: dict[str, list[str]] = {}
    async for page in store.list(prefix="chunks/"):
        for entry in page:
            found.setdefault(entry.key.split("/")[1], []).append(entry.key)
    return found


def _upload(service: Subject, size: int, seed: int) -> Stored:
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=120)
    source = Random(seed)
    body = b"".join(source.randbytes(MIB) for _ in range(size // MIB))
    connection.request("POST", "/v1/objects", body, dict(service.headers))
    made = json.load(connection.getresponse())
    connection.close()
    return Stored(made["id"], made["blob"])


def _first_byte(service: Subject, stored: Stored) -> float:
    """Seconds from the request to the first byte of the content; the rest is read as well."""
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=60)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", f"/v1/objects/{stored.id}/content", headers=dict(service.headers))
    response = connection.getresponse()
    response.read(1)
    seconds = time.perf_counter() - began
    if response.status != 200 or 1 + len(response.read()) != CHUNK_BYTES:
        raise SystemExit("a read went wrong")
    connection.close()
    return seconds


def _direct(runner: asyncio.Runner, store: S3ChunkStore, key: str) -> float:
    """Seconds to have the whole chunk from the store: the better of two, since the loop has stood
    still while mediastore was asked.
    """
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        runner.run(store.get(key))
        taken.append(time.perf_counter() - began)
    return min(taken)


def _whole(service: Subject, stored: Stored) -> float:
    """Bytes a second of the large blob, through mediastore, on one connection of the client."""
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", f"/v1/objects/{stored.id}/content", headers=dict(service.headers))
    response = connection.getresponse()
    buffer, received = bytearray(READ_BYTES), 0
    while taken := response.readinto(buffer):
        received += taken
    seconds = time.perf_counter() - began
    connection.close()
    if received != BLOB_BYTES:
        raise SystemExit("a read of the large blob was cut short")
    return received / seconds


def _together(
    runner: asyncio.Runner, store: S3ChunkStore, keys: Sequence[str], connections: int
) -> float:
    """Bytes a second of the same chunks, so many read from the store at the same time."""

    async def read_all() -> int:
        waiting = list(reversed(keys))

        async def read() -> int:
            received = 0
            while waiting:
                received += len(await store.get(waiting.pop()))
            return received

        return sum(await asyncio.gather(*(read() for _ in range(connections))))

    began = time.perf_counter()
    received = runner.run(read_all())
    if received != BLOB_BYTES:
        raise SystemExit("the store has other chunks than those of the large blob")
    return received / (time.perf_counter() - began)


def _section(
    first: Sequence[tuple[float, float]], rates: dict[int, list[tuple[float, float]]]
) -> str:
    more = sorted(ours - direct for ours, direct in first)
    ours, direct = (sorted(times) for times in zip(*first, strict=True))
    centile = len(first) * 9 // 10
    rows = [
        [name, *(f"{times[at] * 1e3:.1f}{most}" for at in (len(first) // 2, centile))]
        for name, times, most in (
            ("mediastore, first byte", ours, ""),
            ("the store, whole chunk", direct, ""),
            ("the difference of each pair", more, f" (≤ {FIRST_BYTE_MS_MAX})"),
        )
    ]
    throughput = []
    for ahead, pairs in rates.items():
        through, read = (statistics.median(rate) for rate in zip(*pairs, strict=True))
        throughput.append(
            [
                f"{ahead}{' (default)' if ahead == READ_AHEAD_CHUNKS[0] else ''}",
                f"{through / MIB:,.0f}",
                f"{read / MIB:,.0f}",
                _ratio(through / read),
            ]
        )
    head = ["`delivery.read_ahead_chunks`", "mediastore, MiB/s", "store, MiB/s", "ratio"]
    return f"""\
## Origin: what is in no cache

`python -m bench.origin.cold`. {machine()}. MinIO behind a toxiproxy that adds {LATENCY_MS} ms to
every answer; the store is read directly with mediastore's own driver, through the same proxy, in
turns with mediastore. What is to be reached is in brackets.

{len(first)} chunks of 1 MiB, each read for the first time:

{table(["ms", "median", "90 %"], rows)}

The bound that holds by itself is the latency: no direct read can be faster than it, and 90 % of
first bytes came within {ours[centile] * 1e3 - LATENCY_MS:.0f} ms of it. Where the direct read
comes out as the slower one, the cause lies in this measurement and was not found: its difference
is no result.

A blob of 256 MiB, medians of {len(next(iter(rates.values())))}; the store is read on as many
connections as mediastore has: one for the chunk that is due, one for each that it reads ahead. All
of it runs on the same two cores, mediastore's verifying and its client as well.

{table(head, throughput)}
"""


def _ratio(value: float) -> str:
    missed = "" if value >= THROUGHPUT_LEAST else ", missed"
    return f"{value:.2f} (≥ {THROUGHPUT_LEAST:g}{missed})"


if __name__ == "__main__":
    main()
