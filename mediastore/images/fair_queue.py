"""Places for jobs, given out fairly: the tenant that has the fewest goes first, then whoever has
waited longest. Bounded; what does not fit is refused at once.

Background jobs come when nobody waits, and leave places to others.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mediastore.image_errors import ImagesBusy


@dataclass(slots=True)
class _Lane:
    """Jobs of one urgency that wait, by tenant; tenants in the order in which they are served."""

    running: int = 0
    waiting: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.waiting.values()))


class FairQueue:
    """Gives `places` to jobs of tenants."""

    def __init__(
        self, *, places: int, waiting_max: int, tenant_share: float, background_places: int
    ) -> None:
        self._free = places
        self._waiting_max = waiting_max
        self._tenant_max = max(1, math.ceil(waiting_max * tenant_share)) if waiting_max else 0
        self._background_places = background_places
        self._running: Counter[str] = Counter()
        self._lanes = {False: _Lane(), True: _Lane()}

    @property
    def waiting(self) -> int:
        """Jobs that wait for a place."""
        return sum(lane.count for lane in self._lanes.values())

    @asynccontextmanager
    async def place(
        self, tenant: str, *, background: bool = False, wait_max_seconds: float | None = None
    ) -> AsyncIterator[None]:
        """While inside, a place is this tenant's. Raises ImagesBusy when too many wait already, or
        when this one has waited too long.
        """
        try:
            async with asyncio.timeout(wait_max_seconds):
                await self._enter(tenant, background)
        except TimeoutError:
            raise ImagesBusy from None
        try:
            yield
        finally:
            self._leave(tenant, background)

    async def _enter(self, tenant: str, background: bool) -> None:
        lane = self._lanes[background]
        if self._may_start(background) and not self.waiting:
            self._start(tenant, background)
            return
        mine = lane.waiting.get(tenant, ())
        if lane.count >= self._waiting_max or len(mine) >= self._tenant_max:
            raise ImagesBusy
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.waiting.setdefault(tenant, deque()).append(turn)
        self._next()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._leave(tenant, background)  # it had its place by then
            else:
                self._forget(tenant, lane, turn)
            raise

    def _leave(self, tenant: str, background: bool) -> None:
        self._free += 1
        self._lanes[background].running -= 1
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        self._next()

    def _next(self) -> None:
        for background in (False, True):
            lane = self._lanes[background]
            while lane.waiting and self._may_start(background):
                tenant = min(lane.waiting, key=lambda name: self._running[name])
                turn = lane.waiting[tenant].popleft()
                rest = lane.waiting.pop(tenant)
                if rest:  # behind the tenants that have as few
                    lane.waiting[tenant] = rest
                if not turn.done():
                    self._start(tenant, background)
                    turn.set_result(None)

    def _may_start(self, background: bool) -> bool:
        if not self._free:
            return False
        return not background or self._lanes[True].running < self._background_places

    def _start(self, tenant: str, background: bool) -> None:
        self._free -= 1
        self._lanes[background].running += 1
        self._running[tenant] += 1

    def _forget(self, tenant: str, lane: _Lane, turn: asyncio.Future[None]) -> None:
        mine = lane.waiting.get(tenant)
        if mine is not None and turn in mine:
            mine.remove(turn)
            if not mine:
                del lane.waiting[tenant]
