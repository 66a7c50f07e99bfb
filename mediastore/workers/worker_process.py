"""One worker as its supervisor sees it: started, asked for its metrics, stopped."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import mediastore
from mediastore.errors import MediastoreError, every_error
from mediastore.origin_errors import WorkerLost
from mediastore.settings import Settings
from mediastore.workers.channel import Channel, ChannelClosed
from mediastore.workers.handing import settings_document

START_MAX_SECONDS: Final = 120.0  # all that it opens has timeouts of its own
_PACKAGE_PARENT: Final = str(Path(mediastore.__file__).resolve().parents[1])


class WorkerProcess:
    """Made by `start`; it listens from then on."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._asking = asyncio.Lock()

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """A worker that listens. Raises the MediastoreError that ended its start."""
        ours, theirs = socket.socketpair()
        with theirs:
            paths = [_PACKAGE_PARENT, *filter(None, [os.environ.get("PYTHONPATH")])]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # modules come from packages, not from wherever the service was started
                "-m",
                "mediastore.workers.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # an interrupt at the terminal is the supervisor's
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = cls(process, Channel(reader, writer))
        try:
            async with asyncio.timeout(START_MAX_SECONDS):
                await worker._started(settings)
        except TimeoutError:
            worker.stop(signal.SIGKILL)
            await asyncio.shield(worker.ended())
            raise WorkerLost(f"a worker did not listen within {START_MAX_SECONDS:g} s") from None
        except BaseException:
            worker.stop(signal.SIGKILL)
            await asyncio.shield(worker.ended())
            raise
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    async def metrics(self) -> list[Any]:
        """What its registry has now. Raises ChannelClosed."""
        async with self._asking:
            await self._channel.send({"wanted": "metrics"})
            said = await self._channel.receive()
        metrics = said.get("metrics")
        if not isinstance(metrics, list):
            raise ChannelClosed
        return metrics

    async def ended(self) -> int:
        """Its exit code, when it has ended; negative: the signal that ended it."""
        code = await self._process.wait()
        self._channel.close()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop, or make it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _started(self, settings: Settings) -> None:
        try:
            await self._channel.send(settings_document(settings))
            said = await self._channel.receive()
        except ChannelClosed:
            code = await self._process.wait()
            raise WorkerLost(f"a worker ended before it listened: exit code {code}") from None
        if "listening" not in said:
            raise _error(str(said.get("failed")), str(said.get("detail")))


def _error(code: str, detail: str) -> MediastoreError:
    """The error that ended a start, here as it was there."""
    kind = next((kind for kind in every_error() if kind.code == code), MediastoreError)
    return kind(detail)
