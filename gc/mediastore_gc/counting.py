"""Compares every chunk's count with the references there are (INV-4), in memory that does not grow.

Hashes fall into buckets. Each bucket keeps one number: the counts of its rows less its references,
each weighted by its own hash. It is zero if every count of the bucket is exact, and otherwise zero
by an accident of 2^-63. A second look at the same snapshot counts, hash by hash, the buckets that
are not zero. Lists are checked on the way, and that none but uploads name what is not yet stored.
"""

import asyncio
import struct
from array import array
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from mediastore.catalog.auditing import CopyName, HashRange
from mediastore.catalog.counting import CountingSnapshot
from mediastore.catalog.recount import ListPiece
from mediastore.collector_errors import RecountFailed
from mediastore_gc.manifests import ListReader, hashes_of
from mediastore_gc.progress import Progress

BUCKET_BITS = 20
SUSPECTS_MAX = 200_000  # hashes that the second look counts one by one
UNSTORED_MAX = 1_000_000  # rows of uploads in flight; more than that cannot be in flight
_MODULUS = 1 << 64
_WORDS = struct.Struct("<4Q")


@dataclass(frozen=True, slots=True)
class Drift:
    """A hash whose row counts `refs` where `counted` references are. No row: `name` is None."""

    hash: bytes
    name: CopyName | None
    refs: int
    counted: int

    @property
    def excess(self) -> int:
        return self.refs - self.counted


class BucketSums:
    """One number a bucket."""

    def __init__(self, bits: int = BUCKET_BITS) -> None:
        self._mask = (1 << bits) - 1
        self._sums = array("Q", bytes(8 << bits))

    def bucket(self, hash_: bytes) -> int:
        """Not from the hash's beginning: a range of hashes is to fill all buckets."""
        return int(_WORDS.unpack(hash_)[1]) & self._mask

    def add(self, hash_: bytes, times: int) -> None:
        _, word, weight, _ = _WORDS.unpack(hash_)
        bucket = word & self._mask
        self._sums[bucket] = (self._sums[bucket] + times * (weight | 1)) % _MODULUS

    def take(self, hashes: Iterable[bytes]) -> None:
        """One reference less for each: the hot loop of the check."""
        sums, mask, unpack = self._sums, self._mask, _WORDS.unpack
        for hash_ in hashes:
            _, word, weight, _ = unpack(hash_)
            bucket = word & mask
            sums[bucket] = (sums[bucket] - (weight | 1)) % _MODULUS

    def uneven(self) -> set[int]:
        return {bucket for bucket, total in enumerate(self._sums) if total}


class ReferenceCheck:
    """Two looks at one snapshot. `stopped`: it was asked to stop, and found nothing out."""

    def __init__(
        self,
        snapshot: CountingSnapshot,
        range_: HashRange,
        *,
        stop: asyncio.Event,
        progress: Progress,
        on_bad_list: Callable[[str], None],
        bucket_bits: int = BUCKET_BITS,
    ) -> None:
        self._snapshot = snapshot
        self._range = range_
        self._stop = stop
        self._progress = progress
        self._on_bad_list = on_bad_list
        self._sums = BucketSums(bucket_bits)
        self._unstored: set[bytes] = set()
        self.references = 0
        self.chunks = 0
        self.promised: set[bytes] = set()
        self.more_drift = False
        self._last_doubt = ""

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    async def run(self) -> list[Drift]:
        """Hashes whose counts are wrong; `promised` are those that a manifest names although they
        were never stored (INV-1). `more_drift`: there are more than are counted one by one.
        """
        async with aclosing(self._snapshot.chunks(self._range)) as pages:
            async for page in pages:
                for chunk in page:
                    self._sums.add(chunk.hash, chunk.refs)
                    if not chunk.stored and len(self._unstored) < UNSTORED_MAX:
                        self._unstored.add(chunk.hash)
                self.chunks += len(page)
                self._progress.advance(len(page))
                if self.stopped:
                    return []
        async with aclosing(self._references(told=True)) as pages:
            async for is_manifest, hashes in pages:
                self._sums.take(hashes)
                self.references += len(hashes)
                if is_manifest and self._unstored:
                    self.promised.update(self._unstored.intersection(hashes))
                self._progress.advance(len(hashes))
                if self.stopped:
                    return []
        uneven = self._sums.uneven()
        return await self._counted(uneven) if uneven else []

    async def _counted(self, uneven: set[int]) -> list[Drift]:
        """The second look: of these buckets alone, each hash by itself."""
        rows: dict[bytes, tuple[CopyName, int]] = {}
        counted: dict[bytes, int] = {}
        async with aclosing(self._snapshot.chunks(self._range)) as pages:
            async for page in pages:
                for chunk in page:
                    if self._sums.bucket(chunk.hash) in uneven:
                        if len(counted) >= SUSPECTS_MAX:
                            self.more_drift = True
                            continue
                        rows[chunk.hash] = (CopyName(chunk.hash, chunk.generation), chunk.refs)
                        counted[chunk.hash] = 0
        async with aclosing(self._references(told=False)) as references:
            async for _, hashes in references:
                for hash_ in hashes:
                    if self._sums.bucket(hash_) in uneven:
                        if hash_ in counted:
                            counted[hash_] += 1
                        elif len(counted) < SUSPECTS_MAX and not self.more_drift:
                            counted[hash_] = 1
                if self.stopped:
                    return []
        drifts = [_drift(hash_, rows.get(hash_), count) for hash_, count in counted.items()]
        return sorted((drift for drift in drifts if drift.excess), key=lambda drift: drift.hash)

    async def _references(self, *, told: bool) -> AsyncGenerator[tuple[bool, list[bytes]], None]:
        """References of the range, and whether a manifest names them."""
        async with aclosing(self._snapshot.upload_chunks(self._range)) as pages:
            async for hashes in pages:
                yield False, hashes
        first, last = self._range.first, self._range.last
        reader = ListReader()
        async with aclosing(self._snapshot.lists()) as pieces:
            async for piece in pieces:
                hashes, reader = self._read(piece, reader, told=told)
                if self._range.prefix:
                    hashes = [hash_ for hash_ in hashes if first <= hash_ <= last]
                yield piece.size is not None, hashes
        if told:
            self._doubt(reader.close)

    def _read(
        self, piece: ListPiece, reader: ListReader, *, told: bool
    ) -> tuple[list[bytes], ListReader]:
        """The piece's hashes, and who reads the next one. A doubt may be about the list before, so
        a new reader tries once more; then whatever is readable counts.
        """
        for _ in range(2):
            try:
                return reader.read(piece), reader
            except RecountFailed as doubt:
                reader = ListReader()
                if told and doubt.detail != self._last_doubt:
                    self._last_doubt = doubt.detail
                    self._on_bad_list(doubt.detail)
        return hashes_of(piece.entries), reader

    def _doubt(self, check: Callable[[], None]) -> None:
        try:
            check()
        except RecountFailed as doubt:
            self._on_bad_list(doubt.detail)


def _drift(hash_: bytes, row: tuple[CopyName, int] | None, counted: int) -> Drift:
    return Drift(hash_, None, 0, counted) if row is None else Drift(hash_, *row, counted)
