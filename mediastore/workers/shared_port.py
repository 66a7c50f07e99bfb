"""A port that only this service's workers listen on."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mediastore.errors import BadSettings


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """The port, bound as long as this lasts, on every address of `host`; a free one for 0.

    SO_REUSEPORT lets whoever has the same user listen beside us, and takes some of our connections
    there without a word: so the port must be free at first. What is bound here does not listen, and
    gets no connection. Raises BadSettings.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise BadSettings("http.workers: this system has no SO_REUSEPORT")
    with ExitStack() as stack:
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                address = (address[0], port, *address[2:])
                with _bound(family, kind, protocol, address, shared=False) as probe:
                    port = probe.getsockname()[1]
                address = (address[0], port, *address[2:])
                stack.enter_context(_bound(family, kind, protocol, address, shared=True))
        except OSError as error:
            why = error.strerror or error
            raise BadSettings(f"cannot listen on {host}:{port}: {why}") from None
        yield port


def _bound(
    family: int, kind: int, protocol: int, address: tuple[object, ...], *, shared: bool
) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made
