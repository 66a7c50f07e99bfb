"""Interim (1xx) responses: 100 once a body is wanted, 104 while it comes.

aiohttp has no interface for them. They are written on the request's transport, from its own
handler and before its answer begins, as aiohttp itself writes 100 (tests hold that the two stay in
step). HTTP/1.0 has none, so none is sent there: that is also what nginx speaks to its upstreams
unless it is told otherwise.
"""

from collections.abc import Mapping

from aiohttp import HttpVersion11, web

_AWAITED = web.RequestKey("continue_awaited", bool)


async def expect_after_checks(request: web.Request) -> None:
    """The `expect_handler` of routes that take bodies: it says nothing yet, `want_body` will.

    There is one expectation that can be met, and none in HTTP/1.0 (RFC 9110, 10.1.1). Raises 417.
    """
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    request[_AWAITED] = True


def want_body(request: web.Request) -> None:
    """The checks are done, the body is read from now on: tell a client that waits for this."""
    if request.get(_AWAITED):
        request[_AWAITED] = False
        send_interim(request, 100, "Continue", {})


async def close_when_unwanted(request: web.Request, response: web.StreamResponse) -> None:
    """An on_response_prepare signal. A client that was refused without 100 may send its body or not
    (RFC 9110, 10.1.1): nobody can tell whether what comes next is that, or its next request.
    """
    if request.get(_AWAITED):
        response.force_close()
        response.headers["Connection"] = "close"


def send_interim(
    request: web.Request, status: int, reason: str, headers: Mapping[str, str]
) -> bool:
    """Send an interim response now. False: it cannot be sent (HTTP/1.0, the client has gone)."""
    transport = request.transport
    if request.version < HttpVersion11 or transport is None or transport.is_closing():
        return False
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {headers[name]}" for name in headers)]
    transport.write("\r\n".join([*lines, "", ""]).encode())
    return True


def earlier_has_left(request: web.Request) -> bool:
    """Has the client taken what was sent before? What is only nice to know waits for that."""
    transport = request.transport
    return transport is not None and transport.get_write_buffer_size() == 0
