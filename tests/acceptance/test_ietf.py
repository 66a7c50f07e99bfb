"""The IETF draft against the real service: every version over connections that break, and nginx in
front, which knows no 104 (nginx/nginx#1427). docs/ietf.md says of proxies what is shown here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from blake3 import blake3

from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB, content
from tests.acceptance.nginx import nginx
from tests.acceptance.server import Server
from tests.ietf_client import WIRES, Answer, Cut, IetfClient

HTTP_1_1 = ("proxy_http_version 1.1", 'proxy_set_header Connection ""')
BUFFERING = ["proxy_request_buffering on", "proxy_request_buffering off"]


def client_of(server: Server, version: int | None, port: int | None = None) -> IetfClient:
    return IetfClient("127.0.0.1", port or server.port, server.key, WIRES[version])


def assert_stored(server: Server, id_: str, data: bytes) -> None:
    """What is served is what was sent."""
    made = server.made(id_)
    assert made["blob"] == blake3(data).hexdigest()
    assert server.client().content(id_) == data


@contextmanager
def served(make_server: MakeServer, interim: str) -> Iterator[Server]:
    server = make_server(
        **SMALL_CHUNKS,
        MEDIASTORE_UPLOADS__INTERIM_RESPONSES=interim,
        MEDIASTORE_UPLOADS__INTERIM_INTERVAL_SECONDS="0",
    )
    server.start()
    yield server


@pytest.mark.parametrize("version", [3, 5, 6, 7, 8])
async def test_an_upload_that_is_cut_again_and_again_arrives_whole(
    server: Server, version: int
) -> None:
    for seed in range(3):
        random = Random(f"{version} {seed}")
        data = content(random.randint(1, 3 * MIB), seed)
        id_ = await client_of(server, version).upload(data, random, cuts=5)
        assert_stored(server, id_, data)


async def test_uploads_go_on_after_the_server_was_killed(server: Server) -> None:
    """What a 104 or an answer acknowledged is there afterwards; the rest is sent again."""
    client, data = client_of(server, 8), content(2 * MIB, 1)
    first = await client.create(data[:MIB], complete=False)
    url = first.headers["Location"]
    server.kill()
    server.restart()
    standing = await client_of(server, 8).offset(url)
    assert standing.offset == MIB
    final = await client_of(server, 8).append(url, MIB, data[MIB:], complete=True)
    assert_stored(server, final.json()["id"], data)


@pytest.mark.full
@pytest.mark.parametrize("buffering", BUFFERING)
@pytest.mark.parametrize("directives", [(), HTTP_1_1], ids=["1.0", "1.1"])
@pytest.mark.parametrize("version", [6, 8, None])
async def test_without_104_everything_works_through_nginx(
    make_server: MakeServer,
    folder: Path,
    version: int | None,
    directives: tuple[str, ...],
    buffering: str,
) -> None:
    with (
        served(make_server, "off") as server,
        nginx(folder, server.port, buffering, *directives) as port,
    ):
        await everything(server, client_of(server, version, port))


@pytest.mark.full
@pytest.mark.parametrize("buffering", BUFFERING)
@pytest.mark.parametrize(
    ("version", "directives"), [(None, ()), (None, HTTP_1_1), (8, ())], ids=["", "1.1", "numbered"]
)
async def test_the_default_breaks_nothing_behind_nginx(
    make_server: MakeServer,
    folder: Path,
    version: int | None,
    directives: tuple[str, ...],
    buffering: str,
) -> None:
    """A client that sends no version gets no 104, nor does nginx as it is by itself: HTTP/1.0."""
    with (
        served(make_server, "matching") as server,
        nginx(folder, server.port, buffering, *directives) as port,
    ):
        await everything(server, client_of(server, version, port))


@pytest.mark.full
@pytest.mark.parametrize("buffering", BUFFERING)
async def test_a_104_makes_nginx_lose_step_on_http_1_1(
    make_server: MakeServer, folder: Path, buffering: str
) -> None:
    """Why docs/ietf.md says to turn 104 off there: nginx passes it on as the answer, whose end it
    waits for until its timeout; the real answer is lost, and the client has to ask. If this fails,
    nginx has learned it, and the page can say from which version on.
    """
    with (
        served(make_server, "matching") as server,
        nginx(folder, server.port, buffering, "proxy_read_timeout 1s", *HTTP_1_1) as port,
    ):
        client = client_of(server, 8, port)
        with pytest.raises(Cut) as lost:
            await client.create(content(MIB, 1), complete=True)
        server.until(lambda: answered(server), lambda statuses: statuses == [201])
        assert lost.value.location is not None
        standing = await client.offset(lost.value.location)
        assert (standing.offset, standing.headers["Upload-Complete"]) == (MIB, "?1")


def answered(server: Server) -> list[int]:
    """The statuses of uploads, as the service has answered them."""
    return [e["status"] for e in server.events() if e.get("method") == "POST"]


async def everything(server: Server, client: IetfClient) -> None:
    """Creation in one request and in parts, offset, append, cancellation, small and large."""
    for size in (0, 1, 100_000, 2 * MIB):
        data = content(size, size)
        whole = await client.create(data, complete=True)
        assert_final(server, client, whole, data)
        half = size // 2
        first = await client.create(data[:half], complete=False, path="/v1/objects")
        assert first.status == 201
        assert first.interim == []
        url = urlsplit(first.headers["Location"]).path
        standing = await client.offset(url)
        assert (standing.status, standing.offset) == (204, half)
        wrong = await client.append(url, half + 1, b"", complete=False)
        assert (wrong.status, wrong.offset) == (409, half)
        assert_final(
            server, client, await client.append(url, half, data[half:], complete=True), data
        )
    url = (await client.create(b"x", complete=False)).headers["Location"]
    assert (await client.cancel(url)).status == 204
    assert (await client.offset(url)).status == 404


def assert_final(server: Server, client: IetfClient, final: Answer, data: bytes) -> None:
    assert final.status == 201, final
    assert final.interim == []
    assert client.wire.says_complete(final.headers) is True
    assert_stored(server, final.json()["id"], data)
