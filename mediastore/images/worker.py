"""A worker process: `python -m mediastore.images.worker`. Reads jobs from standard input, answers
on standard output, and ends with its input.

It knows no database, no store and no network, and it bounds itself before it reads a byte: memory
for its life, processor time for each job. The service watches the wall clock and kills it. What a
job breaks beyond that, is one process.
"""

import io
import json
import math
import os
import resource
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from PIL import AvifImagePlugin

from mediastore.image_errors import ImageRefused, ImageTooCostly, ImageTooLarge
from mediastore.images.decoding import known_formats, prepare
from mediastore.images.formats import OUTPUTS
from mediastore.images.grammar import parse
from mediastore.images.limits import Limits
from mediastore.images.messages import LENGTH, length_of, packed
from mediastore.images.probing import probe
from mediastore.images.rendering import render
from mediastore.images.transform import Transform

OPEN_FILES_MAX = 32


def main() -> None:
    """Serve until the input ends."""
    memory_max_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    limits = Limits(**json.loads(sys.argv[3]))
    jobs, answers = _own_pipes()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    prepare(limits.formats)
    known_formats(limits.formats)  # imports the plugins while that is still possible
    _bound(memory_max_bytes)
    answers.write(packed({"ready": True}))
    answers.flush()
    while (job := _read_job(jobs)) is not None:
        _bound_cpu(cpu_seconds)
        header, data = _answer(*job, limits)
        del job  # the source's bytes, before the next ones come
        answers.write(packed(header))
        answers.write(data)
        answers.flush()


def _answer(header: dict[str, Any], data: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """What to say of one job."""
    try:
        if "probe" in header:
            return _probed(data, limits, keep_captured=header["probe"]["keep_captured"]), b""
        return _made(header, data, limits)
    except (ImageRefused, ImageTooLarge, ImageTooCostly) as error:
        return _refusal(error), b""
    except MemoryError:  # where nothing of Pillow was on the stack
        return _refusal(ImageTooCostly("there is not enough memory for this picture")), b""


def _made(header: dict[str, Any], data: bytes, limits: Limits) -> tuple[dict[str, Any], bytes]:
    transform = parse(header["transform"])
    if not isinstance(transform, Transform):
        raise TypeError("presets have a meaning by now")
    made = render(data, transform, OUTPUTS[header["output"]], limits)
    about = {"width": made.width, "height": made.height, "frames": made.frames}
    return about | {"size": len(made.data)} | _peak(), made.data


def _probed(data: bytes, limits: Limits, *, keep_captured: bool) -> dict[str, Any]:
    found = probe(data, limits, keep_captured=keep_captured)
    return {"probe": None if found is None else found.as_document(), "size": 0} | _peak()


def _refusal(error: ImageRefused) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail, "size": 0} | _peak()


def _peak() -> dict[str, int]:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_bytes": kilobytes if sys.platform == "darwin" else kilobytes * 1024}


def _read_job(jobs: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    prefix = jobs.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    header: dict[str, Any] = json.loads(jobs.read(length_of(prefix)))
    data = jobs.read(header["size"])
    return None if len(data) < header["size"] else (header, data)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the service, out of the way of libraries that print."""
    jobs, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return (
        io.BufferedReader(io.FileIO(jobs, "r"), 1024 * 1024),
        io.BufferedWriter(io.FileIO(answers, "w"), 1024 * 1024),
    )


def _bound(memory_max_bytes: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
        (resource.RLIMIT_AS, memory_max_bytes),
    ):
        with suppress(ValueError, OSError):  # the system's own limit is lower, or it knows none
            resource.setrlimit(kind, (most, most))


def _bound_cpu(seconds: int) -> None:
    """From here on; past it the system kills this process (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
