"""The command as an operator meets it: real settings, a directory store, exit codes."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from mediastore_gc.cli import app
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from mediastore.catalog.objects import trash_object
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.clock import SystemClock
from mediastore.settings import Settings, load_settings
from tests.collection_world import TENANT, noise, store_file

TRY_OUT = (
    "--unsafe-delays", "--trash-delay", "0", "--revive-delay", "0",
    "--recovery-window", "0", "--recovery-margin", "0",
)  # fmt: skip


def command(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mediastore_gc", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def answer(config: Path, *arguments: str) -> Any:
    done = command(config, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def upload_and_delete(settings: Settings) -> None:
    clock = SystemClock()
    async with (
        open_catalog(settings.catalog, clock) as catalog,
        open_chunk_store(settings.chunk_store, clock, CollectorRegistry()) as store,
    ):
        await create_tenant(catalog, TENANT)
        made = await store_file(catalog, store, [noise("a", 5000), noise("b", 3000)])
        assert await trash_object(catalog, TENANT, made.id) is not None


def stored_files(config: Path) -> int:
    return sum(path.is_file() for path in (config.parent / "chunks" / "chunks").rglob("*"))


async def test_one_command_brings_the_bytes_back(config: Path) -> None:
    await upload_and_delete(load_settings(config))
    assert stored_files(config) == 2
    plan = answer(config, "plan")
    assert (plan["nothing_to_do"], plan["stages"]["trash_waiting"]["count"]) == (True, 1)

    dry = command(config, "run", "--once", *TRY_OUT)
    assert dry.returncode == 0
    assert dry.stdout.splitlines()[-1].endswith("'run --once --delete' does it.")
    assert dry.stderr == ""
    assert stored_files(config) == 2

    done = answer(config, "run", "--once", "--delete", *TRY_OUT)
    assert (done["deleted_keys"], done["deleted_bytes"]) == (2, 8000)
    assert stored_files(config) == 0
    status = answer(config, "status")
    assert status["deleted_last_day_bytes"] == 8000
    assert status["live"] == {"count": 0, "bytes": 0, "exact": True}
    assert command(config, "status").returncode == 0


async def test_short_windows_are_waited_for(config: Path) -> None:
    await upload_and_delete(load_settings(config))
    short = [*TRY_OUT[:-4], "--recovery-window", "1", "--recovery-margin", "0"]
    assert answer(config, "run", "--once", "--delete", *short)["deleted_keys"] == 2


def test_short_delays_without_consent(config: Path) -> None:
    done = command(config, "run", "--once", "--delete", "--revive-delay", "1")
    assert done.returncode == 32
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("[unsafe_delays]\n")


def test_pause_and_resume(config: Path) -> None:
    assert answer(config, "pause", "--why", "moving house")["paused"]
    refused = command(config, "run", "--once", "--delete")
    assert (refused.returncode, refused.stderr.count("\n")) == (31, 1)
    assert "moving house" in refused.stderr
    assert "PAUSED: moving house" in command(config, "status").stdout
    assert answer(config, "resume") == {"paused": False}
    assert command(config, "run", "--once", "--delete").returncode == 0


async def test_holds_undelete_and_explain(
    config: Path, connection: "asyncpg.Connection[Any]"
) -> None:
    await upload_and_delete(load_settings(config))
    made = await connection.fetchrow("SELECT id, blob FROM objects")
    assert made is not None
    added = answer(config, "hold", "add", "--object", str(made["id"]), "--why", "case 7")
    assert added == {"hold": 1, "keys": 0, "claimed": 0}
    assert [hold["why"] for hold in answer(config, "hold", "list")] == ["case 7"]
    assert "HOLDS: 1 holds" in command(config, "status").stdout
    kept = answer(config, "run", "--once", "--delete", *TRY_OUT)
    assert kept["purged_objects"] == 0
    told = command(config, "explain", str(made["id"])).stdout
    assert "hold 1 keeps it" in told
    dry = command(config, "hold", "remove", "1")
    assert dry.stdout.splitlines()[-1].endswith("'hold remove 1 --apply' removes it.")
    assert answer(config, "hold", "remove", "1", "--apply")["removed"]
    assert answer(config, "hold", "list") == []

    out = [*TRY_OUT[:-4], "--recovery-window", "100000", "--recovery-margin", "0"]
    removed = answer(config, "run", "--once", "--delete", *out)
    assert (removed["doomed_keys"], removed["deleted_keys"]) == (2, 0)
    assert [one["kind"] for one in answer(config, "explain", made["blob"].hex())] == ["blob"]
    dry = command(config, "undelete", made["blob"].hex())
    assert dry.stdout.splitlines()[-1].endswith("--apply' does it.")
    assert answer(config, "undelete", str(made["id"]), "--apply")["undeleted"]
    assert stored_files(config) == 4
    assert await connection.fetchval("SELECT deleted_at IS NULL FROM objects") is True
    live = command(config, "undelete", str(made["id"]))
    assert (live.returncode, live.stderr.count("\n")) == (5, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("explain", "0" * 64), 4),
        (("explain", "nonsense"), 2),
        (("undelete", "0" * 64), 4),
        (("undelete", "0" * 63), 2),
        (("hold", "add", "--why", "x"), 2),
        (("hold", "add", "--owner", "someone", "--why", "x"), 2),
        (("hold", "add", "--tenant", "nobody", "--why", "x"), 4),
        (("hold", "remove", "7", "--apply"), 4),
        (("run", "--once", "--watch"), 2),
        (("pause",), 2),
        (("run", "--delete", "--metrics-host", "0.0.0.0"), 2),
        (("explain", "nothing"), 2),
    ],
)
def test_exit_codes_are_stable(config: Path, arguments: tuple[str, ...], code: int) -> None:
    done = command(config, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert done.stdout == ""


async def test_limits_and_workers_of_a_run(config: Path) -> None:
    await upload_and_delete(load_settings(config))
    run = ("run", "--once", "--delete", "--workers", "2", *TRY_OUT)
    assert answer(config, *run, "--max-objects", "1")["deleted_keys"] == 1
    assert answer(config, *run, "--max-bytes", "2999")["deleted_keys"] == 0
    assert answer(config, *run, "--rate", "100000")["deleted_keys"] == 1


def test_every_verb_answers_in_json() -> None:
    told = CliRunner().invoke(app, ["--help"], env={"NO_COLOR": "1"})
    assert told.exit_code == 0
    assert " 36  bytes_gone" in told.stdout
    listed = told.stdout.partition("\nCommands:\n")[2].partition("\n\n")[0]
    verbs = [[line.split()[0]] for line in listed.splitlines() if line[2:3].strip()]
    assert len(verbs) >= 10
    verbs.remove(["hold"])
    for verb in [*verbs, ["hold", "add"], ["hold", "list"], ["hold", "remove"]]:
        assert "--json" in CliRunner().invoke(app, [*verb, "--help"]).stdout, verb


def test_a_restored_database_and_the_way_out(config: Path) -> None:
    folder = config.parent / "chunks"
    assert answer(config, "recount")["finished"]
    settings = load_settings(config)
    assert settings.chunk_store.directory == folder
    done = command(config, "reconcile", "--apply")
    assert done.returncode == 0
    assert answer(config, "plan")["nothing_to_do"]


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mediastore.toml"
    file.write_text('[catalog]\ndsn = "postgresql://nobody@127.0.0.1:9/none"\n')
    done = command(file, "status")
    assert done.returncode == 10
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


async def test_sigterm_ends_a_repeating_run(
    config: Path, connection: "asyncpg.Connection[Any]"
) -> None:
    await upload_and_delete(load_settings(config))
    await connection.execute(
        "UPDATE objects SET deleted_at = '2020-01-01', purge_at = '2020-01-02'"
    )
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediastore_gc", "-c", str(config), "run", "--delete"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    finished = "SELECT count(finished_at) FROM gc_runs"
    async with asyncio.timeout(30):
        while not await connection.fetchval(finished):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.05)
        running.terminate()
        _, errors = await running.communicate()
    assert running.returncode == 0
    assert errors == b""


async def test_each_round_of_a_repeating_run_is_a_line_of_json(config: Path) -> None:
    await upload_and_delete(load_settings(config))
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediastore_gc", "-c", str(config)),
        *("run", "--watch", "--delete", "--json", "--every", "1", *TRY_OUT),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout is not None
    async with asyncio.timeout(60):
        rounds = [json.loads(await running.stdout.readline()) for _ in range(2)]
        running.terminate()
        await running.communicate()
    assert [counts["deleted_keys"] for counts in rounds] == [2, 0]


@pytest.mark.parametrize(
    ("section", "arguments", "host"),
    [
        ("", (), "127.0.0.1"),
        ('[http]\nmetrics_host = "0.0.0.0"\n', (), "0.0.0.0"),
        ("", ("--metrics-host", "0.0.0.0"), "0.0.0.0"),
    ],
    ids=["default", "setting", "argument"],
)
async def test_metrics_are_where_somebody_else_can_scrape_them(
    config: Path, section: str, arguments: tuple[str, ...], host: str
) -> None:
    config.write_text(config.read_text() + section)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mediastore_gc", "-c", str(config)),
        *("run", "--watch", "--delete", "--metrics-port", "0", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"},
    )
    assert running.stderr is not None
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        told = re.search(r"http://(.+):(\d+)/metrics", (await running.stderr.readline()).decode())
        assert told is not None
        assert told[1] == host
        async with session.get(f"http://127.0.0.1:{told[2]}/metrics") as response:
            assert "mediastore_collection_brake" in await response.text()
        running.terminate()
        await running.communicate()
    assert running.returncode == 0


def test_metrics_that_cannot_be_served_are_a_wrong_argument(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(config, "run", "--once", "--delete", "--metrics-port", port)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


async def test_audits_say_what_they_found_and_exit_by_it(config: Path) -> None:
    settings = load_settings(config)
    clock = SystemClock()
    async with (
        open_catalog(settings.catalog, clock) as catalog,
        open_chunk_store(settings.chunk_store, clock, CollectorRegistry()) as store,
    ):
        await create_tenant(catalog, TENANT)
        await store_file(catalog, store, [noise("a", 5000), noise("b", 3000)])
    for verb in ("verify", "orphans", "scrub", "doctor"):
        done = command(config, verb)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert answer(config, "verify")["chunks"] == 2
    assert answer(config, "scrub")["bytes"] == 8000
    ended = answer(config, "status")["last_audits"]
    assert [audit["audit"] for audit in ended] == ["orphans", "scrub", "verify"]
    assert "last scrub:" in command(config, "status").stdout
    chunk = next(p for p in (config.parent / "chunks" / "chunks").rglob("*") if p.is_file())
    hash_, body = chunk.name.partition(".")[0], chunk.read_bytes()
    chunk.write_bytes(b"x" + body[1:])
    found = command(config, "scrub", "--json")
    assert found.returncode == 40
    assert found.stderr.endswith("[audit_findings]\n")
    assert [hash_ in key for key in json.loads(found.stdout)["damaged"]] == [True]
    assert len(json.loads(found.stdout)["hurt"]["objects"]) == 1
    chunk.unlink()
    assert command(config, "verify").returncode == 0, "a marked row needs no bytes"
    other = next(p for p in (config.parent / "chunks" / "chunks").rglob("*") if p.is_file())
    other.unlink()
    assert command(config, "orphans", "--json").returncode == 40
    missing = command(config, "verify", "--json")
    assert missing.returncode == 40
    assert json.loads(missing.stdout)["findings"]["met"] == {"key_missing": 1}
    reconciled = command(config, "reconcile", "--json")
    assert reconciled.returncode == 40
    assert json.loads(reconciled.stdout)["missing"] == 2, "the marked one too"


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--prefix", "XY"),
        ("verify", "--resume", "nowhere"),
        ("verify", "--inventory", "not-there.json"),
        ("orphans", "--after", "chunks/1"),
        ("orphans", "--inventory", "not-there.json"),
        ("scrub", "--after", "nothing"),
    ],
)
def test_audits_refuse_what_makes_no_sense(config: Path, arguments: tuple[str, ...]) -> None:
    done = command(config, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
