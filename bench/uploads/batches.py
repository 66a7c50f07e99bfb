"""`python -m bench.uploads.batches`: a hundred small files in one request, and one by one.

Needs minio and toxiproxy. Writes its section of docs/performance.md.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence

from bench.processes import end_on_sigterm
from bench.report import machine, table, write_section
from bench.uploads.client import Connection, Failed
from bench.uploads.section import number, place, size_text
from bench.uploads.servers import LATENCY_MS, Subject, World, mediastore, world
from mediastore.settings import KIB

FILES = 100
SIZES = (4 * KIB, 16 * KIB, 64 * KIB)
BOUNDARY = "bench-boundary-0123456789"
_HEAD = ("files of", "one by one, files/s", "one form, files/s", "ratio", "to reach")
_TEXT = (
    f"{FILES} files never seen before to `POST /v1/objects` over one keep-alive connection: as "
    "the raw bodies of as many requests, one after the other, and as one multipart/form-data. "
    "Medians of {rounds} rounds in turn."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="print only, do not write the section")
    options = parser.parse_args()
    end_on_sigterm()
    parts = [
        "## Many small files in one request",
        f"Made by `python -m bench.uploads.batches --rounds {options.rounds}` on {machine()}. "
        + _TEXT.format(rounds=options.rounds),
    ]
    with world() as made:
        for latency_ms in (0, LATENCY_MS):
            rows = _measure(made, latency_ms, options.rounds)
            parts += [f"{place(latency_ms)}:", table(_HEAD, rows)]
    body = "\n\n".join(parts)
    print(body)
    if not options.dry:
        write_section("upload-batches", body)


def _measure(made: World, latency_ms: int, rounds: int) -> list[list[str]]:
    with made.store_url(latency_ms) as url:
        with mediastore(made.folder, url, made.postgres) as subject:
            return asyncio.run(_rows(subject, rounds))


async def _rows(subject: Subject, rounds: int) -> list[list[str]]:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", subject.server.port)
    rows = []
    for size in SIZES:
        single, together = [], []
        for _ in range(rounds + 1):
            single.append(await _timed(connection, _one_by_one(subject, size)))
            together.append(await _timed(connection, [_form(subject, size)]))
        rates = [FILES / statistics.median(taken[1:]) for taken in (single, together)]
        ratio = f"{rates[1] / rates[0]:.2f}×"
        rows.append([size_text(size), *map(number, rates), ratio, "3×"])
    connection.close()
    return rows


async def _timed(connection: Connection, requests: Sequence[tuple[bytes, bytes]]) -> float:
    """Seconds of the requests, each of which must make all its objects."""
    began = time.perf_counter()
    for head, body in requests:
        answer = await connection.ask(head, body)
        if answer.split(b" ", 2)[1] != b"201":
            raise Failed(f"{answer!r}")
    return time.perf_counter() - began


def _one_by_one(subject: Subject, size: int) -> list[tuple[bytes, bytes]]:
    head = _post(subject, "image/jpeg", size)
    return [(head, os.urandom(size)) for _ in range(FILES)]


def _form(subject: Subject, size: int) -> tuple[bytes, bytes]:
    parts = []
    for index in range(FILES):
        disposition = f'form-data; name="files"; filename="{index}.jpg"'
        fields = f"Content-Disposition: {disposition}\r\nContent-Type: image/jpeg\r\n"
        parts += [f"--{BOUNDARY}\r\n{fields}\r\n".encode(), os.urandom(size), b"\r\n"]
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return _post(subject, f"multipart/form-data; boundary={BOUNDARY}", len(body)), body


def _post(subject: Subject, content_type: str, length: int) -> bytes:
    headers = {
        "Host": "127.0.0.1",
        **subject.headers,
        "Content-Type": content_type,
        "Content-Length": str(length),
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/objects HTTP/1.1\r\n{fields}\r\n".encode()


if __name__ == "__main__":
    main()
