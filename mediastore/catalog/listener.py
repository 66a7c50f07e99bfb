"""LISTEN on a connection of its own, for as long as the process lives.

A notification that is sent while the connection is down is lost, so `on_lost` is called at once
when it breaks and `on_listening` only when LISTEN is in force again: between the two, nothing may
be believed that a notification could have revoked.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from mediastore.catalog.pool import translated
from mediastore.clock import Clock
from mediastore.settings import CatalogSettings

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0  # a peer that vanished without a word is noticed after this and the timeout
TIMEOUT_SECONDS = 5.0
SILENCE_MAX_SECONDS = 15  # after it the server ends a session whose host has vanished
RECONNECT_SECONDS = 1.0


class Listener:
    """Calls `on_notify(payload)` for every notification on `channel`. While it can, its session
    holds an advisory lock on `presence`, if that is given, for others to see.
    """

    def __init__(
        self,
        settings: CatalogSettings,
        clock: Clock,
        channel: str,
        *,
        on_notify: Callable[[str], None],
        on_listening: Callable[[], None],
        on_lost: Callable[[], None],
        presence: int | None = None,
    ) -> None:
        self._dsn = settings.dsn
        self._clock = clock
        self._channel = channel
        self._on_notify = on_notify
        self._on_listening = on_listening
        self._on_lost = on_lost
        self._presence = presence

    async def run(self) -> None:
        """Listen, and listen again whenever the connection breaks; until cancelled."""
        while True:
            try:
                await self._listen_once()
            except Exception as error:
                ours = translated(error)
                if ours is None:
                    raise
                log.warning("listener_lost", channel=self._channel, detail=ours.detail)
            await self._clock.sleep(RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(
            self._dsn.get_secret_value(),
            timeout=TIMEOUT_SECONDS,
            command_timeout=TIMEOUT_SECONDS,
            server_settings={
                "application_name": f"mediastore listen {self._channel}",
                "idle_session_timeout": f"{SILENCE_MAX_SECONDS}s",
            },
        )
        terminated = asyncio.Event()

        def lost(_connection: Any) -> None:
            self._on_lost()
            terminated.set()

        try:
            connection.add_termination_listener(lost)
            await connection.add_listener(self._channel, self._notified)
            if self._presence is not None:
                await connection.execute("SELECT pg_advisory_lock($1)", self._presence)
            self._on_listening()
            while not terminated.is_set():
                await self._pause(terminated)
                await connection.execute("SELECT 1")
        finally:
            self._on_lost()
            connection.terminate()

    async def _pause(self, terminated: asyncio.Event) -> None:
        pause = asyncio.ensure_future(self._clock.sleep(HEARTBEAT_SECONDS))
        ended = asyncio.ensure_future(terminated.wait())
        try:
            await asyncio.wait((pause, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            ended.cancel()

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._on_notify(str(payload))
