"""The budget of a run: reserved before, given back after, never exceeded."""

from hypothesis import given
from hypothesis import strategies as st
from mediastore_gc.limits import PAUSE_MAX_SECONDS, RunBudget, RunLimits

from mediastore.clock import SystemClock


@given(
    st.integers(1, 100),
    st.integers(1, 10_000),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 300))),
)
def test_what_is_spent_never_exceeds_the_limits(
    objects_max: int, bytes_max: int, workers: int, batches: list[tuple[int, int, int]]
) -> None:
    budget = RunBudget(RunLimits(bytes_max, objects_max, workers=workers), SystemClock())
    keys = size = 0
    for wanted, claimed, claimed_bytes in batches:
        granted, granted_bytes = budget.reserve_keys(wanted)
        claimed, claimed_bytes = min(claimed, granted), min(claimed_bytes, granted_bytes)
        budget.return_keys(granted - claimed, granted_bytes - claimed_bytes)
        keys, size = keys + claimed, size + claimed_bytes
        assert keys <= objects_max
        assert size <= bytes_max


def test_workers_that_reserve_at_once_share_what_is_left() -> None:
    budget = RunBudget(RunLimits(bytes_max=100, objects_max=15, workers=3), SystemClock())
    reserved = [budget.reserve_keys(10) for _ in range(3)]
    assert [keys for keys, _ in reserved] == [10, 5, 0]
    assert sum(size for _, size in reserved) <= 100


def test_without_a_limit_every_worker_gets_a_batch() -> None:
    budget = RunBudget(RunLimits(workers=3), SystemClock())
    for _ in range(5):
        reserved = [budget.reserve_keys(10) for _ in range(3)]
        assert [keys for keys, _ in reserved] == [10, 10, 10]
        assert all(size > 1 << 60 for _, size in reserved)
        for keys, size in reserved:
            budget.return_keys(keys - 5, size - 500)


def test_a_paced_batch_is_soon_over() -> None:
    budget = RunBudget(RunLimits(rate=10), SystemClock())
    keys, _ = budget.reserve_keys(1000)
    assert keys == 10 * PAUSE_MAX_SECONDS
