"""`serve` with a stopwatch around the stages of an upload: `python -m bench.uploads.staged RECORD
serve …`.

Writes to the file RECORD, when it ends, one line of JSON for each stage that ran: its name, and
when it began and ended on the machine's monotonic clock, which other processes read as well. The
product has none of this in its path: what is watched is wrapped here, before the service starts.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from mediastore.access.authenticator import Authenticator
from mediastore.cli import main
from mediastore.uploads import ending
from mediastore.uploads.batch import BatchStore
from mediastore.uploads.service import Uploads

P = ParamSpec("P")
R = TypeVar("R")
RECEIVE, KEY, BEGIN, PUT, COMMIT = "receive", "key", "begin", "put", "commit"
_ran: list[tuple[str, float, float]] = []


def watched(name: str, work: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """`work`, each of whose runs is noted."""

    @wraps(work)
    async def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter()
        try:
            return await work(*args, **kwargs)
        finally:
            _ran.append((name, began, time.perf_counter()))

    return noted


def watch() -> None:
    for name, owner, attribute in (
        (KEY, Authenticator, "tenant"),
        (RECEIVE, Uploads, "receive_new"),
        (BEGIN, ending, "begin_body"),
        (PUT, BatchStore, "_put_missing"),
        (COMMIT, ending, "commit_and_finish"),
    ):
        setattr(owner, attribute, watched(name, getattr(owner, attribute)))


if __name__ == "__main__":
    record = Path(sys.argv.pop(1))
    watch()
    try:
        main()
    finally:
        record.write_text("".join(f"{json.dumps(stage)}\n" for stage in _ran))
