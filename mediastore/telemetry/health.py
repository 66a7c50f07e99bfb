"""`/healthz`: the process is alive. `/readyz`: it can serve, part by part, with reasons.

Checks run at most once in `cache_seconds` however often they are asked for, and never longer than
`timeout_seconds`: a part that hangs is a part that is not ready.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from mediastore.clock import Clock
from mediastore.errors import MediastoreError, ShuttingDown

Check = Callable[[], Awaitable[object]]

CACHE_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class PartState:
    """One part: whether it is ready and, if it is not, why."""

    ready: bool
    code: str | None = None
    reason: str | None = None


READY = PartState(ready=True)


class Readiness:
    """Asks each part; `check` raises a MediastoreError where a part cannot serve."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        clock: Clock,
        *,
        cache_seconds: float = CACHE_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._checks = dict(checks)
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._timeout_seconds = timeout_seconds
        self._stopping = False
        self._asked_at: float | None = None
        self._parts: dict[str, PartState] = {}
        self._asking = asyncio.Lock()

    def stop(self) -> None:
        """From now on not ready, whatever the parts say: load balancers look elsewhere."""
        self._stopping = True

    async def parts(self) -> dict[str, PartState]:
        """The state of every part, and of the process itself."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= self._cache_seconds:
                states = await asyncio.gather(
                    *(self._ask(check) for check in self._checks.values())
                )
                self._parts = dict(zip(self._checks, states, strict=True))
                self._asked_at = self._clock.monotonic()
        stopping = PartState(False, ShuttingDown.code, ShuttingDown.message())
        return {"process": stopping if self._stopping else READY, **self._parts}

    async def _ask(self, check: Check) -> PartState:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await check()
        except MediastoreError as error:
            return PartState(False, error.code, error.detail)
        except TimeoutError:
            return PartState(False, "timeout", f"no answer within {self._timeout_seconds:g} s")
        return READY


READINESS = web.AppKey("readiness", Readiness)


def health_routes(readiness: Readiness) -> list[web.RouteDef]:
    """The two routes; neither asks for a key, neither tells more than states and reasons."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"}, headers=_NOT_CACHED)

    async def readyz(_request: web.Request) -> web.Response:
        parts = await readiness.parts()
        ready = all(state.ready for state in parts.values())
        body = {
            "status": "ready" if ready else "not ready",
            "parts": {name: asdict(state) for name, state in parts.items()},
        }
        return web.json_response(body, status=200 if ready else 503, headers=_NOT_CACHED)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


_NOT_CACHED = {"Cache-Control": "no-store"}
