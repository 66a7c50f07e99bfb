"""The memory budget: in turn, never over the limit, nothing lost when callers give up."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediastore.errors import Overloaded
from mediastore.memory import MemoryBudget, Reservation


async def test_a_large_request_is_not_starved_by_small_ones_behind_it() -> None:
    budget = MemoryBudget(100)
    await budget.acquire(80, timeout_seconds=1)
    large = asyncio.create_task(budget.acquire(90, timeout_seconds=1))
    await asyncio.sleep(0)
    assert not budget.try_acquire(10)
    budget.release(80)
    await large
    assert budget.in_use_bytes == 90


async def test_waiting_ends_in_overloaded_and_takes_nothing() -> None:
    budget = MemoryBudget(100)
    await budget.acquire(100, timeout_seconds=1)
    with pytest.raises(Overloaded):
        await budget.acquire(1, timeout_seconds=0.01)
    assert (budget.in_use_bytes, budget.waiting) == (100, 0)


async def test_a_waiter_cancelled_when_it_was_granted_gives_it_back() -> None:
    budget = MemoryBudget(100)
    await budget.acquire(100, timeout_seconds=1)
    waiter = asyncio.create_task(budget.acquire(60, timeout_seconds=1))
    behind = asyncio.create_task(budget.acquire(100, timeout_seconds=1))
    await asyncio.sleep(0)
    budget.release(100)  # grants the first waiter, whose task has not run yet
    waiter.cancel()
    await behind
    assert waiter.cancelled()
    assert budget.in_use_bytes == 100


async def test_a_waiter_cancelled_before_its_turn_is_passed_over() -> None:
    budget = MemoryBudget(100)
    await budget.acquire(100, timeout_seconds=1)
    waiter = asyncio.create_task(budget.acquire(60, timeout_seconds=1))
    await asyncio.sleep(0)
    waiter.cancel()
    budget.release(100)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (budget.in_use_bytes, budget.waiting) == (0, 0)


async def test_more_than_the_whole_budget_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="whole memory budget"):
        await MemoryBudget(10).acquire(11, timeout_seconds=1)


def test_giving_back_too_much_is_an_error() -> None:
    with pytest.raises(ValueError, match="more memory given back"):
        MemoryBudget(10).release(1)


async def test_the_largest_holders_are_asked_to_let_go() -> None:
    budget = MemoryBudget(100)
    asked: list[str] = []
    small, large = Reservation(budget, 1), Reservation(budget, 1)
    await small.grow(20)
    await large.grow(80)

    def let_go() -> None:
        asked.append("large")
        large.close()

    with small.sheddable(lambda: asked.append("small")), large.sheddable(let_go):
        await budget.acquire(50, timeout_seconds=1)
    assert asked == ["large"]
    assert budget.in_use_bytes == 70


def test_what_changes_hands_is_counted_once() -> None:
    budget = MemoryBudget(100)
    giver, taker = Reservation(budget, 1, body=True), Reservation(budget, 1, body=True)
    assert giver.try_grow(60)
    taker.take_from(giver, 50)
    assert (giver.held_bytes, taker.held_bytes, budget.in_use_bytes) == (10, 50, 60)
    giver.close()
    assert budget.bodies_in_use_bytes == budget.in_use_bytes == 50
    taker.close()
    assert budget.bodies_in_use_bytes == budget.in_use_bytes == 0


async def test_bodies_leave_a_share_to_reads() -> None:
    budget = MemoryBudget(100, reads_share=0.25)
    await budget.acquire(75, timeout_seconds=1, body=True)
    assert not budget.try_acquire(1, body=True)
    waiting = asyncio.create_task(budget.acquire(10, timeout_seconds=1, body=True))
    await asyncio.sleep(0)
    assert budget.try_acquire(25)  # past the body that waits
    budget.release(25)
    assert not waiting.done()
    budget.release(75, body=True)
    await waiting
    assert (budget.in_use_bytes, budget.bodies_in_use_bytes) == (10, 10)


async def test_bodies_wait_behind_reads() -> None:
    budget = MemoryBudget(100)
    await budget.acquire(100, timeout_seconds=1, body=True)
    body = asyncio.create_task(budget.acquire(10, timeout_seconds=1, body=True))
    await asyncio.sleep(0)
    read = asyncio.create_task(budget.acquire(95, timeout_seconds=1))
    await asyncio.sleep(0)
    budget.release(95, body=True)
    await read
    assert not body.done()
    budget.release(95)
    await body


async def test_more_than_the_bodies_share_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="whole memory budget"):
        await MemoryBudget(10, reads_share=0.5).acquire(6, timeout_seconds=1, body=True)


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.booleans()), max_size=40))
def test_never_over_the_limit_and_nothing_left_over(steps: list[tuple[int, bool, bool]]) -> None:
    async def scenario() -> None:
        budget = MemoryBudget(100, reads_share=0.25)

        async def use(size: int, give_up: bool, body: bool) -> None:
            seconds = 0.001 if give_up else 10
            try:
                await budget.acquire(size, timeout_seconds=seconds, body=body)
            except Overloaded:
                return
            assert budget.in_use_bytes <= budget.limit_bytes
            assert budget.bodies_in_use_bytes <= budget.bodies_limit_bytes == 75
            await asyncio.sleep(0)
            budget.release(size, body=body)

        await asyncio.gather(*(use(*step) for step in steps))
        left = (budget.in_use_bytes, budget.bodies_in_use_bytes, budget.waiting)
        assert left == (0, 0, 0)

    asyncio.run(scenario())
