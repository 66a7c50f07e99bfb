"""`mediastore dev`: from nothing to serving, and back to nothing that runs."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from blake3 import blake3

from tests.acceptance.conftest import MakeServer, chunk_files
from tests.acceptance.content import content
from tests.acceptance.server import DidNotStart, Server, gone_is_fine, run_command

DATA = content(5_000_000)


def used(server: Server) -> str:
    """A server that holds something; the object's id."""
    return str(server.client().made(DATA)["id"])


def system_identifier(server: Server) -> str:
    """Of the Postgres cluster: another one would be another cluster."""
    process = server.postgres()[0]
    controldata = Path(process.exe()).with_name("pg_controldata")
    answer = subprocess.run(
        [controldata, str(server.postgres_folder)], capture_output=True, text=True, check=True
    )
    found = re.search(r"system identifier:\s+(\d+)", answer.stdout)
    assert found is not None
    return found[1]


@contextmanager
def signals_as_in_a_terminal() -> Iterator[None]:
    """For what is started inside: under nohup SIGHUP is ignored, and children inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_stops_everything_and_the_next_start_goes_on(
    make_dev: MakeServer, number: signal.Signals
) -> None:
    """Ctrl-C reaches the whole group, Postgres included, which is stopped last and cleanly."""
    server = make_dev()
    with signals_as_in_a_terminal():
        server.start()
    id_, key, cluster = used(server), server.key, system_identifier(server)
    assert server.postgres()
    assert server.stop(number) == 0
    assert server.postgres() == []
    assert server.postgres_folder is not None
    assert not (server.postgres_folder / "postmaster.pid").exists()

    server.start()
    assert (server.key, system_identifier(server)) == (key, cluster)
    assert server.client().content(id_) == DATA
    log = (server.postgres_folder.parent / "postgres.log").read_text()
    assert "was not properly shut down" not in log


def test_a_start_after_kill_9_recovers_by_itself(make_dev: MakeServer) -> None:
    server = make_dev()
    server.start()
    id_, key, cluster = used(server), server.key, system_identifier(server)
    for _ in range(2):
        before = {process.pid for process in server.postgres()}
        server.kill()
        server.start()
        assert not before & {process.pid for process in server.postgres()}
        assert (server.key, system_identifier(server)) == (key, cluster)
        assert server.client().content(id_) == DATA


def test_a_start_after_a_power_cut_recovers_by_itself(make_dev: MakeServer) -> None:
    """Server and Postgres are gone at once; the pid file names a process that is not Postgres."""
    server = make_dev()
    server.start()
    id_ = used(server)
    server.kill()
    for process in server.postgres():
        with gone_is_fine():
            process.kill()
    psutil.wait_procs(server.postgres())
    assert server.postgres_folder is not None
    pid_file = server.postgres_folder / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join(["1", *lines[1:]]) + "\n")
    server.start()
    assert server.client().content(id_) == DATA


def test_a_postgres_that_dies_is_started_again(make_dev: MakeServer) -> None:
    server = make_dev()
    server.start()
    id_ = used(server)
    before = server.postgres()
    for process in before:
        process.kill()
    psutil.wait_procs(before)
    answer = server.until(
        lambda: server.client().get(f"/v1/objects/{id_}/content"), lambda got: got.status == 200
    )
    assert answer.body == DATA
    assert "starting it again" in server.log()


def test_one_folder_has_one_server(make_dev: MakeServer) -> None:
    first, second = make_dev(), make_dev()
    first.start()
    assert first.process is not None
    holder = str(first.process.pid)
    second.port = 0
    with pytest.raises(DidNotStart) as refusal:
        second.start()
    assert second.wait() == 5
    message = second.log().strip().splitlines()
    assert len(message) == 1, "one line, no traceback"
    assert holder in message[0]
    assert str(refusal.value).strip() == message[0]
    assert first.client().made(b"still here")["size"] == 10


def test_a_port_that_is_taken_is_refused_and_leaves_nothing(
    make_dev: MakeServer, server: Server
) -> None:
    dev = make_dev()
    dev.port = server.port
    with pytest.raises(DidNotStart, match="cannot listen"):
        dev.start()
    assert dev.wait() == 2
    assert dev.postgres() == []


def test_a_lost_key_file_is_replaced_by_a_new_key(make_dev: MakeServer) -> None:
    server = make_dev()
    server.start()
    id_, key = used(server), server.key
    server.stop()
    assert server.key_file is not None
    assert server.key_file.stat().st_mode & 0o077 == 0
    server.key_file.unlink()
    server.start()
    assert server.key != key
    assert server.client().content(id_) == DATA


def test_what_it_writes_is_for_the_other_commands(make_dev: MakeServer, folder: Path) -> None:
    server = make_dev()
    server.start()
    config = str(folder / "data" / "mediastore.toml")
    tenants = run_command("mediastore", "--config", config, "tenant", "list", "--json")
    assert tenants.returncode == 0, tenants.stderr
    assert '"dev"' in tenants.stdout
    migrated = run_command("mediastore", "migrate", "--config", config)
    assert migrated.stdout == "nothing to apply\n"
    status = run_command("mediastore-gc", "--config", config, "status", "--json")
    assert status.returncode == 0, status.stderr


@pytest.mark.full
def test_the_printed_example_works_when_pasted(make_dev: MakeServer, folder: Path) -> None:
    assert shutil.which("curl"), "this test needs curl"
    server = make_dev()
    server.start()
    said = server.said()
    pasted = said.split("paste this into another terminal:\n", 1)[1].split(
        "\n\nWhat collection", 1
    )[0]
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", pasted],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    content, link = ran.stdout.splitlines()
    assert content == "Hello, mediastore."
    assert "&sig=" in json.loads(link)["url"]
    command = re.search(r"^  (\S*mediastore-gc --config .*)$", said, re.MULTILINE)
    assert command is not None
    planned = subprocess.run(["bash", "-c", command[1]], capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr


def test_bytes_are_on_disk_under_their_own_hash(make_dev: MakeServer, folder: Path) -> None:
    server = make_dev()
    server.start()
    used(server)
    files = chunk_files(folder / "data" / "chunks")
    assert sum(path.stat().st_size for path in files) == len(DATA)
    for path in files:
        assert path.name.startswith(blake3(path.read_bytes()).hexdigest())
