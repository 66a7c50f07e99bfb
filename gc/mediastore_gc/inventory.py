"""An S3 Inventory (CSV or Parquet) as a listing: its `manifest.json` and files, copied here.

The files must be there and have the checksums that the manifest says: a part that is missing would
make everything in it look lost. S3 does not promise their order, so the keys are sorted first, in
runs on disk that are merged: memory stays bounded. What an inventory says is hours old; whatever
looks wrong by it is asked of the store itself before it counts (orphans.py).
"""

import hashlib
import heapq
import json
import struct
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from mediastore.catalog.auditing import CopyName, HashRange
from mediastore.chunkstore.keys import PREFIX, parse_chunk_key
from mediastore.chunkstore.protocol import PAGE_ENTRIES_MAX, Entry
from mediastore.collector_errors import CollectorRefused
from mediastore.errors import BadRequest
from mediastore_gc.inventory_files import reader_of

RUN_ENTRIES = 500_000  # 45 MB of memory; 300 million keys make 600 runs
_ENTRY = struct.Struct(">32sQQ")  # hash, generation, size: sorts as the key does
_READ_BYTES = _ENTRY.size * 1365


class Inventory:
    """The chunks that one inventory lists. Reads files: give its pages a thread's patience."""

    def __init__(self, manifest: Path, *, prefix: str) -> None:
        """`prefix` is the chunk store's own within its bucket.

        Raises BadRequest when the manifest is not one, CollectorRefused when a file is missing or
        another.
        """
        self._prefix = prefix
        try:
            document = json.loads(manifest.read_text(encoding="utf-8"))
            self._rows_of = reader_of(document["fileFormat"], document.get("fileSchema", ""))
            listed = [(item["key"], item["MD5checksum"]) for item in document["files"]]
        except OSError as error:
            raise BadRequest(f"{manifest} cannot be read: {error.strerror or error}") from error
        except KeyError as error:
            raise BadRequest(f"{manifest} is no inventory's manifest: it has no {error}") from error
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{manifest} is no inventory's manifest: {error}") from error
        self._files = [_checked_file(manifest.parent, key, md5) for key, md5 in listed]

    async def pages(self, range_: HashRange, after: CopyName) -> AsyncGenerator[list[Entry], None]:
        """The chunks of a range in order, behind `after`."""
        with (
            tempfile.TemporaryDirectory(prefix="mediastore-inventory-") as folder,
            ExitStack() as s,
        ):
            runs = [_read_run(s, path) for path in self._sorted_runs(Path(folder), range_, after)]
            page: list[Entry] = []
            for packed in heapq.merge(*runs):
                hash_, generation, size = _ENTRY.unpack(packed)
                page.append(Entry(CopyName(hash_, generation).key, size))
                if len(page) == PAGE_ENTRIES_MAX:
                    yield page
                    page = []
            if page:
                yield page

    def _sorted_runs(self, folder: Path, range_: HashRange, after: CopyName) -> list[Path]:
        runs: list[Path] = []
        entries: list[bytes] = []
        bound = _ENTRY.pack(after.hash, max(after.generation, 0), 0)
        for key, size in self._chunks(PREFIX + range_.prefix):
            packed = _ENTRY.pack(*parse_chunk_key(key), size)
            if packed[:40] > bound[:40] or after.generation < 0:
                entries.append(packed)
            if len(entries) == RUN_ENTRIES:
                runs.append(_write_run(folder, len(runs), entries))
                entries = []
        runs.append(_write_run(folder, len(runs), entries))
        return runs

    def _chunks(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Current objects whose key begins so, without what is not a chunk's."""
        for path in self._files:
            for row in self._rows_of(path):
                if not row.key.startswith(self._prefix + prefix) or not row.is_current:
                    continue
                key = row.key.removeprefix(self._prefix)
                try:
                    _ = parse_chunk_key(key)
                    size = int(row.size or "")
                except ValueError:
                    continue
                yield key, size


def _checked_file(folder: Path, key: str, md5: str) -> Path:
    """Where S3 puts it, or beside the manifest."""
    name = key.rsplit("/", 1)[-1]
    places = (folder / name, folder / "data" / name, folder.parent / "data" / name)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CollectorRefused(f"the inventory's file {name} is not there")
    with found.open("rb") as file:
        if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
            raise CollectorRefused(f"the inventory's file {name} is not the one it lists")
    return found


def _write_run(folder: Path, number: int, entries: list[bytes]) -> Path:
    entries.sort()
    path = folder / str(number)
    with path.open("wb") as file:
        file.writelines(entries)
    return path


def _read_run(stack: ExitStack, path: Path) -> Iterator[bytes]:
    file: IO[bytes] = stack.enter_context(path.open("rb"))

    def entries() -> Iterator[bytes]:
        while block := file.read(_READ_BYTES):
            for start in range(0, len(block), _ENTRY.size):
                yield block[start : start + _ENTRY.size]

    return entries()
