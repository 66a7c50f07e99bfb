"""Every invariant that can be checked while the service runs: INV-1, 3, 4, 8, 11, 12.

Each step reads whole statements or one snapshot, so nothing in flight looks wrong. Steps are taken
up where a run was stopped: `resume` is what its report said. Mending (`repair`) corrects what only
leaks and raises what protects too little; it deletes nothing, and what is released goes through the
window and a recount like everything else (INV-6, INV-7).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

from mediastore.catalog import auditing
from mediastore.catalog.auditing import BlobCount, CopyName, HashRange, KeyRow, UploadCover
from mediastore.catalog.counting import counting_snapshot
from mediastore.catalog.pool import Catalog
from mediastore.catalog.reading import mark_damaged
from mediastore.chunkstore.protocol import ChunkStore, Entry
from mediastore.collector_errors import CollectorRefused
from mediastore.content.hashing import HASH_BYTES
from mediastore.errors import BadRequest
from mediastore_gc.counting import Drift, ReferenceCheck
from mediastore_gc.findings import SHOWN_MAX, Findings, Kind
from mediastore_gc.listing import live_pages
from mediastore_gc.orphans import KeyMerge, KeysFound, Orphans
from mediastore_gc.progress import Progress

PAGE_ROWS = 1000
UPLOADS_PAGE = 50  # one may have a quarter of a million rows
SNAPSHOT_PAGE_ENTRIES = 20_000
STEPS = ("references", "blobs", "uploads", "keys", "doomed")
_NIL = UUID(int=0)


@dataclass(slots=True)
class Verified:
    """What was looked at, and what was found. `resume`: how to go on; None: it came to the end."""

    prefix: str
    references: int = 0
    chunks: int = 0
    blobs: int = 0
    uploads: int = 0
    keys: int = 0
    findings: Findings = field(default_factory=Findings)
    resume: str | None = None


class Verify:
    """One audit. Used once."""

    def __init__(
        self,
        catalog: Catalog,
        store: ChunkStore,
        range_: HashRange,
        *,
        repair: bool,
        stop: asyncio.Event,
        progress: Progress,
        listed: Callable[[CopyName], AsyncIterator[list[Entry]]] | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._range = range_
        self._repair = repair
        self._stop = stop
        self._progress = progress
        self._listed = listed or (lambda after: live_pages(store, range_, after))
        self._findings = Findings()
        self.report = Verified(range_.prefix, findings=self._findings)

    async def run(self, resume: str | None = None) -> Verified:
        """All steps, or those from where `resume` says.

        Raises BadRequest for a `resume` that no report said, CollectorRefused when another repairs,
        and InvariantBroken when the store's listing is out of order.
        """
        first, cursor = self._where(resume)
        steps: dict[str, Callable[[str], Awaitable[str | None]]] = {
            "references": self._check_references,
            "blobs": self._check_blobs,
            "uploads": self._check_uploads,
            "keys": self._check_keys,
            "doomed": self._check_doomed,
        }
        async with AsyncExitStack() as stack:
            if self._repair:
                await stack.enter_async_context(auditing.alone(self._catalog))
            for step in STEPS[first:]:
                stopped_behind = await steps[step](cursor)
                if stopped_behind is not None:
                    self.report.resume = f"{step}:{stopped_behind}"
                    return self.report
                cursor = ""
        return self.report

    def _where(self, resume: str | None) -> tuple[int, str]:
        step, _, cursor = (resume or f"{STEPS[0]}:").partition(":")
        try:
            _ = UUID(cursor) if step == "uploads" and cursor else bytes.fromhex(cursor)
            return STEPS.index(step), cursor
        except ValueError:
            raise BadRequest(f"no report of 'verify' said {resume!r}") from None

    async def _check_references(self, _cursor: str) -> str | None:
        """INV-4, INV-1: in one snapshot, so from its beginning or not at all."""
        rows = await auditing.estimated_rows(self._catalog, "chunks", "upload_chunks")
        self._progress.begin("references", "rows", rows)
        async with counting_snapshot(self._catalog, SNAPSHOT_PAGE_ENTRIES) as snapshot:
            check = ReferenceCheck(
                snapshot,
                self._range,
                stop=self._stop,
                progress=self._progress,
                on_bad_list=lambda doubt: self._findings.add(Kind.BAD_LIST, doubt, ""),
            )
            drifts = await check.run()
        if check.stopped:
            return ""
        self.report.references, self.report.chunks = check.references, check.chunks
        for hash_ in sorted(check.promised):
            self._findings.add(Kind.CHUNK_NEVER_STORED, hash_.hex(), "a manifest names it")
        for drift in drifts:
            await self._note_drift(drift)
        if check.more_drift:
            raise CollectorRefused(
                "there are more wrong counts than are told apart at once; verify by --prefix"
            )
        return None

    async def _note_drift(self, drift: Drift) -> None:
        about, counts = drift.hash.hex(), f"counted {drift.counted}, the row says {drift.refs}"
        if drift.name is None:
            self._findings.add(Kind.CHUNK_WITHOUT_ROW, about, f"named {drift.counted} times")
            return
        mended = self._repair and await auditing.mend_chunk(
            self._catalog, drift.name, excess=drift.excess
        )
        kind = Kind.REFS_TOO_HIGH if drift.excess > 0 else Kind.REFS_TOO_LOW
        self._findings.add(kind, about, counts, mended=mended)

    async def _check_blobs(self, cursor: str) -> str | None:
        """INV-12, and that objects and variants are counted."""
        rows = await auditing.estimated_rows(self._catalog, "blobs", share=self._range.share)
        self._progress.begin("blobs", "rows", rows)
        after = bytes.fromhex(cursor) if cursor else auditing.just_before(self._range.first)
        while page := await auditing.blob_counts(self._catalog, self._range, after, PAGE_ROWS):
            for blob in page:
                await self._note_blob(blob)
            after = page[-1].hash
            self.report.blobs += len(page)
            self._progress.advance(len(page))
            if self._stop.is_set():
                return after.hex()
        return None

    async def _note_blob(self, blob: BlobCount) -> None:
        if blob.refs != blob.counted:
            low = blob.refs < blob.counted
            kind = Kind.BLOB_REFS_TOO_LOW if low else Kind.BLOB_REFS_TOO_HIGH
        elif blob.is_garbage != (blob.refs == 0):
            kind = Kind.NOT_GARBAGE if blob.is_garbage else Kind.GARBAGE_MISSING
        elif blob.is_put_aside:  # its count is right again
            kind = Kind.BLOB_PUT_ASIDE
        else:
            return
        mended = self._repair and await auditing.mend_blob(self._catalog, blob.hash)
        detail = f"counted {blob.counted}, the row says {blob.refs}"
        self._findings.add(kind, blob.hash.hex(), detail, mended=mended)

    async def _check_uploads(self, cursor: str) -> str | None:
        """INV-1, INV-8 of uploads that are open. They are few: every range looks at all."""
        self._progress.begin(
            "uploads", "rows", await auditing.estimated_rows(self._catalog, "uploads")
        )
        after = UUID(cursor) if cursor else _NIL
        while page := await auditing.upload_covers(self._catalog, after, UPLOADS_PAGE):
            for upload in page:
                self._note_upload(upload)
            after = page[-1].id
            self.report.uploads += len(page)
            self._progress.advance(len(page))
            if self._stop.is_set():
                return str(after)
        return None

    def _note_upload(self, upload: UploadCover) -> None:
        if upload.reached is None:
            return
        if upload.gap or upload.reached < upload.offset:
            detail = f"acknowledged {upload.offset}, referenced to {upload.reached}"
            self._findings.add(Kind.UPLOAD_GAP, str(upload.id), detail)
        if not upload.stored:
            self._findings.add(Kind.UPLOAD_NOT_STORED, str(upload.id), "")

    async def _check_keys(self, cursor: str) -> str | None:
        """INV-1, INV-11: the store's listing beside the rows. `cursor`: hash and generation."""
        share = self._range.share
        rows = await auditing.estimated_rows(self._catalog, "chunks", "doomed", share=share)
        self._progress.begin("keys", "keys", rows)
        after = _copy_at(cursor) if cursor else CopyName.before(self._range)
        merge = KeyMerge(
            self._catalog,
            self._store,
            self._range,
            stop=self._stop,
            progress=self._progress,
            on_orphans=self._note_orphans,
            on_missing=self._note_missing,
        )
        found = await merge.run(self._listed(after), after)
        self.report.keys = found.keys
        behind = found.stopped_behind
        if behind is None:
            return None
        return f"{behind.hash.hex()}{behind.generation:016x}" if behind.generation >= 0 else ""

    async def _note_orphans(self, orphans: Orphans, _found: KeysFound) -> None:
        for name, size in orphans:
            self._findings.add(Kind.ORPHAN, name.key, f"{size} bytes; see 'orphans'")

    async def _note_missing(self, row: KeyRow) -> None:
        if self._repair:
            await mark_damaged(self._catalog, row.hash, row.generation)
        detail = "marked: the next upload of the same bytes heals it" if self._repair else ""
        self._findings.add(Kind.KEY_MISSING, row.name.key, detail)

    async def _check_doomed(self, _cursor: str) -> str | None:
        """INV-3, and what earlier releases have put aside."""
        for name in await auditing.revived_keys(self._catalog, SHOWN_MAX):
            self._findings.add(Kind.DOOMED_KEY_IN_USE, name.key, "")
        for hash_ in await auditing.quarantined_hashes(self._catalog, SHOWN_MAX):
            self._findings.add(Kind.QUARANTINED, hash_.hex(), "releases did not fit its row")
        return None


def _copy_at(cursor: str) -> CopyName:
    at = bytes.fromhex(cursor)
    return CopyName(at[:HASH_BYTES], int.from_bytes(at[HASH_BYTES:]))
