"""Operators who erase, for the law: what they were told is gone never comes back."""

import asyncio

from mediastore_gc.erasing import erase_now
from mediastore_gc.progress import Progress

from mediastore.catalog.erasing import Scope
from mediastore.collector_errors import Held
from tests.collection_world import TENANT
from tests.simulation.clients import REFUSED
from tests.simulation.collectors import DELAYS
from tests.simulation.processes import Process
from tests.simulation.simulation import Simulation


class Eraser:
    """Erases an object, live or deleted or asked for before, in a process that may die."""

    def __init__(self, simulation: Simulation) -> None:
        self._in = simulation
        self._stepper = simulation.stepper

    async def run(self) -> None:
        promises = self._in.promises
        while not self._in.closing:
            await self._stepper.pauses(2, 20)
            known = {**promises.asked, **promises.gone, **promises.files}
            if not known:
                continue
            id_ = self._in.choice.choice(sorted(known))
            promises.asked[id_] = known[id_]
            was_live = promises.files.pop(id_, None) is not None
            promises.gone.pop(id_, None)
            try:
                if await self._erase(Scope(TENANT, None, id_)):
                    promises.erased.add(id_)
                    del promises.asked[id_]
                    self._in.made_by["erased"] += 1
            except Held:
                del promises.asked[id_]
                (promises.files if was_live else promises.gone)[id_] = known[id_]
                self._in.made_by["not erased"] += 1
            except REFUSED as error:
                self._in.refused(error)

    async def _erase(self, scope: Scope) -> bool:
        process = Process("erasure", self._in.failed)
        clock = self._in.process_clock()
        work = erase_now(
            self._in.catalog,
            self._in.retrying_store(clock),
            clock,
            scope,
            "case 9",
            skew_max_seconds=DELAYS.clock_skew_max_seconds,
            progress=Progress(),
        )
        asked = asyncio.create_task(process.ask(work))
        if self._in.scene.crashes and self._stepper.chance(0.3):
            await self._stepper.pauses(1, 15)
            process.kill()
        await asyncio.wait([asked])
        return asked.result().removed_at is not None
