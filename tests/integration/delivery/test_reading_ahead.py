"""How many chunks a reader fetches before they are due, by whether its client outruns the store."""

import asyncio
from random import Random

from mediastore.app_keys import MEMORY
from mediastore.delivery.keys import DELIVERY
from mediastore.delivery.reader import BlobReader
from mediastore.settings import Settings
from tests.faults import Fault
from tests.integration.delivery.conftest import Keys
from tests.integration.service import Service, running, until, upload

SIZE = 100_000


async def stored(service: Service, keys: Keys) -> bytes:
    made = await upload(service, keys.public, Random(SIZE).randbytes(SIZE))
    return bytes.fromhex(made["blob"])


async def test_a_client_that_outruns_the_store_leaves_no_connection_idle(
    settings: Settings, keys: Keys, service: Service
) -> None:
    blob = await stored(service, keys)
    async with running(settings) as cold:
        gates = [asyncio.Event() for _ in range(3)]
        second, third, fourth = (Fault(gate=gate) for gate in gates)
        cold.store.script("get", None, second, third, fourth)
        async with BlobReader(cold.app[DELIVERY].parts, blob, SIZE, 0, SIZE) as reader:
            assert await reader.next() is not None
            due = asyncio.create_task(reader.next())
            async with asyncio.timeout(20):
                await second.reached.wait()
                await third.reached.wait()
                gates[0].set()
                assert await due is not None
                # The second is being sent, the third is under way, and so is one more.
                await fourth.reached.wait()
            assert cold.store.count("get") == 4
            for gate in gates:
                gate.set()


async def test_what_comes_before_it_is_due_leaves_no_connection_idle(
    settings: Settings, keys: Keys, service: Service
) -> None:
    blob = await stored(service, keys)
    async with running(settings) as cold:
        second, fourth = Fault(gate=asyncio.Event()), Fault(gate=asyncio.Event())
        cold.store.script("get", None, second, None, fourth)
        async with BlobReader(cold.app[DELIVERY].parts, blob, SIZE, 0, SIZE) as reader:
            assert await reader.next() is not None
            due = asyncio.create_task(reader.next())
            async with asyncio.timeout(20):
                await second.reached.wait()
                await fourth.reached.wait()  # in the place of the third, which has come
            assert not due.done()
            # No more is fetched than two under way and one that waits for its turn.
            assert cold.store.count("get") == 4
            for fault in (second, fourth):
                assert fault.gate is not None
                fault.gate.set()
            assert await due is not None


async def test_a_reader_that_ends_begins_nothing_more(
    settings: Settings, keys: Keys, service: Service
) -> None:
    blob = await stored(service, keys)
    async with running(settings) as cold:
        gate = asyncio.Event()
        second, third = Fault(gate=gate), Fault(gate=gate)
        cold.store.script("get", None, second, third)
        async with BlobReader(cold.app[DELIVERY].parts, blob, SIZE, 0, SIZE) as reader:
            assert await reader.next() is not None
            due = asyncio.create_task(reader.next())
            async with asyncio.timeout(20):
                await second.reached.wait()
                await third.reached.wait()
            due.cancel()
            await asyncio.wait([due])
        gate.set()
        await until(lambda: cold.app[MEMORY].in_use_bytes == 0)
        assert cold.store.count("get") == 3


async def test_for_a_slow_client_no_more_is_held_than_was_asked_for(
    settings: Settings, keys: Keys, service: Service
) -> None:
    blob = await stored(service, keys)
    async with running(settings) as cold:
        async with BlobReader(cold.app[DELIVERY].parts, blob, SIZE, 0, SIZE) as reader:
            for taken in range(1, 5):
                assert await reader.next() is not None
                assert cold.store.count("get") <= taken + settings.delivery.read_ahead_chunks
                # The one ahead is in memory before the client asks for it.
                await until(lambda: all(one.task.done() for one in reader._ahead.values()))
            assert cold.store.count("get") == 4 + settings.delivery.read_ahead_chunks


async def test_none_ahead_is_none(settings: Settings, keys: Keys, service: Service) -> None:
    blob = await stored(service, keys)
    none = settings.model_copy(
        update={"delivery": settings.delivery.model_copy(update={"read_ahead_chunks": 0})}
    )
    async with running(none) as cold:
        async with BlobReader(cold.app[DELIVERY].parts, blob, SIZE, 0, SIZE) as reader:
            for taken in range(1, 5):
                assert await reader.next() is not None
                assert cold.store.count("get") == taken
