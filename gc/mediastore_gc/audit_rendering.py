"""What the auditing commands say to people."""

from collections.abc import Iterator

from mediastore_gc.findings import Severity
from mediastore_gc.hurt import Hurt
from mediastore_gc.orphans import KeysFound
from mediastore_gc.reconcile import Reconciled
from mediastore_gc.rendering import human_bytes
from mediastore_gc.scrub import Scrubbed
from mediastore_gc.verify import Verified

OBJECTS_SHOWN = 20


def verified_lines(found: Verified, *, repaired: bool) -> Iterator[str]:
    where = f" whose hashes begin with {found.prefix}" if found.prefix else ""
    yield (
        f"{found.chunks:,} chunks{where} with {found.references:,} references, {found.blobs:,} "
        f"blobs, {found.uploads:,} uploads, {found.keys:,} keys."
    )
    findings = found.findings
    for kind, count in sorted(findings.met.items()):
        danger = "DANGER" if kind.severity is Severity.DANGER else "leak"
        mended = findings.mended[kind]
        yield f"  {danger:<7}{kind.value}: {count:,}" + (f", {mended:,} mended" if mended else "")
    for item in findings.shown:
        yield f"    {item.kind.value} {item.about} {item.detail}".rstrip()
    if not findings.met:
        yield "Nothing was found."
    elif not repaired:
        yield "Nothing was changed; 'verify --repair' mends what can be mended without deleting."


def orphans_lines(found: KeysFound, doomed: int, *, dry_run: bool) -> Iterator[str]:
    yield f"{found.keys:,} keys ({human_bytes(found.bytes)}) and {found.rows:,} rows compared."
    yield f"  keys without a row: {found.orphans:,} ({human_bytes(found.orphan_bytes)})"
    yield f"  rows without bytes: {found.missing:,} ({human_bytes(found.missing_bytes)})"
    if found.foreign:
        yield f"  not keys of chunks, left alone: {found.foreign:,}"
    for key in found.first_missing:
        yield f"    missing {key}"
    if dry_run:
        yield "This was a dry run and changed nothing; 'orphans --delete' dooms keys without a row."
    else:
        yield f"{doomed:,} keys doomed; 'run --delete' deletes them after the recovery window."


def scrubbed_lines(found: Scrubbed, *, dry_run: bool) -> Iterator[str]:
    yield f"{found.chunks:,} chunks ({human_bytes(found.bytes)}) read back."
    for name, keys in (
        ("damaged", found.damaged),
        ("missing", found.missing),
        ("healed", found.healed),
    ):
        for key in keys:
            yield f"  {name} {key}"
    yield from _hurt_lines(found.hurt)
    if not found.bad:
        yield "All of them have the hash that names them."
    elif dry_run:
        yield "Nothing was marked; without --dry-run they are, and the next upload heals them."


def reconciled_lines(found: Reconciled) -> Iterator[str]:
    size = human_bytes(found.missing_bytes)
    yield f"{found.checked:,} chunks checked; {found.missing:,} missing or cut short ({size})."
    if found.erasures:
        yield (
            f"{len(found.erasures):,} erasures that this database does not know: the next runs "
            "erase that again, and what is missing of it is no loss; see 'erase list'."
        )
    for key in found.bad_records:
        yield f"  {key} makes no sense: what was erased there is not known"
    yield from _hurt_lines(found.hurt)
    if found.orphans:
        yield (
            f"{found.orphans:,} keys ({human_bytes(found.orphan_bytes)}) have no row: uploads that "
            "this database does not know any more; see 'orphans'."
        )
    if found.applied:
        yield "A new incarnation has begun; collectors may run."
    else:
        yield "Nothing was changed; add --apply to mark these and begin a new incarnation."


def _hurt_lines(hurt: Hurt) -> Iterator[str]:
    more = " at least" if hurt.more else ""
    if hurt.objects or hurt.uploads:
        yield f"That hurts{more} {len(hurt.objects):,} objects, {len(hurt.uploads):,} uploads:"
    for item in hurt.objects[:OBJECTS_SHOWN]:
        yield f"  object {item.id} of {item.tenant}/{item.owner}: {item.name}"
    if len(hurt.objects) > OBJECTS_SHOWN:
        yield "  … all of them with --json"
