"""What the tests of the IETF draft share: a client for a service, and content."""

from random import Random
from uuid import UUID

from mediastore.app_keys import METRICS
from mediastore.catalog.objects import get_object
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


def received_bytes(service: Service) -> float:
    """Content that the service has read from its connections."""
    registry = service.app[METRICS].registry
    return registry.get_sample_value("mediastore_bytes_received_total") or 0


def created_uploads(service: Service) -> float:
    """Uploads of this protocol that have got a row."""
    registry = service.app[METRICS].registry
    labels = {"protocol": "ietf"}
    return registry.get_sample_value("mediastore_uploads_created_total", labels) or 0


async def content_of(service: Service, answer: Answer) -> bytes:
    """The content of the object that a final response describes, from the store."""
    return await stored(service, answer.json()["id"])


async def stored(service: Service, id_: str) -> bytes:
    """An object's content, put together from its manifest and the store."""
    made = await get_object(service.catalog, "acme", UUID(id_))
    assert made is not None
    rows = await service.catalog.fetch("blob_read", made.blob, 0, made.size, 1_000_000)
    pieces = [
        await service.kept.get(f"chunks/{row['hash'].hex()}/{row['generation']:016x}")
        for row in rows
    ]
    return b"".join(pieces)
