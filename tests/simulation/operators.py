"""Operators: they hold, let go and bring back what was deleted; and what happens to them.

What was brought back, and what is held for as long as it is, is promised.
"""

import asyncio
from uuid import UUID

from mediastore_gc.progress import Progress
from mediastore_gc.undeleting import Undeleter

from mediastore.catalog.holds import add_hold, drop_hold
from mediastore.errors import MediastoreError
from mediastore.settings import ChunkingSettings
from tests.simulation.clients import REFUSED
from tests.simulation.processes import Process
from tests.simulation.simulation import Simulation


class Operator:
    """Undeletes what was deleted, under a hold or not."""

    def __init__(self, simulation: Simulation) -> None:
        self._in = simulation
        self._stepper = simulation.stepper
        self._choice = simulation.choice

    async def run(self) -> None:
        while not self._in.closing:
            await self._stepper.pauses(1, 10)
            if not self._in.promises.gone:
                continue
            id_ = self._choice.choice(await self._removed() or sorted(self._in.promises.gone))
            try:
                if self._choice.random() < 0.6:
                    await self._hold_for_a_while(id_)
                else:
                    await self._undelete(id_)
            except REFUSED as error:
                self._in.refused(error)

    async def _removed(self) -> list[UUID]:
        """More often than not, something that can come back by copying alone."""
        if self._choice.random() < 0.3:
            return []
        picture = await self._in.picture()
        return sorted(
            id_
            for id_, row in picture.purged.items()
            if row["blob"] not in picture.manifests and id_ in self._in.promises.gone
        )

    async def _undelete(self, id_: UUID) -> None:
        """In a process of its own, which may die on the way."""
        process = Process("operator's undelete", self._in.failed)
        undeleter = Undeleter(
            self._in.catalog,
            self._in.retrying_store(self._in.process_clock()),
            ChunkingSettings(),
            Progress(),
        )

        async def bring_back() -> str:
            (found,) = await undeleter.look(id_)
            await undeleter.bring_back(found)
            return found.stage

        asked = asyncio.create_task(process.ask(bring_back()))
        if self._in.scene.crashes and self._choice.random() < 0.2:
            await self._stepper.pauses(1, 25)
            process.kill()
        await asyncio.wait([asked])
        self._in.made_by[asked.result()] += 1
        self._in.promises.back(id_)

    async def _hold_for_a_while(self, id_: UUID) -> None:
        """What is held and not claimed can be undeleted however much time has passed."""
        added = await add_hold(self._in.catalog, tenant=None, owner=None, object_=id_, why="case 7")
        promises = self._in.promises
        held = promises.held
        try:
            picture = await self._in.picture()
            content = await picture.object_content(id_, doomed=promises.miscounted)
            if added.claimed or content is None or id_ in held or id_ not in promises.gone:
                return
            assert content == promises.known[id_]
            held[id_] = content
            self._in.made_by["held"] += 1
            await self._stepper.pauses(1, 120)
            for _ in range(self._choice.randint(0, 3)):
                try:
                    await self._undelete(id_)
                    break
                except REFUSED as error:
                    self._in.refused(error)
        finally:
            held.pop(id_, None)
            await self._let_go(added.hold)

    async def _let_go(self, hold: int) -> None:
        try:
            await drop_hold(self._in.catalog, hold)
        except MediastoreError as error:
            self._in.refused(error)
