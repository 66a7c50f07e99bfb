"""What tests of the IETF draft on the real service have in common."""

from blake3 import blake3

from tests.acceptance.server import Server
from tests.ietf_client import WIRES, IetfClient


def client_of(server: Server, version: int | None, port: int | None = None) -> IetfClient:
    return IetfClient("127.0.0.1", port or server.port, server.key, WIRES[version])


def assert_stored(server: Server, id_: str, data: bytes) -> None:
    """What is served is what was sent."""
    made = server.made(id_)
    assert made["blob"] == blake3(data).hexdigest()
    assert server.client().content(id_) == data
