"""How audits end, kept for those who watch: `status`, and the metrics of a collector."""

from mediastore.catalog.pool import Catalog
from mediastore.catalog.watching import record_audit
from mediastore_gc.findings import Kind, Severity
from mediastore_gc.orphans import KeysFound
from mediastore_gc.scrub import Scrubbed
from mediastore_gc.verify import Verified

AUDITS = ("verify", "orphans", "scrub")


async def record_verify(catalog: Catalog, found: Verified) -> None:
    unmended = {kind: found.findings.unmended_of(kind) for kind in Kind}
    await record_audit(
        catalog,
        "verify",
        complete=found.resume is None,
        dangers=sum(n for kind, n in unmended.items() if kind.severity is Severity.DANGER),
        leaks=sum(n for kind, n in unmended.items() if kind.severity is Severity.LEAK),
    )


async def record_orphans(catalog: Catalog, found: KeysFound, *, doomed: int) -> None:
    await record_audit(
        catalog,
        "orphans",
        complete=found.stopped_behind is None,
        dangers=found.missing,
        leaks=max(0, found.orphans - doomed),
    )


async def record_scrub(catalog: Catalog, found: Scrubbed) -> None:
    await record_audit(
        catalog,
        "scrub",
        complete=found.resume is None,
        dangers=found.bad - len(found.healed),
        leaks=0,
    )
