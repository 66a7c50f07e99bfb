"""`mediastore serve --workers 2`: two processes behind one port, seen as one from outside."""

import json
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.acceptance.client import TUS, Client, Unreachable
from tests.acceptance.conftest import MakeServer
from tests.acceptance.server import DidNotStart, Server, gone_is_fine

TWO = {"MEDIASTORE_HTTP__WORKERS": "2", "MEDIASTORE_HTTP__METRICS_PORT": "0"}
SIZE, SENT = 10_000, 4321


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    made = make_server(**TWO)
    made.start()
    return made


def workers(server: Server) -> list[psutil.Process]:
    """Its worker processes, without those that these start themselves."""
    assert server.process is not None
    found = []
    for child in psutil.Process(server.process.pid).children():
        with gone_is_fine():  # also a zombie: one that is not buried yet
            if "mediastore.workers.worker" in child.cmdline():
                found.append(child)
    return found


def sample(server: Server, name: str) -> float:
    """A metric's value; of all its labels together."""
    assert server.metrics_url is not None
    with urllib.request.urlopen(server.metrics_url, timeout=20) as response:
        text = response.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    values = [
        line.rpartition(" ") for line in lines if line.partition(" ")[0].split("{")[0] == name
    ]
    return sum(float(value) for _, _, value in values)


def replaced(server: Server, number: int) -> None:
    """Wait until so many workers were replaced, all told."""
    name = "mediastore_worker_restarts_total"
    server.until(lambda: sample(server, name), lambda restarts: restarts == number)


def uploaded(server: Server) -> float:
    return sample(server, "mediastore_uploads_ended_total")


def received_by(server: Server, bodies: int) -> None:
    """Wait until so many bodies have arrived, as far as they were sent."""
    name = "mediastore_bytes_received_total"
    server.until(lambda: sample(server, name), lambda size: size == bodies * SENT)


def connections(process: psutil.Process, port: int) -> int:
    """How many it has taken on this port."""
    return sum(
        at.status == psutil.CONN_ESTABLISHED and at.laddr.port == port
        for at in process.net_connections("tcp")
    )


@contextmanager
def a_body_under_way(server: Server, path: str) -> Iterator[socket.socket]:
    """A connection that has sent the first SENT of SIZE bytes, and waits."""
    client = server.client()
    bearer = client.bearer["Authorization"]
    with socket.create_connection(client.address, timeout=60) as connection:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\n"
            "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {SIZE}\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * SENT)
        yield connection


def test_both_serve_and_the_metrics_are_those_of_both(server: Server) -> None:
    first, second = workers(server)
    assert first.pid != second.pid
    client = server.client()
    made = [client.made(bytes([number]) * 1000) for number in range(24)]
    for number, document in enumerate(made):
        assert client.content(document["id"]) == bytes([number]) * 1000
    assert uploaded(server) == 24
    assert sample(server, "mediastore_workers") == 2
    assert sample(server, "mediastore_worker_restarts_total") == 0
    # That 32 connections all fall to the same process is as good as impossible.
    opened = [socket.create_connection(client.address, timeout=60) for _ in range(32)]
    server.until(
        lambda: [connections(process, server.port) for process in (first, second)],
        lambda shares: sum(shares) == 32 and all(shares),
    )
    for connection in opened:
        connection.close()


def test_a_worker_that_is_killed_is_replaced_and_no_count_falls(server: Server) -> None:
    client = server.client()
    for number in range(8):
        client.made(bytes([number]) * 1000)
    assert uploaded(server) == 8
    killed, kept = workers(server)
    killed.send_signal(signal.SIGKILL)
    server.until(
        lambda: {process.pid for process in workers(server)} - {killed.pid, kept.pid}, bool
    )
    server.until(lambda: sample(server, "mediastore_workers"), lambda running: running == 2)
    assert uploaded(server) == 8
    assert sample(server, "mediastore_worker_restarts_total") == 1
    for number in range(8):
        client.made(bytes([100 + number]) * 1000)
    assert uploaded(server) == 16


def test_a_stop_lets_both_commit_what_they_hold(server: Server) -> None:
    client = server.client()
    paths = [client.create(SIZE) for _ in range(8)]
    held = [a_body_under_way(server, path) for path in paths]
    connections = [connection.__enter__() for connection in held]
    received_by(server, 8)
    assert server.stop() == 0
    for connection in connections:
        connection.close()
    server.start()
    for path in paths:
        answer = server.client().request("HEAD", path, headers=TUS)
        assert answer.offset == SENT


def test_an_interrupt_at_the_terminal_stops_it_once(server: Server) -> None:
    """Ctrl-C reaches every process of the group: the workers, told by their supervisor, wait."""
    with a_body_under_way(server, server.client().create(SIZE)):
        received_by(server, 1)
        pids = [process.pid for process in workers(server)]
        assert server.stop(signal.SIGINT) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not [event for event in server.events() if event["event"] == "stopping_now"]


def test_workers_do_not_outlive_their_supervisor(server: Server) -> None:
    left = workers(server)
    server.kill()
    _, alive = psutil.wait_procs(left, timeout=60)
    for process in alive:
        with gone_is_fine():
            process.kill()
    assert alive == []


def test_what_ends_a_start_is_told_once(make_server: MakeServer) -> None:
    server = make_server(**TWO, MEDIASTORE_CATALOG__DSN="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DidNotStart) as raised:
        server.start()
    assert str(raised.value).count("[catalog_unavailable]") == 1
    assert server.wait() == 10


def test_a_port_that_somebody_listens_on_is_refused(
    make_server: MakeServer, server: Server
) -> None:
    """Also another service of the same kind: the kernel would share its connections out."""
    other = make_server(**TWO)
    other.port = server.port
    with pytest.raises(DidNotStart, match="cannot listen on"):
        other.start()
    assert other.wait() == 2
    assert server.ready()


def test_requests_go_on_while_workers_are_killed(server: Server) -> None:
    """A client that tries again once is always served: at least one worker listens."""
    client = server.client()
    made = client.made(b"x" * 1000)
    failed: list[str] = []
    stop = threading.Event()

    def read(client: Client) -> None:
        while not stop.is_set():
            for attempt in range(3):
                try:
                    if client.content(made["id"]) == b"x" * 1000:
                        break
                except Unreachable as error:
                    if attempt == 2:
                        failed.append(str(error))

    readers = [threading.Thread(target=read, args=(client,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 4):
            (killed, *_) = workers(server)
            os.kill(killed.pid, signal.SIGKILL)
            replaced(server, number)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failed == []


def test_the_log_of_every_process_is_json(server: Server) -> None:
    server.client().made(b"x")
    assert server.stop() == 0
    for line in server.log().splitlines():
        json.loads(line)
