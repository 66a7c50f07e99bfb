"""`mediastore tenant`, `key`, `events` and `purge` as an operator meets them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.events.conftest import TENANT


@pytest.fixture
def config(dsn: str, tmp_path: Path) -> Path:
    file = tmp_path / "mediastore.toml"
    file.write_text(f'[catalog]\ndsn = "{dsn}"\n')
    return file


def command(config: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from mediastore.cli import main; main()",
            *("--config", str(config), *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )


def done(config: Path, *arguments: str) -> str:
    ended = command(config, *arguments)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout


def answer(config: Path, *arguments: str) -> Any:
    return json.loads(done(config, *arguments, "--json"))


def refused(config: Path, *arguments: str) -> tuple[int, str]:
    ended = command(config, *arguments)
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    return ended.returncode, ended.stderr.rpartition("[")[2].rstrip("]\n")


def test_a_tenant_s_policy(config: Path) -> None:
    done(config, "tenant", "create", TENANT)
    bare = {"id": TENANT, "public": False, "trash_seconds": 2592000, "webhook_secrets": 0}
    assert answer(config, "tenant", "show", TENANT) == [bare]

    said = done(
        config,
        *("tenant", "set", TENANT, "public=true", "trash_seconds=60", "upload_expiry=fixed"),
        *("content_types=image/*,video/mp4", "webhook_url=https://app.example/hook?a=b"),
    )
    secret = said.split()[-1]
    assert secret.startswith("whsec_")
    shown = answer(config, "tenant", "show", TENANT)
    assert shown == answer(config, "tenant", "list")
    assert shown == [
        {
            "id": TENANT,
            "public": True,
            "trash_seconds": 60,
            "upload_expiry": "fixed",
            "content_types": ["image/*", "video/mp4"],
            "webhook_url": "https://app.example/hook?a=b",
            "webhook_secrets": 1,
        }
    ]
    assert secret not in done(config, "tenant", "show", TENANT)

    assert "secret" not in done(config, "tenant", "set", TENANT, "content_types=", "public=false")
    (shown,) = answer(config, "tenant", "show", TENANT)
    assert "content_types" not in shown
    assert (shown["public"], shown["trash_seconds"]) == (False, 60)
    assert done(config, "tenant", "secret", TENANT).startswith("whsec_")
    assert answer(config, "tenant", "show", TENANT)[0]["webhook_secrets"] == 2
    done(config, "tenant", "secret", TENANT, "--drop-old")
    assert answer(config, "tenant", "show", TENANT)[0]["webhook_secrets"] == 1


def test_what_is_not_valid_is_refused_and_changes_nothing(config: Path) -> None:
    done(config, "tenant", "create", TENANT)
    for wrong in (
        "nonsense=1",
        "size_max_bytes",
        "size_max_bytes=x",
        "public=x",
        "trash_seconds=-1",
    ):
        ended = refused(config, "tenant", "set", TENANT, "upload_expiry=fixed", wrong)
        assert ended == (2, "bad_request"), wrong
    assert "upload_expiry" not in answer(config, "tenant", "show", TENANT)[0]


def test_nobody(config: Path) -> None:
    assert refused(config, "tenant", "show", "nobody") == (4, "not_found")
    assert refused(config, "tenant", "set", "nobody", "public=true") == (4, "not_found")
    assert refused(config, "tenant", "secret", "nobody") == (4, "not_found")


def test_keys(config: Path) -> None:
    done(config, "tenant", "create", TENANT)
    key = done(config, "key", "create", TENANT, "--name", "app").strip()
    (row,) = answer(config, "key", "list", TENANT)
    assert row["name"] == "app"
    assert key not in done(config, "key", "list", TENANT)
    done(config, "key", "revoke", row["id"])
    assert refused(config, "key", "revoke", row["id"]) == (4, "not_found")


def test_events(config: Path, dsn: str) -> None:
    done(config, "tenant", "create", TENANT)
    done(config, "tenant", "set", TENANT, "webhook_url=http://127.0.0.1:9/")

    async def parked() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "INSERT INTO events (tenant, kind, payload, attempts, parked_at, last_error) "
            "SELECT 'acme', 'object.created', '{}', 12, now(), 'the receiver answered 500' "
            "FROM generate_series(1, 3)"
        )
        await connection.execute(
            "INSERT INTO events (tenant, kind, payload) VALUES ('x', 'y', '{}')"
        )
        await connection.close()

    asyncio.run(parked())
    assert len(answer(config, "events", "list")) == 4
    assert len(answer(config, "events", "list", "--limit", "2")) == 2
    first, second, third = answer(config, "events", "list", "--parked")
    assert (first["attempts"], first["last_error"]) == (12, "the receiver answered 500")
    assert answer(config, "events", "list", "--tenant", "x")[0]["kind"] == "y"
    assert second["key"] in done(config, "events", "list", "--parked")

    assert refused(config, "events", "retry") == (2, "bad_request")
    assert done(config, "events", "retry", first["key"]) == "1 to be tried again\n"
    assert done(config, "events", "retry", "--tenant", TENANT) == "2 to be tried again\n"
    assert answer(config, "events", "list", "--parked") == []
    shown = {row["key"]: row["attempts"] for row in answer(config, "events", "list")}
    assert [shown[row["key"]] for row in (first, second, third)] == [0, 0, 0]
    assert refused(config, "events", "retry", "00000000-0000-0000-0000-000000000000") == (
        4,
        "not_found",
    )


def test_purges(config: Path, dsn: str) -> None:
    assert answer(config, "purge", "status") == []

    async def parked() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "INSERT INTO cdns (name, wanted_until) SELECT name, now() + interval '1 day' "
            "FROM unnest(ARRAY['fastly', 'webhook']) AS name"
        )
        await connection.execute("SELECT purge_record_v1('blob-a')")
        await connection.execute(
            "UPDATE purges SET attempts = 12, parked_at = now(), last_error = 'it answered 401' "
            "WHERE cdn = 'fastly'"
        )
        await connection.close()

    asyncio.run(parked())
    fastly, webhook = answer(config, "purge", "status")
    assert (fastly["cdn"], fastly["waiting"], fastly["parked"]) == ("fastly", 0, 1)
    assert (webhook["cdn"], webhook["waiting"], webhook["parked"]) == ("webhook", 1, 0)
    assert webhook["next_call_at"] is None
    assert len(answer(config, "purge", "list")) == 2
    assert answer(config, "purge", "list", "--cdn", "webhook")[0]["tag"] == "blob-a"
    (row,) = answer(config, "purge", "list", "--parked")
    assert (row["attempts"], row["last_error"]) == (12, "it answered 401")

    assert refused(config, "purge", "retry") == (2, "bad_request")
    assert done(config, "purge", "retry", "--cdn", "webhook") == "0 to be tried again\n"
    assert done(config, "purge", "retry", "--all") == "1 to be tried again\n"
    assert answer(config, "purge", "list", "--parked") == []
