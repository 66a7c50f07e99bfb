"""Who gets a place, in which order, and who is refused."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mediastore.image_errors import ImagesBusy
from mediastore.images.fair_queue import FairQueue


def queue(places: int = 1, waiting_max: int = 10, share: float = 1.0) -> FairQueue:
    return FairQueue(
        places=places, waiting_max=waiting_max, tenant_share=share, background_places=1
    )


class Jobs:
    """Jobs that run until they are told to end; `started` is their order."""

    def __init__(self, of: FairQueue) -> None:
        self.queue = of
        self.started: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def add(self, name: str, *, background: bool = False) -> None:
        """A job of the tenant that its name begins with."""
        self.gates[name] = asyncio.Event()

        async def run() -> None:
            async with self.queue.place(name[0], background=background):
                self.started.append(name)
                await self.gates[name].wait()

        self.tasks[name] = asyncio.create_task(run())
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self.gates[name].set()
        await self.tasks[name]
        for _ in range(3):
            await asyncio.sleep(0)


@asynccontextmanager
async def jobs(of: FairQueue) -> AsyncIterator[Jobs]:
    made = Jobs(of)
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_tenants_take_turns_however_many_one_of_them_sends() -> None:
    async with jobs(queue()) as made:
        for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
            await made.add(name)
        for name in ("a1", "a2", "b1", "c1", "a3", "b2"):
            await made.end(name)
        assert made.started == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_who_has_fewer_places_goes_first() -> None:
    async with jobs(queue(places=3)) as made:
        for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2"):
            await made.add(name)
        await made.end("a1")
        await made.end("a2")
        assert made.started[3:] == ["b1", "a4"] or made.started[3:] == ["b1", "b2"]


async def test_a_queue_is_bounded_and_no_tenant_fills_it() -> None:
    async with jobs(queue(waiting_max=4, share=0.5)) as made:
        for name in ("a1", "a2", "a3"):
            await made.add(name)
        with pytest.raises(ImagesBusy):
            async with made.queue.place("a"):
                pass
        await made.add("b1")
        await made.add("c1")
        assert made.queue.waiting == 4
        with pytest.raises(ImagesBusy):
            async with made.queue.place("d"):
                pass


async def test_without_a_queue_only_free_places_are_given() -> None:
    async with jobs(queue(waiting_max=0)) as made:
        await made.add("a1")
        with pytest.raises(ImagesBusy):
            async with made.queue.place("b"):
                pass
        await made.end("a1")
        await made.add("b1")
        assert made.started == ["a1", "b1"]


async def test_background_jobs_come_last_and_leave_places() -> None:
    async with jobs(queue(places=2)) as made:
        await made.add("a1", background=True)
        await made.add("a2", background=True)
        assert made.started == ["a1"], "only one of them at once"
        await made.add("b1")
        await made.add("b2")
        await made.end("a1")
        assert made.started == ["a1", "b1", "b2"]
        await made.end("b1")
        assert made.started[-1] == "a2"


async def test_whoever_leaves_the_queue_leaves_no_place_behind() -> None:
    async with jobs(queue()) as made:
        await made.add("a1")
        await made.add("b1")
        await made.add("c1")
        made.tasks["b1"].cancel()
        await asyncio.sleep(0)
        assert made.queue.waiting == 1
        await made.end("a1")
        assert made.started == ["a1", "c1"]


async def test_waiting_has_an_end() -> None:
    async with jobs(queue()) as made:
        await made.add("a1")
        with pytest.raises(ImagesBusy):
            async with made.queue.place("b", wait_max_seconds=0.01):
                pass
        assert made.queue.waiting == 0
        await made.end("a1")
        async with made.queue.place("b"):
            pass


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_ever_lost_or_given_twice(seed: int) -> None:
    chosen, of = random.Random(seed), queue(places=3, waiting_max=8, share=0.5)
    running = 0

    async def job(tenant: str) -> None:
        nonlocal running
        try:
            async with of.place(tenant, background=chosen.random() < 0.2):
                running += 1
                assert running <= 3
                try:
                    for _ in range(chosen.randrange(4)):
                        await asyncio.sleep(0)
                finally:
                    running -= 1
        except ImagesBusy:
            pass

    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(job(chosen.choice("abcd"))))
        if chosen.random() < 0.3:
            chosen.choice(tasks).cancel()
        if chosen.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert of.waiting == 0
    async with of.place("a"), of.place("b"), of.place("c"):
        pass
