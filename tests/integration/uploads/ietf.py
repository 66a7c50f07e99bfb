"""What the tests of the IETF draft share: a client for a service, and content."""

from random import Random

from tests.ietf_client import WIRES, Answer, IetfClient
from tests.integration.uploads.conftest import Service

IANA = "https://iana.org/assignments/http-problem-types#"
VERSIONS = [3, 4, 5, 6, 7, 8, None]


def client_of(service: Service, version: int | None = 8) -> IetfClient:
    port = service.client.port
    assert port is not None
    return IetfClient("127.0.0.1", port, service.key, WIRES[version])


def content(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


async def created(client: IetfClient, data: bytes = b"", **headers: str) -> str:
    """The URL of a new upload that begins with `data` and is not complete."""
    answer = await client.create(data, complete=False, **headers)
    assert answer.status == 201, answer
    return answer.headers["Location"]


async def content_of(service: Service, answer: Answer) -> bytes:
    """The content of the object that a final response describes, from the store."""
    document = answer.json()
    rows = await service.catalog.fetch(
        "blob_read", bytes.fromhex(document["blob"]), 0, document["size"], 1_000_000
    )
    pieces = [
        await service.kept.get(f"chunks/{row['hash'].hex()}/{row['generation']:016x}")
        for row in rows
    ]
    return b"".join(pieces)
