"""Cutting contents by different layouts: what it saves, how large chunks become, how fast."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3
from pyfastcdc import FastCDC, NormalizedChunking

from mediastore.content.chunker import SEED, Chunker
from mediastore.content.hashing import BlobHasher, name_chunk

MIB = 1024 * 1024
READ_BYTES = 256 * 1024

Cut = Callable[[bytes], Iterable[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of one way to cut, in bytes; min and max follow the average as in the design."""

    average: int

    @property
    def min(self) -> int:
        return self.average // 4

    @property
    def max(self) -> int:
        return 2 * self.average

    @property
    def name(self) -> str:
        return f"{self.average // MIB} MiB"

    def chunker(self) -> Chunker:
        return Chunker(self.min, self.average, self.max)


LAYOUTS = (Layout(1 * MIB), Layout(2 * MIB), Layout(4 * MIB))


def cut_as_served(layout: Layout) -> Callable[[bytes], list[bytes]]:
    """With the service's chunker, fed as from a socket."""

    def cut(content: bytes) -> list[bytes]:
        chunker = layout.chunker()
        chunks = []
        for start in range(0, len(content), READ_BYTES):
            chunker.feed(memoryview(content)[start : start + READ_BYTES])
            chunks += chunker.take()
        return chunks + chunker.flush()

    return cut


def cut_normalized(layout: Layout, level: NormalizedChunking) -> Cut:
    """With FastCDC at another level of normalization than the service's."""
    fastcdc = FastCDC(
        layout.average,
        min_size=layout.min,
        max_size=layout.max,
        normalized_chunking=level,
        seed=SEED,
    )
    return lambda content: (chunk.data for chunk in fastcdc.cut_buf(content))


def cut_fixed(layout: Layout) -> Cut:
    """Every `average` bytes, whatever is there."""
    return lambda content: (
        memoryview(content)[start : start + layout.average]
        for start in range(0, len(content), layout.average)
    )


def saved_share(versions: Sequence[bytes], cut: Cut) -> float:
    """The share of all versions but the first that was stored already when it came."""
    stored: set[bytes] = set()
    total = saved = 0
    for index, version in enumerate(versions):
        for chunk in cut(version):
            name = blake3(chunk).digest()
            if index:
                total += len(chunk)
                saved += len(chunk) if name in stored else 0
            stored.add(name)
    return saved / total


def mean_size(content: bytes, cut: Cut) -> float:
    """Mean size of the chunks of `content`, in bytes."""
    return len(content) / sum(1 for _ in cut(content))


def forced_share(content: bytes, cut: Cut, layout: Layout) -> float:
    """The share of chunks that end at the max, where content had no say."""
    sizes = [len(chunk) for chunk in cut(content)]
    return sum(size == layout.max for size in sizes) / len(sizes)


def ingest_rates(content: bytes, layouts: Sequence[Layout], *, rounds: int = 7) -> list[float]:
    """Bytes a second of cutting, naming and the blob's running hash on one core, for each layout.

    The best of `rounds`, which alternate between layouts: a busy machine then slows all of them.
    """
    best = dict.fromkeys(layouts, 0.0)
    for _ in range(rounds):
        for layout in layouts:
            begun = time.perf_counter()
            _ingest(content, layout)
            best[layout] = max(best[layout], len(content) / (time.perf_counter() - begun))
    return [best[layout] for layout in layouts]


def _ingest(content: bytes, layout: Layout) -> None:
    chunker, hasher = layout.chunker(), BlobHasher()
    for start in range(0, len(content), READ_BYTES):
        piece = memoryview(content)[start : start + READ_BYTES]
        hasher.update(piece)
        chunker.feed(piece)
        for chunk in chunker.take():
            name_chunk(chunk)
    for chunk in chunker.flush():
        name_chunk(chunk)
