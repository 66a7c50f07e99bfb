"""The IETF draft against the real service: every version over connections that break."""

from random import Random

import pytest

from tests.acceptance.content import MIB, content
from tests.acceptance.ietf import assert_stored, client_of
from tests.acceptance.server import Server


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
