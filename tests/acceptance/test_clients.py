"""The clients that real applications use: tuspy, aiotus, tus-js-client, Uppy, curl."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin

import pytest
from blake3 import blake3

from tests.acceptance.client import read_to_end
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer
from tests.acceptance.content import MIB, content
from tests.acceptance.proxy import BreakingProxy
from tests.acceptance.server import Server
from tests.acceptance.test_crashes import received_bytes, wait_until_received
from tests.acceptance.uploaders import (
    AIOTUS,
    TIMEOUT_SECONDS,
    TUS_JS,
    TUSPY,
    UPPY,
    Uploader,
    assert_all_comes_back,
    assert_stored,
    finished,
    write,
)

ALL = [
    pytest.param(TUSPY, id="tuspy"),
    pytest.param(AIOTUS, id="aiotus"),
    pytest.param(TUS_JS, id="tus-js-client", marks=pytest.mark.full),
    pytest.param(UPPY, id="uppy", marks=pytest.mark.full),
]
RESUMING = [one for one in ALL if one.id != "aiotus"]  # it keeps no URLs


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    """With absolute URLs: aiotus takes no others, the rest takes any."""
    made = make_server(**SMALL_CHUNKS, MEDIASTORE_HTTP__ABSOLUTE_URLS="true")
    made.start()
    return made


@pytest.mark.parametrize("patch_bytes", [0, 100_000])
@pytest.mark.parametrize("uploader", ALL)
def test_several_files_at_once(
    server: Server, uploader: Uploader, folder: Path, dsn: str, patch_bytes: int
) -> None:
    files = [write(folder, size, seed) for seed, size in enumerate([0, 1, 65_537, 3 * MIB])]
    files.append(write(folder, 3 * MIB, 3))  # and one of them twice
    uploading = [
        uploader.start(server, file, storage=f"urls-{number}", patch_bytes=patch_bytes)
        for number, file in enumerate(files)
    ]
    uploads = [finished(one) for one in uploading]
    assert len(set(uploads)) == len(uploads)
    for upload, file in zip(uploads, files, strict=True):
        assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


@pytest.mark.parametrize("patch_bytes", [0, 500_000])
@pytest.mark.parametrize("uploader", RESUMING)
def test_a_client_that_was_killed_resumes(
    server: Server, uploader: Uploader, folder: Path, patch_bytes: int
) -> None:
    file = write(folder, 6 * MIB, 1)
    with BreakingProxy(server.client().address) as proxy:
        proxy.stall_bytes = 2 * MIB if patch_bytes == 0 else 300_000
        first = uploader.start(server, file, through=proxy.url, patch_bytes=patch_bytes)
        assert proxy.stalled.wait(TIMEOUT_SECONDS)
        first.kill()
        first.communicate()
        proxy.stall_bytes = None
        proxy.reset_all()
        second = uploader.start(server, file, through=proxy.url, patch_bytes=patch_bytes)
        upload = finished(second)
    assert_stored(server, upload, file)
    created = server.log().count('"POST"')
    assert created == 1, "it resumed, it did not begin again"


@pytest.mark.parametrize("patch_bytes", [0, 900_000])
@pytest.mark.parametrize("uploader", ALL)
def test_a_connection_that_is_cut_again_and_again(
    server: Server, uploader: Uploader, folder: Path, dsn: str, patch_bytes: int
) -> None:
    file = write(folder, 4 * MIB, 1)
    with BreakingProxy(server.client().address) as proxy:
        proxy.allowance_bytes = 700_000
        upload = finished(uploader.start(server, file, through=proxy.url, patch_bytes=patch_bytes))
        assert proxy.resets >= 3
    assert_stored(server, upload, file)
    assert_all_comes_back(server, dsn)


def test_a_connection_that_went_silent_costs_nothing(server: Server) -> None:
    """A phone that changes networks: the old connection stays open and says nothing; the client
    asks on a new one and goes on behind the last byte that arrived.
    """
    client = server.client()
    size, sent = 4 * MIB, MIB + 4321
    data = content(size)
    upload, before = client.create(size), received_bytes(server)
    with client.socket() as silent:
        silent.sendall(client.head_of_patch(upload, 0, size) + data[:sent])
        wait_until_received(server, sent, before=before)
        assert client.offset(upload) == sent
        assert read_to_end(silent).startswith(b"HTTP/1.1 409 ")
    assert client.patch(upload, sent, data[sent:]).offset == size
    assert client.content(server.made(upload)["id"]) == data


# curl


def curl(server: Server, *arguments: str, data: bytes | None = None) -> bytes:
    program = shutil.which("curl")
    assert program, "this test needs curl"
    command = [program, "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {server.key}"]
    ran = subprocess.run(
        [*command, *arguments],
        input=data,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def header(answer: bytes, name: str) -> str:
    """A header of the last answer in curl's `-i` or `-I` output."""
    found = ""
    for line in answer.decode("latin-1").splitlines():
        key, _, value = line.partition(":")
        if key.lower() == name:
            found = value.strip()
    return found


@pytest.mark.full
def test_curl_posts_and_reads_ranges(server: Server, folder: Path) -> None:
    file = write(folder, 3 * MIB, 1)
    data = file.read_bytes()
    answers = [
        curl(server, "--data-binary", f"@{file}", f"{server.url}/v1/objects?name=a.bin"),
        curl(server, "-X", "POST", "-T", str(file), f"{server.url}/v1/objects"),
        curl(server, "-X", "POST", "-T", "-", f"{server.url}/v1/objects", data=data),  # chunked
    ]
    content_url = ""
    for answer in answers:
        made = json.loads(answer)
        assert (made["size"], made["blob"]) == (len(data), blake3(data).hexdigest())
        content_url = f"{server.url}/v1/objects/{made['id']}/content"
        assert curl(server, content_url) == data
    for range_, part in [
        ("0-0", data[:1]),
        ("1000000-1999999", data[1_000_000:2_000_000]),
        ("3000000-", data[3_000_000:]),
        ("-5", data[-5:]),
    ]:
        assert curl(server, "-r", range_, content_url) == part
    partial = folder / "partial"
    partial.write_bytes(data[:1_234_567])
    curl(server, "-C", "-", "-o", str(partial), content_url)
    assert partial.read_bytes() == data
    etag = header(curl(server, "-I", content_url), "etag")
    not_modified = curl(server, "-i", "-H", f"If-None-Match: {etag}", content_url)
    assert not_modified.startswith(b"HTTP/1.1 304 ")


@pytest.mark.full
def test_curl_speaks_tus_by_hand(server: Server, folder: Path) -> None:
    file = write(folder, 2 * MIB, 1)
    data = file.read_bytes()
    tus = ("-H", "Tus-Resumable: 1.0.0")
    patch = (*tus, "-X", "PATCH", "-H", "Content-Type: application/offset+octet-stream")
    metadata = "Upload-Metadata: filename ZmlsZS0xLmJpbg==,filetype aW1hZ2UveC10ZXN0"
    create = ("-X", "POST", "-H", f"Upload-Length: {len(data)}", "-H", metadata)
    created = curl(server, "-i", *tus, *create, f"{server.url}/v1/uploads")
    upload = urljoin(server.url, header(created, "location"))
    half = len(data) // 2
    for start, end in ((0, half), (half, len(data))):
        offset = header(curl(server, *tus, "-I", upload), "upload-offset")
        assert offset == str(start)
        body = ("--data-binary", "@-", "-H", f"Upload-Offset: {offset}", upload)
        answer = curl(server, "-i", *patch, *body, data=data[start:end])
        assert header(answer, "upload-offset") == str(end)
    assert_stored(server, upload, file)


def test_parallel_uploads_of_one_process(server: Server) -> None:
    """Many small files at once, half of them alike, on connections of their own."""
    client = server.client()

    def one(number: int) -> tuple[int, str]:
        return number % 20, str(client.made(content(40_000, seed=number % 20))["id"])

    with ThreadPoolExecutor(8) as pool:
        for seed, id_ in pool.map(one, range(40)):
            assert client.content(id_) == content(40_000, seed=seed)
