"""Servers that are killed or stopped in the middle: no acknowledged byte is lost (INV-1)."""

import contextlib
import signal
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.client import Client, Unreachable, read_to_end
from tests.acceptance.conftest import SMALL_CHUNKS, MakeServer, stored_bytes
from tests.acceptance.content import MIB, blob_of, content
from tests.acceptance.server import Server
from tests.acceptance.test_life import NOW, collect


@dataclass(slots=True)
class ResumingClient:
    """Uploads `size` bytes in PATCHes of random sizes, come what may; keeps what it was told."""

    server: Server
    size: int
    seed: int
    piece_max: int
    upload: str = ""
    told: list[int] = field(default_factory=list)
    progress: threading.Condition = field(default_factory=threading.Condition)
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - the test's own thread raises it
            self.failure = error
        finally:
            with self.progress:
                self.progress.notify_all()

    def _run(self) -> None:
        random = Random(self.seed)
        client = Client(self.server.url, self.server.key)
        while not self.upload:
            with contextlib.suppress(Unreachable):
                self.upload = client.create(self.size)
        offset = 0
        while offset < self.size:
            try:
                piece = content(
                    min(random.randint(1, self.piece_max), self.size - offset), self.seed, offset
                )
                answer = client.patch(self.upload, offset, piece)
                if answer.status != 204:
                    offset = self._ask(client)
                    continue
                offset = answer.offset
                self._was_told(offset)
            except Unreachable:
                offset = self._ask(client)

    def _ask(self, client: Client) -> int:
        while True:
            try:
                answer = client.head(self.upload)
            except Unreachable:
                continue
            if answer.status == 200:
                self._was_told(answer.offset)
                return answer.offset
            assert answer.status == 503, answer

    def _was_told(self, offset: int) -> None:
        with self.progress:
            assert offset >= max(self.told, default=0), "an acknowledged byte was lost"
            self.told.append(offset)
            self.progress.notify_all()

    def wait_past(self, offset: int) -> None:
        with self.progress:
            assert self.progress.wait_for(
                lambda: self.failure or max(self.told, default=0) >= offset, timeout=60
            )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_that_is_killed_again_and_again_loses_nothing(
    make_server: MakeServer, seed: int
) -> None:
    """Small and large requests; the kill comes at a random moment of a request, not between two."""
    random = Random(seed)
    server = make_server(**SMALL_CHUNKS)
    server.start()
    size = 8 * MIB
    clients = [
        ResumingClient(server, size, seed * 10 + number, piece_max)
        for number, piece_max in enumerate([200_000, 4 * MIB])
    ]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for kill in range(1, 5):
        clients[kill % 2].wait_past(kill * size // 6)
        threading.Event().wait(random.random() * 0.1)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "an upload did not end"
    for client in clients:
        if client.failure is not None:
            raise client.failure
        made = server.made(client.upload)
        assert (made["size"], made["blob"]) == (size, blob_of(size, client.seed))
        assert server.client().content(made["id"]) == content(size, client.seed)


def test_what_a_killed_server_left_is_collected(make_server: MakeServer, folder: Path) -> None:
    """A kill between intent and commit leaves rows and perhaps bytes, never a leak for ever."""
    server = make_server(**SMALL_CHUNKS)
    server.start()
    for number in range(3):
        upload = server.client().create(8 * MIB)
        with server.client().socket() as opened:
            head = server.client().head_of_patch(upload, 0, 8 * MIB)
            opened.sendall(head + content(4 * MIB, number))
            server.kill()
        server.start()
        answer = server.client().request("DELETE", upload, headers={"Tus-Resumable": "1.0.0"})
        assert answer.status == 204
    collect(server, *NOW, "--delete", "--delete-share-max", "1")
    assert stored_bytes(folder / "chunks") == 0


def test_a_stop_in_the_middle_commits_what_was_received(make_server: MakeServer) -> None:
    server = make_server(**SMALL_CHUNKS)
    server.start()
    size, sent = 4 * MIB, 3 * MIB + 12_345
    data = content(size)
    upload = server.client().create(size)
    with server.client().socket() as opened:
        opened.sendall(server.client().head_of_patch(upload, 0, size) + data[:sent])
        wait_until_received(server, sent)
        server.signal(signal.SIGTERM)
        answer = read_to_end(opened).decode("latin-1")
    assert server.wait() == 0
    assert answer.startswith("HTTP/1.1 503 ")
    assert f"Upload-Offset: {sent}\r\n" in answer
    assert "shutting_down" in answer

    server.start()
    assert server.client().offset(upload) == sent
    assert server.client().patch(upload, sent, data[sent:]).offset == size
    assert server.client().content(server.made(upload)["id"]) == data


def test_a_stop_lets_a_running_download_end(make_server: MakeServer) -> None:
    server = make_server(**SMALL_CHUNKS, MEDIASTORE_HTTP__SHUTDOWN_GRACE_SECONDS="40")
    server.start()
    data = content(24 * MIB)
    made = server.client().made(data)
    with server.client().socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        opened.sendall(
            f"GET /v1/objects/{made['id']}/content HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {server.key}\r\n\r\n".encode()
        )
        begun = opened.recv(1000)
        server.signal(signal.SIGTERM)
        received = begun + read_to_end(opened)
    assert server.wait() == 0
    assert received.partition(b"\r\n\r\n")[2] == data


def test_a_second_signal_does_not_wait(make_server: MakeServer) -> None:
    """What was acknowledged is durable already; the rest was never promised."""
    server = make_server(**SMALL_CHUNKS, MEDIASTORE_HTTP__SHUTDOWN_DELAY_SECONDS="3600")
    server.start()
    upload = server.client().create(MIB)
    assert server.client().patch(upload, 0, content(1000)).offset == 1000
    server.signal(signal.SIGTERM)
    server.wait_until_not_ready()
    assert server.stop() == 130
    server.start()
    assert server.client().offset(upload) == 1000


def test_another_replica_goes_on_where_a_killed_one_stopped(make_server: MakeServer) -> None:
    """The second has not seen the beginning: it reads it back to name the blob."""
    first, second = make_server(**SMALL_CHUNKS), make_server(**SMALL_CHUNKS)
    first.start()
    second.start()
    data = content(3 * MIB)
    upload = first.client().create(len(data))
    assert first.client().patch(upload, 0, data[:MIB]).offset == MIB
    first.kill()
    assert second.client().offset(upload) == MIB
    assert second.client().patch(upload, MIB, data[MIB:]).offset == len(data)
    assert second.client().content(second.made(upload)["id"]) == data


def received_bytes(server: Server) -> float:
    """How much of bodies the server itself says that it has read, ever."""
    assert server.metrics_url is not None
    metrics = Client(server.metrics_url.removesuffix("/metrics"), "")
    for line in metrics.get("/metrics").body.decode().splitlines():
        if line.startswith("mediastore_bytes_received_total "):
            return float(line.split()[1])
    return 0


def wait_until_received(server: Server, size: int, *, before: float = 0) -> None:
    """Until it has read this many bytes of bodies more than `before`."""
    for _ in range(2000):
        if received_bytes(server) >= before + size:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not read what was sent")
