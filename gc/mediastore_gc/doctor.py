"""Is everything as collection assumes? Each check has one line; the collector's own brakes are
asked again, and the bucket's rules, which only bite later.

Versions keep what the collector deletes, so space never comes back, unless that is meant
(`collection.versioned_bucket`); a rule that expires chunks deletes what is referenced. Both are
refused, here and by a run that would delete.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from uuid import uuid4

from mediastore.catalog.collection import collector_state
from mediastore.catalog.marker import checked_marker
from mediastore.catalog.pool import Catalog
from mediastore.catalog.recount import last_recount
from mediastore.chunkstore.bucket import BucketRules, bucket_rules
from mediastore.chunkstore.keys import DOCUMENT_PREFIX
from mediastore.chunkstore.pages import pages_of
from mediastore.chunkstore.protocol import ChunkStore, ConditionFailed, Entry
from mediastore.clock import Clock
from mediastore.collector_errors import UnfitStore
from mediastore.errors import MediastoreError
from mediastore.settings import CollectionSettings, Settings
from mediastore_gc.safety import CollectionDelays, check_skew

PROBE = f"{DOCUMENT_PREFIX}doctor"


class Health(StrEnum):
    """What a check says."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Checked:
    """One check."""

    name: str
    health: Health
    says: str


def bucket_problems(rules: BucketRules | None, settings: CollectionSettings) -> list[Checked]:
    """What the bucket's rules mean for collection."""
    if rules is None:
        return [Checked("bucket", Health.GOOD, "the chunk store is not a bucket")]
    return [_versions(rules, settings), _expiry(rules), _freezing(rules)]


async def require_fit_bucket(settings: Settings, clock: Clock) -> None:
    """Raises UnfitStore for rules that contradict collection, ChunkStoreUnavailable."""
    rules = await bucket_rules(settings.chunk_store, clock)
    for problem in bucket_problems(rules, settings.collection):
        if problem.health is Health.BAD:
            raise UnfitStore(f"{problem.says}; 'mediastore-gc doctor' has more")


async def examine(
    catalog: Catalog, store: ChunkStore, settings: Settings, clock: Clock
) -> list[Checked]:
    """Every check, whatever the others say."""
    checks: dict[str, Callable[[], Awaitable[str]]] = {
        "delays": lambda: _delays(settings.collection),
        "restore": lambda: _marker(catalog, store),
        "clocks": lambda: _clocks(catalog, clock, settings.collection),
        "pause": lambda: _pause(catalog),
        "conditional puts": lambda: _conditional_puts(store),
        "listing": lambda: _listing(store),
    }
    found = [await _asked(name, check) for name, check in checks.items()]
    found.append(await _recount(catalog, clock, settings.collection))
    try:
        rules = await bucket_rules(settings.chunk_store, clock)
    except MediastoreError as error:
        return [*found, Checked("bucket", Health.BAD, error.detail)]
    return [*found, *bucket_problems(rules, settings.collection)]


def _versions(rules: BucketRules, settings: CollectionSettings) -> Checked:
    name = "versions"
    if rules.versioned is None:
        return Checked(name, Health.WARNING, "the bucket does not say whether it keeps versions")
    if not rules.versioned:
        return Checked(name, Health.GOOD, "the bucket keeps no versions")
    if not settings.versioned_bucket:
        says = "the bucket keeps versions: what is deleted would still be paid for"
        return Checked(name, Health.BAD, f"{says} (collection.versioned_bucket, if that is meant)")
    if rules.keeps_old_versions_days is None:
        return Checked(name, Health.WARNING, "no lifecycle rule expires old versions: they stay")
    days = rules.keeps_old_versions_days
    return Checked(name, Health.GOOD, f"old versions go {days} days after they were deleted")


def _expiry(rules: BucketRules) -> Checked:
    name = "expiry"
    if rules.expiring is None:
        return Checked(name, Health.WARNING, "the bucket does not show its lifecycle rules")
    if rules.expiring:
        named = ", ".join(rules.expiring)
        return Checked(name, Health.BAD, f"lifecycle rules would delete chunks in use: {named}")
    return Checked(name, Health.GOOD, "no lifecycle rule expires chunks")


def _freezing(rules: BucketRules) -> Checked:
    if rules.freezing:
        named = ", ".join(rules.freezing)
        return Checked("freezing", Health.BAD, f"lifecycle rules make chunks unreadable: {named}")
    return Checked("freezing", Health.GOOD, "no lifecycle rule that is shown moves chunks away")


async def _asked(name: str, check: Callable[[], Awaitable[str]]) -> Checked:
    try:
        return Checked(name, Health.GOOD, await check())
    except MediastoreError as error:
        return Checked(name, Health.BAD, error.detail)


async def _delays(settings: CollectionSettings) -> str:
    delays = CollectionDelays.from_settings(settings)
    return f"a doomed key is kept for {delays.window_seconds / 86_400:.1f} days"


async def _marker(catalog: Catalog, store: ChunkStore) -> str:
    marker = await checked_marker(catalog, store)
    return f"the database is not behind the store ({marker.counter} claims)"


async def _clocks(catalog: Catalog, clock: Clock, settings: CollectionSettings) -> str:
    state = await collector_state(catalog)
    apart = check_skew(state, clock.now(), settings.clock_skew_max_seconds)
    return f"database and host are {apart:.1f} s apart"


async def _pause(catalog: Catalog) -> str:
    state = await collector_state(catalog)
    return "not paused" if state.paused_at is None else f"paused: {state.paused_why}"


async def _conditional_puts(store: ChunkStore) -> str:
    """The marker rests on them: a store that ignores the condition would lower it."""
    key = f"{PROBE}-{uuid4().hex}"
    version = await store.put_if(key, b"1", version=None)
    try:
        for stale in (None, '"stale"'):
            try:
                await store.put_if(key, b"2", version=stale)
            except ConditionFailed:
                continue
            raise UnfitStore("the store ignores the condition of a conditional PUT")
        _ = await store.put_if(key, b"3", version=version)
    finally:
        await store.delete_many([key])
    return "the store honours If-Match and If-None-Match"


async def _listing(store: ChunkStore) -> str:
    async with aclosing(pages_of(store, prefix="", after="")) as pages:
        first: list[Entry] = await anext(pages, [])
    keys = [entry.key for entry in first]
    if any(key <= before for before, key in pairwise(keys)):
        raise UnfitStore("the store's listing is not in order")
    return f"the first {len(keys)} keys are in order"


async def _recount(catalog: Catalog, clock: Clock, settings: CollectionSettings) -> Checked:
    last = await last_recount(catalog)
    if last is None:
        return Checked("recount", Health.WARNING, "there was no complete recount yet")
    days = (clock.now() - last.finished_at).total_seconds() / 86_400
    window = settings.recovery_window_seconds / 86_400
    health = Health.GOOD if days <= window + 1 else Health.WARNING
    return Checked("recount", health, f"the last one ended {days:.1f} days ago")
