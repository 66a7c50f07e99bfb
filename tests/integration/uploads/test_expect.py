"""`Expect: 100-continue`: a body is asked for only when nothing but the body can be wrong."""

import asyncio

import pytest

from tests.integration.uploads.conftest import Service, Starter

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def asked(service: Service, *lines: str, body: bytes = b"") -> bytes:
    """What the server says to a request head that expects a 100; then, to its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    head = [*lines, "Host: x", "Expect: 100-continue", f"Content-Length: {len(body) or 5}", "", ""]
    writer.write("\r\n".join(head).encode())
    said = await reader.readuntil(b"\r\n\r\n")
    if said == CONTINUE:
        writer.write(body or b"hello")
        said += await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return said


async def test_a_good_request_goes_on(service: Service) -> None:
    key = f"Authorization: Bearer {service.key}"
    said = await asked(service, "POST /v1/objects HTTP/1.1", key)
    assert said.startswith(CONTINUE + b"HTTP/1.1 201 ")
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    type_ = "Content-Type: multipart/form-data; boundary=b"
    said = await asked(service, "POST /v1/objects HTTP/1.1", key, type_, body=form)
    assert said.startswith(CONTINUE + b"HTTP/1.1 201 ")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["POST /v1/objects HTTP/1.1"], b"401"),
        (["POST /v1/objects?nmae=x HTTP/1.1", "{key}"], b"400"),
        (["POST /v1/objects?metadata=x HTTP/1.1", "{key}"], b"400"),
        (["POST /v1/objects HTTP/1.1", "{key}", f"Idempotency-Key: {'x' * 256}"], b"400"),
        (["POST /v1/objects HTTP/1.1", "{key}", "Content-Type: multipart/form-data"], b"400"),
        (
            ["POST /v1/objects HTTP/1.1", "Content-Type: application/vnd.mediastore.pull+json"],
            b"401",
        ),
    ],
)
async def test_a_bad_request_is_refused_before_its_body(
    service: Service, lines: list[str], status: bytes
) -> None:
    said = await asked(
        service, *(line.format(key=f"Authorization: Bearer {service.key}") for line in lines)
    )
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in said


async def test_a_body_that_is_too_large_is_refused_before_it_comes(start: Starter) -> None:
    service = await start(uploads={"size_max_bytes": 4})
    said = await asked(service, "POST /v1/objects HTTP/1.1", f"Authorization: Bearer {service.key}")
    assert said.startswith(b"HTTP/1.1 413 ")


async def test_a_repeated_request_need_not_send_its_body_again(service: Service) -> None:
    lines = (
        "POST /v1/objects HTTP/1.1",
        f"Authorization: Bearer {service.key}",
        "Idempotency-Key: k",
    )
    assert (await asked(service, *lines)).startswith(CONTINUE)
    assert (await asked(service, *lines)).startswith(b"HTTP/1.1 200 ")
