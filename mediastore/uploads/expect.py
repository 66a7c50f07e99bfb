"""`Expect: 100-continue` (RFC 9110, section 10.1.1), answered only when a body is wanted.

aiohttp answers it before the handler runs, and a client then sends a body that is going to be
refused. A route with `expect_handler=put_off` waits; its handler calls `go_on` when nothing but the
body can be wrong any more. What is refused before that is answered without a byte of the body sent.
"""

from aiohttp import web

from mediastore.errors import ExpectationFailed
from mediastore.problems import AWAITS_CONTINUE, problem_response

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def put_off(request: web.Request) -> web.StreamResponse | None:
    """A route's expect handler: remember that the client waits."""
    if request.version < (1, 1):
        return None  # an older client cannot mean it
    if request.headers["Expect"].lower() != "100-continue":
        return problem_response(ExpectationFailed())
    request[AWAITS_CONTINUE] = True
    return None


async def go_on(request: web.Request) -> None:
    """Tell a client that waits to send its body; for others, nothing."""
    if request.get(AWAITS_CONTINUE):
        request[AWAITS_CONTINUE] = False
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # as aiohttp does: this is no part of the answer
