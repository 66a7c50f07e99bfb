"""The doctor finds what would bite later, on a real S3 protocol, and a run refuses it too."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import boto3
import pytest
from mediastore_gc.doctor import Checked, Health, examine, require_fit_bucket
from moto.server import ThreadedMotoServer

from mediastore.chunkstore.memory import MemoryChunkStore
from mediastore.collector_errors import UnfitStore
from mediastore.settings import Settings
from tests.collection_world import World, noise
from tests.integration.gc.conftest import MakeCollector
from tests.integration.gc.test_guards import incarnation, set_marker


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto_url: str) -> Iterator[Any]:
    """A boto3 client of a server with one new bucket, `chunks`."""
    client = boto3.client(
        "s3",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    client.create_bucket(Bucket="chunks")
    yield client
    client.delete_bucket(Bucket="chunks")
    client.close()


@pytest.fixture
def settings(moto_url: str, bucket: Any) -> Settings:
    return Settings.model_validate(
        {
            "chunk_store": {
                "driver": "s3",
                "endpoint_url": moto_url,
                "bucket": "chunks",
                "prefix": "ours/",
                "access_key_id": "a",
                "secret_access_key": "b",
                "path_style": True,
            }
        }
    )


def rule(**parts: object) -> dict[str, object]:
    return {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}, **parts}


def set_rules(bucket: Any, *rules: dict[str, object]) -> None:
    bucket.put_bucket_lifecycle_configuration(
        Bucket="chunks", LifecycleConfiguration={"Rules": list(rules)}
    )


def versioned(bucket: Any) -> None:
    bucket.put_bucket_versioning(Bucket="chunks", VersioningConfiguration={"Status": "Enabled"})


async def says(world: World, settings: Settings) -> dict[str, Checked]:
    found = await examine(world.catalog, world.store, settings, world.clock)
    assert len({item.name for item in found}) == len(found)
    return {item.name: item for item in found}


async def test_all_is_well(world: World, settings: Settings, collector: MakeCollector) -> None:
    await world.put([noise("a")])
    await collector().recount()
    found = await says(world, settings)
    assert {item.health for item in found.values()} == {Health.GOOD}, found
    await require_fit_bucket(settings, world.clock)


async def test_without_a_bucket_nothing_is_asked_of_one(world: World) -> None:
    found = await says(world, Settings())
    assert found["bucket"].health is Health.GOOD


async def test_a_versioned_bucket_is_refused_unless_it_is_meant(
    world: World, settings: Settings, bucket: Any
) -> None:
    versioned(bucket)
    assert (await says(world, settings))["versions"].health is Health.BAD
    with pytest.raises(UnfitStore, match="versions"):
        await require_fit_bucket(settings, world.clock)
    meant = settings.collection.model_copy(update={"versioned_bucket": True})
    accepted = settings.model_copy(update={"collection": meant})
    assert (await says(world, accepted))["versions"].health is Health.WARNING
    set_rules(bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 7}))
    found = (await says(world, accepted))["versions"]
    assert (found.health, "7 days" in found.says) == (Health.GOOD, True)
    await require_fit_bucket(accepted, world.clock)


EXPIRING = [
    rule(Expiration={"Days": 30}),
    rule(Expiration={"Days": 30}, Filter={"Prefix": "ours/"}),
    rule(Expiration={"Days": 30}, Filter={"Prefix": "ours/chunks/ab"}),
]


@pytest.mark.parametrize("bad", EXPIRING)
async def test_a_rule_that_expires_chunks_is_refused(
    world: World, settings: Settings, bucket: Any, bad: dict[str, object]
) -> None:
    set_rules(bucket, bad)
    found = (await says(world, settings))["expiry"]
    assert (found.health, "theirs" in found.says) == (Health.BAD, True)
    with pytest.raises(UnfitStore):
        await require_fit_bucket(settings, world.clock)


HARMLESS = [
    rule(Expiration={"Days": 30}, Filter={"Prefix": "other/"}),
    rule(Expiration={"Days": 30}, Status="Disabled"),
    rule(Expiration={"Days": 30}, Filter={"Tag": {"Key": "a", "Value": "b"}}),
    rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}),
]


@pytest.mark.parametrize("harmless", HARMLESS)
async def test_a_rule_about_other_objects_is_fine(
    world: World, settings: Settings, bucket: Any, harmless: dict[str, object]
) -> None:
    set_rules(bucket, harmless)
    assert (await says(world, settings))["expiry"].health is Health.GOOD
    await require_fit_bucket(settings, world.clock)


async def test_a_rule_that_freezes_chunks_is_refused(
    world: World, settings: Settings, bucket: Any
) -> None:
    set_rules(bucket, rule(Transitions=[{"Days": 90, "StorageClass": "DEEP_ARCHIVE"}]))
    assert (await says(world, settings))["freezing"].health is Health.BAD


async def test_a_bucket_that_is_not_there(world: World, settings: Settings) -> None:
    store = settings.chunk_store.model_copy(update={"bucket": "elsewhere"})
    found = await says(world, settings.model_copy(update={"chunk_store": store}))
    assert found["bucket"].health is Health.BAD


async def test_the_collectors_own_brakes(
    world: World, settings: Settings, connection: "asyncpg.Connection[Any]"
) -> None:
    await set_marker(world, await incarnation(world), 9)
    await world.clock.set_database(world.clock.now() + timedelta(hours=1))
    short = settings.collection.model_copy(update={"recovery_window_seconds": 60})
    found = await says(world, settings.model_copy(update={"collection": short}))
    bad = {name for name, item in found.items() if item.health is Health.BAD}
    assert bad == {"restore", "clocks", "delays"}
    assert found["recount"].health is Health.WARNING


async def test_a_store_that_ignores_conditions(world: World, settings: Settings) -> None:
    class Careless(MemoryChunkStore):
        async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
            return self._hold(key, body)

    world.store = Careless()
    found = (await says(world, settings))["conditional puts"]
    assert (found.health, "ignores" in found.says) == (Health.BAD, True)
    assert [page async for page in world.store.list()] == [], "the probe is taken away"
