"""One worker process as its service sees it: begun, given a job, killed.

What it says is not believed further than a header of bounded size and a result of bounded size.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import mediastore
from mediastore.image_errors import ImageRefused, ImageTooCostly, ImageTooLarge
from mediastore.images.limits import Limits
from mediastore.images.messages import LENGTH, length_of, packed
from mediastore.images.probed import checked_document
from mediastore.settings import ImagesSettings

_REFUSALS: Final = {kind.code: kind for kind in (ImageRefused, ImageTooLarge, ImageTooCostly)}
_READ_BUFFER_BYTES: Final = 256 * 1024
_DETAIL_LENGTH_MAX: Final = 300
_PACKAGE_PARENT: Final = str(Path(mediastore.__file__).resolve().parents[1])
Source = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Job:
    """A picture to make: the canonical transform, the format's extension, the source's bytes."""

    transform: str
    output: str
    size: int

    @property
    def header(self) -> dict[str, Any]:
        return {"transform": self.transform, "output": self.output, "size": self.size}


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """A picture to look at, and whether to tell when it was taken; the source's bytes."""

    keep_captured: bool
    size: int

    @property
    def header(self) -> dict[str, Any]:
        return {"probe": {"keep_captured": self.keep_captured}, "size": self.size}


@dataclass(frozen=True, slots=True)
class Made:
    """A picture as a worker made it; `frames` is 2 of an animation that became still: more."""

    data: bytes
    width: int
    height: int
    frames: int


class WorkerDied(Exception):
    """The process ended in the middle of a job, or does not speak as it should."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(f"exit code {code}")


class WorkerProcess:
    """Made by `start`. After any exception but a refusal it must be killed."""

    def __init__(self, process: Process, result_max_bytes: int) -> None:
        self._process = process
        self._result_max_bytes = result_max_bytes
        self.jobs = 0
        self.peak_bytes = 0
        self.is_fed = False
        """Has it the whole source of its job? What comes before that is not the picture's fault."""

    @classmethod
    async def start(cls, settings: ImagesSettings) -> Self:
        """A process that is ready for jobs. Raises WorkerDied, OSError."""
        limits = limits_of(settings)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # modules come from packages, not from wherever the service was started
            "-m",
            "mediastore.images.worker",
            str(settings.worker_memory_bytes),
            str(settings.cpu_seconds),
            json.dumps(asdict(limits)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            # Nothing of the service's environment: it holds secrets.
            env={"PATH": os.defpath, "PYTHONPATH": _PACKAGE_PARENT, "LC_ALL": "C.UTF-8"},
            limit=_READ_BUFFER_BYTES,
            start_new_session=True,  # an interrupt at the terminal is the service's to handle
        )
        worker = cls(process, settings.result_max_bytes)
        try:
            await worker._header()
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def work(self, job: Job, source: Source) -> Made:
        """Raises ImageRefused and its kinds, WorkerDied, and what `source` raises."""
        header = await self._answer(job, source)
        size = _number(header, "size")
        if size > self._result_max_bytes:
            raise WorkerDied(None)
        data = await self._read(size)
        return Made(
            data, _number(header, "width"), _number(header, "height"), _number(header, "frames")
        )

    async def probe(self, job: ProbeJob, source: Source) -> dict[str, Any] | None:
        """As JSON, checked; None: it is no picture. Raises what `work` does."""
        header = await self._answer(job, source)
        try:
            found = header["probe"]
            return None if found is None else checked_document(found)
        except (KeyError, ValueError):
            raise WorkerDied(None) from None

    async def kill(self) -> None:
        """End it, whatever it does; it has ended when this returns."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.shield(self._process.wait())

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _answer(self, job: Job | ProbeJob, source: Source) -> dict[str, Any]:
        self.jobs += 1
        self.is_fed = False
        await self._feed(job.header, source)
        self.is_fed = True
        header = await self._header()
        self.peak_bytes = max(self.peak_bytes, _number(header, "peak_bytes"))
        code = header.get("code")
        if code is not None:
            kind = _REFUSALS.get(code, ImageRefused)
            raise kind(str(header.get("detail") or kind.message())[:_DETAIL_LENGTH_MAX])
        return header

    async def _feed(self, header: dict[str, Any], source: Source) -> None:
        async with aclosing(source):  # whatever happens, it lets go of what it holds
            alive = await self._wrote(packed(header))
            async for piece in source:
                if not alive:
                    return
                alive = await self._wrote(piece)

    async def _wrote(self, data: bytes) -> bool:
        """False: it has died; how, its exit code tells."""
        pipe = self._process.stdin
        if pipe is None:
            raise RuntimeError("a worker has pipes")
        try:
            pipe.write(data)
            await pipe.drain()
        except ConnectionError:
            return False
        return True

    async def _header(self) -> dict[str, Any]:
        prefix = await self._read(LENGTH.size)
        try:
            header = json.loads(await self._read(length_of(prefix)))
        except ValueError:
            raise WorkerDied(None) from None
        if not isinstance(header, dict):
            raise WorkerDied(None)
        return header

    async def _read(self, size: int) -> bytes:
        pipe = self._process.stdout
        if pipe is None:
            raise RuntimeError("a worker has pipes")
        try:
            return await pipe.readexactly(size)
        except asyncio.IncompleteReadError:
            raise WorkerDied(await asyncio.shield(self._process.wait())) from None


def limits_of(settings: ImagesSettings) -> Limits:
    """What the settings let a worker do."""
    return Limits(
        settings.pixels_max,
        settings.frames_max,
        settings.animation_pixels_max,
        settings.result_pixels_max,
        settings.result_max_bytes,
        tuple(settings.formats),
    )


def cause(died: WorkerDied) -> str:
    """Why a worker ended, for people."""
    if died.code == -signal.SIGXCPU:
        return "it took more processor time than one picture may take"
    if died.code is not None and died.code < 0:
        return f"its worker was ended by signal {-died.code}"
    return "its worker ended"


def _number(header: dict[str, Any], name: str) -> int:
    value = header.get(name)
    if not isinstance(value, int) or value < 0:
        raise WorkerDied(None)
    return value
