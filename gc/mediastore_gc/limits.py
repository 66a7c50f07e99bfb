"""How much one run may do, and how fast: what its workers share.

Limits stop a run early; they never make it do anything that the guards would not allow.
"""

from dataclasses import dataclass

from mediastore.catalog.collection import BYTES_UNLIMITED
from mediastore.clock import Clock

# A paced worker sleeps between batches; a batch is small enough that it hears a stop in time.
PAUSE_MAX_SECONDS = 5
# Of a command: while the store deletes one batch, another is claimed.
WORKERS = 2
WORKERS_MAX = 16


@dataclass(frozen=True, slots=True)
class RunLimits:
    """None: no limit. `objects_max` holds for objects taken from the trash and again for keys
    deleted; `rate` is keys deleted a second by all workers together.
    """

    bytes_max: int | None = None
    objects_max: int | None = None
    seconds_max: float | None = None
    rate: int | None = None
    workers: int = 1


UNLIMITED = RunLimits()


class RunBudget:
    """What is left of a run's limits. Work is reserved before it is done, so that workers that take
    batches at once do not exceed a limit together; what a batch did not need is given back.
    """

    def __init__(self, limits: RunLimits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._free_at = clock.monotonic()
        self.renew()

    def renew(self) -> None:
        """All is left again; the pace goes on."""
        limits = self.limits
        seconds = limits.seconds_max
        self._ends = None if seconds is None else self._clock.monotonic() + seconds
        self._bytes = BYTES_UNLIMITED if limits.bytes_max is None else limits.bytes_max
        self._keys = BYTES_UNLIMITED if limits.objects_max is None else limits.objects_max
        self._objects = self._keys

    @property
    def time_is_over(self) -> bool:
        return self._ends is not None and self._clock.monotonic() >= self._ends

    def reserve_objects(self, wanted: int) -> int:
        """How many of `wanted` objects may be taken from the trash."""
        granted = min(wanted, self._objects)
        self._objects -= granted
        return granted

    def return_objects(self, count: int) -> None:
        self._objects += count

    def reserve_keys(self, wanted: int) -> tuple[int, int]:
        """How many of `wanted` keys may be deleted, and of how many bytes in all; 0: none."""
        if self.limits.rate is not None:
            wanted = max(1, min(wanted, self.limits.rate * PAUSE_MAX_SECONDS))
        keys, size = min(wanted, self._keys), self._bytes
        if self.limits.bytes_max is None:
            size = BYTES_UNLIMITED // self.limits.workers  # or one worker would reserve all
        elif self.limits.workers > 1:
            size = self._bytes // self.limits.workers or self._bytes
        if keys == 0 or size == 0:
            return 0, 0
        self._keys -= keys
        self._bytes -= size
        return keys, size

    def return_keys(self, keys: int, size: int) -> None:
        self._keys += keys
        self._bytes += size

    async def pace(self, keys: int) -> None:
        """Wait until so many more may have been deleted."""
        if self.limits.rate is None or keys == 0:
            return
        now = self._clock.monotonic()
        self._free_at = max(self._free_at, now) + keys / self.limits.rate
        await self._clock.sleep(self._free_at - now)
