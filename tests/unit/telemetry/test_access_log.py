"""Lines of requests, of several processes in one pipe."""

import asyncio
import io
import json

from mediastore.clock import SystemClock
from mediastore.telemetry.access_log import WHOLE_BYTES, JsonAccessLog


class Pipe(io.StringIO):
    """Keeps what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


async def test_lines_of_one_turn_are_written_whole_and_not_too_many_at_once() -> None:
    pipe = Pipe()
    log = JsonAccessLog(SystemClock(), pipe)
    for number in range(100):
        log(f"id-{number}", "GET", f"/media/{'ä' * number}", 200, 0.001, "::1")
    log("long", "GET", "x" * 2 * WHOLE_BYTES, 200, 0.001, None)
    await asyncio.sleep(0)
    *several, alone = pipe.writes
    assert all(len(text.encode()) <= WHOLE_BYTES for text in several)
    assert len(several) < 50
    assert len(alone) > WHOLE_BYTES
    lines = [json.loads(line) for line in "".join(pipe.writes).splitlines()]
    assert [line["request_id"] for line in lines] == [*(f"id-{n}" for n in range(100)), "long"]
    log("next", "GET", "/", 200, 0.001, None)
    await asyncio.sleep(0)
    assert len(pipe.writes) == len(several) + 2
