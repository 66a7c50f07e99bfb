"""Over TLS both of the s3 driver's clients trust what AWS_CA_BUNDLE says, and nothing else."""

import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mediastore.chunkstore.keys import chunk_key
from mediastore.chunkstore.protocol import DeleteResult
from mediastore.chunkstore.s3 import S3ChunkStore
from mediastore.errors import ChunkStoreUnavailable
from tests.unit.chunkstore.fake_clock import FakeClock
from tests.unit.chunkstore.test_s3 import settings

KEY = chunk_key(bytes(32), 1)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return pem


@pytest.fixture
async def url(certificate: Path) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            text = f"<DeleteResult><Deleted><Key>{KEY}</Key></Deleted></DeleteResult>"
            return web.Response(text=text, content_type="application/xml")
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    yield str(server.make_url("")).rstrip("/")
    await server.close()


async def test_a_trusted_server(
    url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = S3ChunkStore(settings(url), FakeClock())
    await store.put(KEY, b"x", crc32=0)
    assert await store.delete_many([KEY]) == [DeleteResult(KEY)]
    await store.close()


async def test_a_server_that_nobody_vouches_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    store = S3ChunkStore(settings(url), FakeClock())
    with pytest.raises(ChunkStoreUnavailable):
        await store.put(KEY, b"x", crc32=0)
    with pytest.raises(ChunkStoreUnavailable):
        await store.delete_many([KEY])
    await store.close()
