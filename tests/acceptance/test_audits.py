"""The auditing commands on a real MinIO, as an operator runs them: what is sound is left in peace,
what is not is named, and what a bucket does by itself is seen before it bites.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bench.processes import minio
from tests.acceptance.client import Client, Unreachable
from tests.acceptance.collector import Days
from tests.acceptance.conftest import SMALL_CHUNKS, s3_store, servers_on, short_folder
from tests.acceptance.content import content
from tests.acceptance.keys import key_sizes, s3_client
from tests.acceptance.server import Server
from tests.acceptance.test_life import NOW
from tests.integration.gc.test_orphans import inventory

pytestmark = pytest.mark.full

SIZES = (0, 100, 20_000, 300_000)
DAY = 86_400


@dataclass(slots=True)
class Audited:
    """A service with objects in a bucket of its own, and the bucket from outside."""

    server: Server
    days: Days
    bucket: str
    s3: Any
    objects: dict[str, bytes]

    @property
    def client(self) -> Client:
        return self.server.client()

    def audit(self, verb: str, code: int = 0) -> Any:
        """A verb with its options; its report."""
        return self.days.answer(self._line(verb), code)

    def refused(self, verb: str) -> tuple[int, str]:
        done = self.days.run(self._line(verb))
        return done.returncode, done.stderr

    def sizes(self) -> dict[str, int]:
        """Keys of chunks in the bucket, in order."""
        return key_sizes(self.s3, self.bucket)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def assert_readable(self) -> None:
        for id_, data in self.objects.items():
            assert self.client.content(id_) == data

    def _line(self, verb: str) -> str:
        return f"mediastore-gc --config {self.server.config} {verb}"


@pytest.fixture(scope="module")
def store_url() -> Iterator[str]:
    with short_folder() as folder, minio(folder, []) as store:
        yield store.url


@pytest.fixture
def world(store_url: str, dsn: str, folder: Path) -> Iterator[Audited]:
    bucket = f"audited-{uuid4()}"
    days = Days(dsn, folder / "bin")
    days.install()
    with (
        s3_client(store_url) as client,
        servers_on(dsn, folder, **s3_store(store_url, bucket)) as make,
    ):
        client.create_bucket(Bucket=bucket)
        server = make(**SMALL_CHUNKS, MEDIASTORE_MEMORY__CHUNK_CACHE_BYTES="0")
        server.start()
        made = {}
        for seed, size in enumerate(SIZES * 2):
            data = content(size, seed)
            made[server.client().made(data)["id"]] = data
        yield Audited(server, days, bucket, client, made)


def test_a_sound_store_is_left_in_peace(world: Audited) -> None:
    """Also while keys are doomed, deleted, and uploads are half done."""
    upload = world.client.create(500_000)
    world.client.patch(upload, 0, content(200_000, 77))
    for id_ in list(world.objects)[::3]:
        assert world.client.delete(f"/v1/objects/{id_}").status == 200
        del world.objects[id_]
    world.audit("run --once --delete --unsafe-delays --trash-delay 0 --revive-delay 0")
    before = world.sizes()
    found = world.audit("verify")
    assert (found["findings"]["met"], found["keys"]) == ({}, len(before))
    assert (found["chunks"] < len(before), found["uploads"]) == (True, 1)
    orphans = world.audit("orphans")
    assert (orphans["keys"], orphans["orphans"], orphans["missing"]) == (len(before), 0, 0)
    assert world.audit(f"orphans --inventory {listed(world)}") == orphans
    assert world.audit("scrub")["chunks"] == found["chunks"]
    assert world.audit("reconcile")["missing"] == 0
    assert {item["health"] for item in world.audit("doctor")} <= {"good", "warning"}
    assert world.sizes() == before
    world.assert_readable()


def test_what_is_wrong_is_named_and_heals(world: Audited) -> None:
    keys = [key for key, size in world.sizes().items() if size > 1000]
    damaged, cut, lost = random.Random(1).sample(keys, 3)
    world.put(damaged, random.Random(2).randbytes(world.sizes()[damaged]))
    world.put(cut, b"short")
    world.s3.delete_object(Bucket=world.bucket, Key=lost)
    orphan = f"chunks/{'ab' * 32}/{7:016x}"
    world.put(orphan, b"nobody's")
    wrong = {cut, lost}

    for verb in ("orphans", f"orphans --inventory {listed(world)}"):
        found = world.audit(verb, 40)
        assert set(found["first_missing"]) == wrong
        assert found["first_orphans"] == [orphan]
    assert world.audit("reconcile", 40)["missing"] == 2
    assert world.audit("verify", 40)["findings"]["met"] == {"key_missing": 2, "orphan": 1}
    found = world.audit("scrub", 40)
    assert set(found["damaged"]) == {damaged, cut}
    assert found["missing"] == [lost]
    hurt = {item["id"] for item in found["hurt"]["objects"]}
    assert hurt < set(world.objects)
    for id_, data in world.objects.items():
        assert reads_back(world.client, id_, data) != (id_ in hurt)

    for id_ in hurt:
        world.client.made(world.objects[id_])
    world.assert_readable()
    assert world.audit("scrub")["damaged"] == []
    assert world.audit("orphans --delete --delete-share-max 1")["doomed"] == 1
    assert world.audit("verify")["findings"]["met"] == {}
    world.days.move_to(9 * DAY)
    world.audit("run --once --delete")
    assert orphan not in world.sizes()
    assert world.audit("reconcile")["missing"] == 0
    world.assert_readable()


def test_a_bucket_that_keeps_versions(world: Audited) -> None:
    """It is refused, for nothing would ever be given back; unless that is meant."""
    status(world, "Enabled")
    assert health(world, 40)["versions"] == "bad"
    code, said = world.refused("run --once --delete")
    assert (code, "keeps versions" in said) == (42, True)

    config = world.server.config
    assert config is not None
    config.write_text(config.read_text() + "\n[collection]\nversioned_bucket = true\n")
    assert health(world)["versions"] == "warning"
    set_rules(world, {**EVERYTHING, "NoncurrentVersionExpiration": {"NoncurrentDays": 8}})
    assert health(world)["versions"] == "good"
    deleted = list(world.objects)[-1]
    world.client.delete(f"/v1/objects/{deleted}")
    before = world.sizes()
    report = world.audit(f"run --once --delete {' '.join(NOW)} --delete-share-max 1")
    assert report["deleted_keys"] == len(before) - len(world.sizes()) > 0
    kept = world.s3.list_object_versions(Bucket=world.bucket, Prefix="chunks/")
    assert len(kept["DeleteMarkers"]) == report["deleted_keys"], "and the bytes are still there"
    assert world.audit("verify")["findings"]["met"] == {}


def test_a_bucket_that_kept_versions_once(world: Audited) -> None:
    status(world, "Enabled")
    status(world, "Suspended")
    assert health(world)["versions"] == "good"


def test_a_lifecycle_rule_that_would_delete_what_is_needed(world: Audited) -> None:
    set_rules(world, {**EVERYTHING, "Expiration": {"Days": 30}})
    assert health(world, 40)["expiry"] == "bad"
    code, said = world.refused("run --once --delete")
    assert (code, "theirs" in said) == (42, True)
    set_rules(world, {**EVERYTHING, "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 30}})
    assert health(world)["expiry"] == "good"
    assert world.refused("run --once --delete")[0] == 0


def reads_back(client: Client, id_: str, data: bytes) -> bool:
    """False: an error, or an answer that breaks off; never other bytes."""
    try:
        answer = client.get(f"/v1/objects/{id_}/content")
    except Unreachable as error:
        if "IncompleteRead" not in str(error):
            raise
        return False
    if answer.status == 200:
        assert answer.body == data
        return True
    assert (answer.status, answer.code) in {(500, "content_missing"), (500, "content_damaged")}
    return False


EVERYTHING: dict[str, Any] = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}}


def set_rules(world: Audited, *rules: dict[str, Any]) -> None:
    world.s3.put_bucket_lifecycle_configuration(
        Bucket=world.bucket, LifecycleConfiguration={"Rules": list(rules)}
    )


def status(world: Audited, versions: str) -> None:
    world.s3.put_bucket_versioning(
        Bucket=world.bucket, VersioningConfiguration={"Status": versions}
    )


def health(world: Audited, code: int = 0) -> dict[str, str]:
    """What the doctor says, by the name of its check."""
    return {item["name"]: item["health"] for item in world.audit("doctor", code)}


def listed(world: Audited) -> Path:
    """The bucket as an S3 Inventory, in no order; MinIO makes none itself."""
    folder = world.days.folder.parent / f"inventory-{uuid4()}"
    folder.mkdir()
    rows = [
        [world.bucket, key.replace("/", "%2F"), str(size)] for key, size in world.sizes().items()
    ]
    return inventory(folder, rows[::-1])
