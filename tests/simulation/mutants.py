"""The code without one of its guards. Each must make some seed red: else the guard would be there
in vain, or the simulation could not have failed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from mediastore_gc import deleting, safety, undeleting
from mediastore_gc.plan import Plan

from mediastore.uploads import batch, session
from mediastore.uploads.staging import commit_batch

LOCK = "upload_lock_v1(p_upload, p_epoch, p_offset)"
ANY_EPOCH = LOCK.replace("p_epoch", "(SELECT epoch FROM uploads WHERE id = p_upload)")
ANY_OFFSET = LOCK.replace("p_offset", '(SELECT "offset" FROM uploads WHERE id = p_upload)')
COMMITS = (
    "upload_commit_v1",
    "upload_commit_v2",
    "upload_commit_and_finish_v1",
    "staged_commit_v1",
)
RELEASE = 'PERFORM upload_release_v1(p_upload, v_upload."offset");'
MET = "EXISTS (SELECT 1 FROM recount_kept AS k WHERE k.recount = v_recount.id AND k.hash = d.hash)"
IN_SNAPSHOT = "pg_visible_in_snapshot(p_key.transaction, p_recount.snapshot)"
BEFORE_PASS = "AND p_key.since <= p_recount.started_at"
COUNTED, UNCOUNTED = "SET refs = c.refs + excluded.refs", "SET refs = c.refs"
SINCE_THE_LAST = "SET since = greatest(d.since, v_since), transaction"
DOOMED_NOW = "SELECT gone.hash, gone.generation, gone.size, v_since FROM gone"
TRASH_HELD = "AND (NOT v_holds OR NOT object_is_held_v1(o.tenant, o.owner, o.id))"
GARBAGE_HELD = "AND (NOT v_holds OR NOT blob_is_held_v1(g.blob))"
KEY_HELD = "AND NOT EXISTS (SELECT 1 FROM held_keys AS h WHERE h.hash = x.hash)"
CLAIM = "SET claimed_at = v_now, attempts = x.attempts + 1"
SKEW = "abs(extract(epoch FROM v_now - p_host_time)) > p_skew_max_seconds"
SAME_GENERATION = "AND c.generation = v_chunk.generation"
WENT_BACK = "v_now < v_state.clock_high - interval '1 second'"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`sql`: function, what is in it, what is there instead. `python` patches modules. `seed` was
    red when it was last looked at: it is tried first.
    """

    name: str
    scene: str
    sql: tuple[tuple[str, str, str], ...] = ()
    python: Callable[[pytest.MonkeyPatch], None] = lambda _: None
    seed: int = 0

    async def install(
        self, connection: "asyncpg.Connection[Any]", patch: pytest.MonkeyPatch
    ) -> None:
        for function, old, new in self.sql:
            text = await connection.fetchval("SELECT pg_get_functiondef($1::regproc)", function)
            assert old in text, f"{function} has not what mutant {self.name} takes away"
            await connection.execute(text.replace(old, new))
        self.python(patch)


def _acknowledge_what_is_staged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(session, "stage_batch", commit_batch)


def _one_generation(patch: pytest.MonkeyPatch) -> None:
    for module in (batch, undeleting):
        patch.setattr(module, "new_generation", lambda: 7)


def _believe_every_delete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deleting, "_errors_by_name", lambda _names, _results: {})


def _no_brake(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_catalog: object, _plan: object) -> None:
        return None

    patch.setattr(Plan, "check_share", lambda _: None)
    patch.setattr("mediastore_gc.collector.check_share_of_day", nothing)


def _no_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(safety.CollectionDelays, "window_seconds", 0)


def _any_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mediastore_gc.collector.check_state", lambda *_: None)
    patch.setattr(safety.ClockWatch, "check", lambda *_: None)


# No guard: a bug that counts no second reference. It costs space, and no byte.
UNCOUNTED_REFERENCES = Mutant(
    "second references", "lows", (("upload_reference_v1", COUNTED, UNCOUNTED),)
)
MUTANTS = (
    Mutant(
        "epoch at intent",
        "uploads",
        tuple((name, LOCK, ANY_EPOCH) for name in ("upload_intent_v1", "staged_intent_v1")),
        seed=1,
    ),
    Mutant("epoch at commit", "uploads", tuple((name, LOCK, ANY_EPOCH) for name in COMMITS)),
    Mutant(
        "offset at commit", "storm", tuple((name, LOCK, ANY_OFFSET) for name in COMMITS), seed=1
    ),
    Mutant("generation at commit", "twice", (("upload_stored_v1", SAME_GENERATION, ""),), seed=1),
    Mutant("release on takeover", "uploads", (("upload_take_v2", RELEASE, ""),), seed=4),
    Mutant("recount before claim", "lows", (("doomed_claim_v3", MET, "false"),)),
    Mutant(
        "snapshot at claim",
        "lows",
        (("doomed_is_free_v1", IN_SNAPSHOT, "true"), ("doomed_is_free_v1", BEFORE_PASS, "")),
        seed=7,
    ),
    Mutant(
        "claim before delete",
        "verbs",
        (
            ("doomed_claim_v3", CLAIM, "SET size = x.size"),
            ("doomed_forget_v1", "AND x.claimed_at IS NOT NULL", ""),
        ),
    ),
    Mutant("window", "uploads", python=_no_window),
    Mutant(
        "window after the row",  # it begins when the object was made, say
        "uploads",
        (
            (
                "references_release_v3",
                DOOMED_NOW,
                DOOMED_NOW.replace("v_since", "v_since - interval '1000 seconds'"),
            ),
        ),
    ),
    Mutant(
        "window after the last reference",  # of a key that a miscount has doomed early
        "windows",
        (
            ("upload_reference_v1", COUNTED, UNCOUNTED),
            ("references_release_v3", SINCE_THE_LAST, "SET transaction"),
        ),
    ),
    Mutant(
        "hold",
        "verbs",
        (("trash_purge_v4", TRASH_HELD, ""), ("garbage_remove_v3", GARBAGE_HELD, "")),
        seed=1,
    ),
    Mutant("hold at claim", "verbs", (("doomed_claim_v3", KEY_HELD, ""),), seed=4),
    Mutant("staging", "uploads", python=_acknowledge_what_is_staged),
    Mutant("no way back from doomed", "uploads", python=_one_generation),
    Mutant(
        "garbage that is linked",
        "uploads",
        (("blob_link_v1", "DELETE FROM garbage WHERE blob = p_blob;", ""),),
        seed=7,
    ),
    Mutant("answers of deletes", "storm", python=_believe_every_delete),
    Mutant("delete share", "brake", python=_no_brake),
    Mutant(
        "clocks",
        "clocks",
        (("collector_lock_v1", SKEW, "false"), ("collector_lock_v1", WENT_BACK, "false")),
        _any_clock,
        seed=35,
    ),
)
