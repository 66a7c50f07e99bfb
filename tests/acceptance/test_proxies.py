"""The IETF draft through the proxies that people run: what becomes of 104, and that uploads work.

docs/ietf.md says of nginx, HAProxy and Envoy what is shown here.
"""

from pathlib import Path
from random import Random

import pytest

from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB, content
from tests.acceptance.ietf import assert_stored, client_of
from tests.acceptance.proxies import envoy, haproxy, nginx
from tests.acceptance.server import Server
from tests.ietf_client import Answer, Cut, IetfClient, Interim, path_of

HTTP_1_1 = ("proxy_http_version 1.1", 'proxy_set_header Connection ""')
BUFFERING = ["proxy_request_buffering on", "proxy_request_buffering off"]
WITHOUT_104 = [
    *(("off", version, directives) for version in (6, 8, None) for directives in ((), HTTP_1_1)),
    # The default breaks nothing: a client that sends no version gets none, nor does nginx as it is
    # by itself: HTTP/1.0.
    ("matching", None, ()),
    ("matching", None, HTTP_1_1),
    ("matching", 8, ()),
]

pytestmark = pytest.mark.full


def served(make_server: MakeServer, interim: str) -> Server:
    server = make_server(
        **SMALL_CHUNKS,
        MEDIASTORE_UPLOADS__INTERIM_RESPONSES=interim,
        MEDIASTORE_UPLOADS__INTERIM_INTERVAL_SECONDS="0",
    )
    server.start()
    return server


@pytest.mark.parametrize("buffering", BUFFERING)
@pytest.mark.parametrize(("interim", "version", "directives"), WITHOUT_104)
async def test_without_104_everything_works_through_nginx(
    make_server: MakeServer,
    folder: Path,
    interim: str,
    version: int | None,
    directives: tuple[str, ...],
    buffering: str,
) -> None:
    server = served(make_server, interim)
    with nginx(folder, server.port, buffering, *directives) as port:
        assert await everything(server, client_of(server, version, port)) == []


@pytest.mark.parametrize("buffering", BUFFERING)
async def test_a_104_makes_nginx_lose_step_on_http_1_1(
    make_server: MakeServer, folder: Path, buffering: str
) -> None:
    """Why docs/ietf.md says to turn 104 off there: nginx passes it on as the answer, whose end it
    waits for until its timeout; the real answer is lost, and the client has to ask. If this fails,
    nginx has learned it, and the page can say from which version on.
    """
    server = served(make_server, "matching")
    with nginx(folder, server.port, buffering, "proxy_read_timeout 1s", *HTTP_1_1) as port:
        client = client_of(server, 8, port)
        with pytest.raises(Cut) as lost:
            await client.create(content(MIB, 1), complete=True)
        server.until(lambda: answered(server), lambda statuses: statuses == [201])
        assert lost.value.location is not None
        standing = await client.offset(lost.value.location)
        assert (standing.offset, standing.headers["Upload-Complete"]) == (MIB, "?1")


@pytest.mark.parametrize("version", [8, None])
async def test_haproxy_passes_every_104_on(
    make_server: MakeServer, folder: Path, version: int | None
) -> None:
    server = served(make_server, "on")
    with haproxy(folder, server.port) as port:
        client = client_of(server, version, port)
        seen = await everything(server, client)
        assert max(len(interims) for interims in seen) > 1
        await assert_resumes(server, client)


@pytest.mark.parametrize("version", [8, None])
async def test_envoy_drops_104_unless_told_otherwise(
    make_server: MakeServer, folder: Path, version: int | None
) -> None:
    server = served(make_server, "on")
    with envoy(folder, server.port, proxies_100=False) as port:
        client = client_of(server, version, port)
        assert await everything(server, client) == []
        await assert_resumes(server, client)


@pytest.mark.parametrize("version", [8, None])
async def test_envoy_passes_the_first_104_on_with_proxy_100_continue(
    make_server: MakeServer, folder: Path, version: int | None
) -> None:
    """The upload's URL, and never what is stored (envoyproxy/envoy#19044)."""
    server = served(make_server, "on")
    with envoy(folder, server.port, proxies_100=True) as port:
        client = client_of(server, version, port)
        seen = await everything(server, client)
        assert {len(interims) for interims in seen} == {1}
        whole = await client.create(content(2 * MIB, 9), complete=True, Expect="100-continue")
        assert (whole.status, [i.status for i in whole.interim]) == (201, [104])
        assert whole.interim[0].headers["Location"].endswith(whole.json()["id"])
        await assert_resumes(server, client)


def answered(server: Server) -> list[int]:
    """The statuses of uploads, as the service has answered them."""
    return [e["status"] for e in server.events() if e.get("method") == "POST"]


async def assert_resumes(server: Server, client: IetfClient) -> None:
    """An upload whose connections break arrives whole."""
    for seed in range(3):
        data = content(MIB, seed)
        assert_stored(server, await client.upload(data, Random(seed), cuts=3), data)


async def everything(server: Server, client: IetfClient) -> list[list[Interim]]:
    """Creation in one request and in parts, offset, append, cancellation, small and large: the
    interim responses of each answer that had any.
    """
    seen: list[list[Interim]] = []

    def assert_final(final: Answer, data: bytes) -> None:
        assert final.status == 201, final
        assert client.wire.says_complete(final.headers) is True
        assert_stored(server, final.json()["id"], data)
        seen.append(final.interim)

    for size in (0, 1, 100_000, 2 * MIB):
        data = content(size, size)
        assert_final(await client.create(data, complete=True), data)
        half = size // 2
        first = await client.create(data[:half], complete=False, path="/v1/objects")
        assert first.status == 201
        seen.append(first.interim)
        url = path_of(first.headers["Location"])
        standing = await client.offset(url)
        assert (standing.status, standing.offset) == (204, half)
        wrong = await client.append(url, half + 1, b"", complete=False)
        assert (wrong.status, wrong.offset) == (409, half)
        assert_final(await client.append(url, half, data[half:], complete=True), data)
    url = (await client.create(b"x", complete=False)).headers["Location"]
    assert (await client.cancel(url)).status == 204
    assert (await client.offset(url)).status == 404
    return [interims for interims in seen if interims]
