"""Explain: why an object, blob or chunk is kept, or when it went. Looking changes nothing."""

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mediastore.catalog import explaining as facts
from mediastore.catalog.erasing import erasure_of
from mediastore.catalog.holds import holds_of
from mediastore.catalog.pool import Catalog
from mediastore.catalog.undeleting import Tombstone, find_object, find_purged, purged_of_blob
from mediastore.errors import NotFound
from mediastore.settings import CollectionSettings
from mediastore_gc.progress import Progress


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that keeps it, `times` over."""

    kind: str
    id: str
    times: int = 1
    about: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of its life; `expected`: if nothing else happens, not before this."""

    at: datetime
    what: str
    expected: bool = False


@dataclass(slots=True)
class Explanation:
    """`why` it is kept, or what has become of it, every reference, and its timeline."""

    kind: str
    id: str
    why: str
    facts: dict[str, Any] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    timeline: list[Moment] = field(default_factory=list)

    def happened(self, at: datetime | None, what: str) -> None:
        if at is not None:
            self.timeline.append(Moment(at, what))

    def expects(self, at: datetime, what: str) -> None:
        self.timeline.append(Moment(at, what, expected=True))


class Explainer:
    def __init__(self, catalog: Catalog, settings: CollectionSettings, progress: Progress) -> None:
        self._catalog = catalog
        self._progress = progress
        self._revive = timedelta(seconds=settings.revive_delay_seconds)
        self._window = timedelta(seconds=settings.window_seconds)

    async def explain(self, target: UUID | bytes) -> list[Explanation]:
        """An object and its blob; or the blob and the chunk of that hash. Raises NotFound."""
        if isinstance(target, UUID):
            found = await self._object(target)
        else:
            each = [await self._blob(target), await self._chunk(target)]
            found = [one for one in each if one is not None]
        if not found:
            raise NotFound("nothing is known of that; it never was here, or went long ago")
        for one in found:
            one.timeline.sort(key=lambda moment: moment.at)
        return found

    async def _object(self, id_: UUID) -> list[Explanation]:
        upload = await facts.upload_facts(self._catalog, id_)
        if upload is not None:
            made = Explanation("upload", str(id_), f"an upload that is {upload.state}")
            made.facts = {"tenant": upload.tenant, "owner": upload.owner, "offset": upload.offset}
            made.happened(upload.created_at, "begun")
            made.expects(upload.expires_at, "expires unless it goes on")
            return [made]
        live = await find_object(self._catalog, id_)
        known = live or await find_purged(self._catalog, id_)
        if known is None:
            return await self._erased(id_)
        made = Explanation("object", str(id_), "live: nobody has deleted it")
        made.facts = {"tenant": known.tenant, "owner": known.owner, "blob": known.blob.hex()}
        made.happened(known.created_at, "created")
        made.happened(known.deleted_at, "deleted: into the trash")
        if live is None:
            made.why = "purged: only its blob can still be there; 'undelete' tries"
            made.happened(getattr(known, "purged_at", None), "purged from the trash")
        elif live.purge_at is not None:
            made.why = "in the trash"
            made.expects(live.purge_at, "purged, by its tenant's policy")
        for hold in await holds_of(self._catalog, known.tenant, known.owner, id_):
            made.references.append(Reference("hold", str(hold.id), about=hold.why))
            made.happened(hold.created_at, f"hold {hold.id}: {hold.why}")
            made.why += f"; hold {hold.id} keeps it"
        blob = await self._blob(known.blob)
        return [made] if blob is None else [made, blob]

    async def _erased(self, id_: UUID) -> list[Explanation]:
        erased = await erasure_of(self._catalog, id_)
        if erased is None:
            return []
        made = Explanation("object", str(id_), f"erased, by erasure {erased[0]}: it is gone")
        made.happened(erased[1], "its erasure was asked for")
        return [made]

    async def _blob(self, hash_: bytes) -> Explanation | None:
        known = await facts.blob_facts(self._catalog, hash_)
        tombstones = await facts.tombstones_of_blob(self._catalog, hash_)
        purged = await purged_of_blob(self._catalog, hash_)
        if known is None and not tombstones and not purged:
            return None
        made = Explanation("blob", hash_.hex(), "removed: no bytes are known of")
        for each in purged:
            made.happened(each.purged_at, f"object {each.id} of {each.tenant} purged")
            for hold in await holds_of(self._catalog, each.tenant, each.owner, each.id):
                made.references.append(Reference("hold", str(hold.id), about=hold.why))
        for tombstone in tombstones:
            made.happened(tombstone.since, "removed, its chunks released")
        if known is not None:
            made.happened(known.created_at, "first stored")
            await self._kept_blob(made, hash_, known)
        elif tombstones:
            await self._removed_blob(made, hash_, tombstones[0])
        return made

    async def _kept_blob(self, made: Explanation, hash_: bytes, known: facts.BlobFacts) -> None:
        made.facts = {"size": known.size, "refs": known.refs, "chunks": known.chunks}
        for each in await facts.objects_of_blob(self._catalog, hash_):
            state = "live" if each.deleted_at is None else "in the trash"
            about = f"{state}, tenant {each.tenant}, owner {each.owner}"
            made.references.append(Reference("object", str(each.id), about=about))
        for source, transform in await facts.sources_of_variant(self._catalog, hash_):
            made.references.append(Reference("variant", source.hex(), about=transform))
        made.why = f"kept: {known.refs} references"
        if known.garbage_since is not None:
            made.why = "garbage: nothing refers to it; an upload of the same bytes brings it back"
            made.happened(known.garbage_since, "its last reference went")
            due = known.garbage_since + self._revive
            made.expects(due, "removed, its chunks released")
            made.expects(due + self._window, "its own chunks deleted, after a recount")
        if known.put_aside_since is not None:
            made.why = (
                "PUT ASIDE: it is counted too low, so nothing of it is collected before "
                f"'verify --repair' has counted it anew ({made.why})"
            )
            made.happened(known.put_aside_since, "put aside: counted too low")
            made.timeline = [moment for moment in made.timeline if not moment.expected]

    async def _removed_blob(self, made: Explanation, hash_: bytes, tombstone: Tombstone) -> None:
        releasing = await facts.unlinking_references(self._catalog, hash_)
        doomed = await facts.doomed_of_tombstone(self._catalog, tombstone)
        made.facts = {
            "size": tombstone.size,
            "chunks": tombstone.chunks,
            "releasing": releasing,
            "doomed_keys": doomed.count,
            "doomed_bytes": doomed.bytes,
            "claimed_keys": doomed.claimed,
        }
        made.why = (
            f"removed: {doomed.count} of its keys still wait for the recovery window or a recount"
            if doomed.count or releasing
            else "removed, and its own chunks deleted; what it shared with others is kept"
        )
        made.happened(doomed.oldest, "the first of its keys that still wait doomed")
        if doomed.newest is not None:
            made.expects(doomed.newest + self._window, "the last of them deleted, after a recount")

    async def _chunk(self, hash_: bytes) -> Explanation | None:
        known = await facts.chunk_facts(self._catalog, hash_)
        doomed = await facts.doomed_facts(self._catalog, hash_)
        if known is None and not doomed:
            return None
        made = Explanation("chunk", hash_.hex(), "doomed: nothing refers to it")
        if known is not None:
            made.why = f"kept: {known.refs} references"
            made.facts = {
                "generation": known.generation,
                "size": known.size,
                "refs": known.refs,
                "stored": known.stored,
            }
            made.happened(known.damaged_at, "found DAMAGED")
            await self._references(made, hash_, known.refs)
        quarantined = await facts.quarantined_since(self._catalog, hash_)
        made.happened(quarantined, "QUARANTINED: counts did not fit, so it is never removed")
        for key in doomed:
            self._doomed_key(made, key)
        return made

    def _doomed_key(self, made: Explanation, key: facts.DoomedFacts) -> None:
        name = f"key {key.generation:016x}"
        made.happened(key.since, f"{name} doomed")
        made.happened(key.claimed_at, f"{name} claimed: it is being deleted")
        if key.last_error is not None:
            made.facts[f"{name} was refused"] = f"{key.last_error} ({key.attempts} attempts)"
        if key.kept_by_recount is not None:
            made.facts[f"{name} was kept"] = f"recount {key.kept_by_recount} met a reference"
        if key.holds:
            made.facts[f"{name} is held"] = f"by {key.holds} holds"
        made.expects(key.since + self._window, f"{name} deleted, after a recount")

    async def _references(self, made: Explanation, hash_: bytes, refs: int) -> None:
        """What names a chunk. No index leads there, so every manifest is read until all are met."""
        for upload, times in (await facts.uploads_naming(self._catalog, hash_)).items():
            made.references.append(Reference("upload", str(upload), times))
        for list_, times in (await facts.unlinking_naming(self._catalog, hash_)).items():
            made.references.append(Reference("unlinking", str(list_), times))
        missing = refs - sum(reference.times for reference in made.references)
        about = await facts.manifests_about(self._catalog)
        self._progress.begin("looking through manifests", "manifests", about or None)
        async with aclosing(facts.manifests_naming(self._catalog, hash_)) as pages:
            async for page in pages:
                self._progress.advance(page.read)
                for blob, times in page.naming.items():
                    made.references.append(Reference("manifest", blob.hex(), times))
                    missing -= times
                if missing <= 0:
                    break
        made.facts["references_not_found"] = max(0, missing)
