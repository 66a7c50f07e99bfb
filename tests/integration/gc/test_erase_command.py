"""`erase` as an operator meets it: it asks, it refuses, its receipts can be checked."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from prometheus_client import CollectorRegistry

from mediastore.catalog.objects import Object
from mediastore.catalog.pool import open_catalog
from mediastore.catalog.tenants import create_tenant
from mediastore.chunkstore.opening import open_chunk_store
from mediastore.clock import SystemClock
from mediastore.settings import load_settings
from tests.collection_world import TENANT, noise, store_file
from tests.integration.gc.test_command_line import answer, command, stored_files


@pytest.fixture
def keyed(config: Path) -> Path:
    """The settings with a key to sign receipts; its public part beside it."""
    key = Ed25519PrivateKey.generate()
    private = config.parent / "key.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (config.parent / "public.pem").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with config.open("a") as file:
        file.write(f'[collection]\nerasure_key_file = "{private}"\nerasure_wait_seconds = 0\n')
    return config


async def upload(config: Path) -> Object:
    settings, clock = load_settings(config), SystemClock()
    async with (
        open_catalog(settings.catalog, clock) as catalog,
        open_chunk_store(settings.chunk_store, clock, CollectorRegistry()) as store,
    ):
        await create_tenant(catalog, TENANT)
        return await store_file(catalog, store, [noise("a", 5000), noise("b", 3000)])


async def test_from_the_name_typed_to_the_receipt_checked(keyed: Path) -> None:
    made = await upload(keyed)
    target = ("erase", "--object", str(made.id))
    dry = command(keyed, *target)
    assert dry.returncode == 0, dry.stderr
    assert f"'--yes {made.id}' erases it" in dry.stdout.splitlines()[-1]
    wrong = command(keyed, *target, "--yes", TENANT)
    assert (wrong.returncode, "nothing was erased" in wrong.stderr) == (2, True)
    assert answer(keyed, "erase", "list") == []

    erased = answer(keyed, *target, "--why", "case 9", "--yes", str(made.id))
    assert erased["erased"]
    assert erased["found"]["live"] == 1
    id_ = erased["erasure"]["id"]
    assert [one["id"] for one in answer(keyed, "erase", "list")] == [id_]
    assert "case 9" in command(keyed, "erase", "list").stdout
    assert stored_files(keyed) == 2

    receipt = keyed.parent / "receipt.json"
    early = command(keyed, "erase", "receipt", id_)
    receipt.write_text(early.stdout)
    assert "NOT complete" in command(keyed, "erase", "verify", str(receipt)).stdout

    done = answer(keyed, "run", "--once", "--delete")
    assert (done["deleted_keys"], done["recounts"]) == (2, 1)
    assert stored_files(keyed) == 0
    receipt.write_text(command(keyed, "erase", "receipt", id_).stdout)
    public = str(keyed.parent / "public.pem")
    checked = answer(keyed, "erase", "verify", str(receipt), "--public-key", public)
    assert checked["valid"]
    assert checked["statement"]["complete"]
    assert checked["statement"]["deleted_bytes"] == 8000
    assert any("does not bring this back" in note for note in checked["statement"]["notes"])
    assert answer(keyed, "erase", "list") == []
    assert [one["id"] for one in answer(keyed, "erase", "list", "--all")] == [id_]

    forged = json.loads(receipt.read_text())
    forged["statement"]["deleted_keys"] = 3
    receipt.write_text(json.dumps(forged))
    refused = command(keyed, "erase", "verify", str(receipt), "--public-key", public)
    assert (refused.returncode, refused.stderr.count("\n")) == (38, 1)

    assert f"erased, by erasure {id_}" in command(keyed, "explain", str(made.id)).stdout
    again = command(keyed, *target, "--yes", str(made.id))
    assert (again.returncode, id_ in again.stderr) == (4, True)


async def test_what_it_refuses(keyed: Path) -> None:
    made = await upload(keyed)
    everything = ("erase", "--tenant", TENANT, "--yes", TENANT)
    for arguments, code in (
        (("erase",), 2),
        (("erase", "--owner", "someone"), 2),
        (("erase", "--object", str(made.id), "--tenant", TENANT), 2),
        (("erase", "--tenant", "nobody"), 4),
        (("erase", "--tenant", TENANT, "--owner", "nobody"), 4),
        (("erase", "receipt", str(made.id)), 4),
        (("erase", "verify", str(keyed.parent / "missing.json")), 2),
        (("hold", "add", "--object", str(made.id), "--why", "case 7"), 0),
        (everything, 37),
    ):
        done = command(keyed, *arguments)
        assert (done.returncode, arguments) == (code, arguments)
    refused = command(keyed, *everything)
    assert "hold 1 keeps it: case 7" in refused.stderr
    assert stored_files(keyed) == 2


async def test_without_a_key_nothing_is_erased(config: Path) -> None:
    await upload(config)
    refused = command(config, "erase", "--tenant", TENANT, "--yes", TENANT)
    assert (refused.returncode, "openssl genpkey" in refused.stderr) == (2, True)
