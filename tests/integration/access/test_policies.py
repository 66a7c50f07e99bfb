"""Tenants as a process believes them to be, and for how long."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import make_mocked_request

from mediastore.access import policies
from mediastore.access.authenticator import Authenticator
from mediastore.access.policies import CACHE_SECONDS, Policies
from mediastore.catalog.pool import Catalog, open_catalog
from mediastore.catalog.tenants import change_tenant, create_api_key, create_tenant, known_tenant
from mediastore.clock import SystemClock
from mediastore.errors import Conflict, NotFound
from mediastore.settings import CatalogSettings


class HandClock(SystemClock):
    elapsed = 0.0

    def monotonic(self) -> float:
        return self.elapsed


@pytest.fixture
async def catalog(dsn: str) -> AsyncIterator[Catalog]:
    async with open_catalog(CatalogSettings(dsn=dsn), SystemClock()) as opened:
        await create_tenant(opened, "acme")
        yield opened


async def test_a_change_takes_effect_within_the_cache_s_time(catalog: Catalog) -> None:
    clock = HandClock()
    believed = Policies(catalog, clock)
    assert (await believed.tenant("acme")).policy.size_max_bytes is None
    await change_tenant(catalog, "acme", {"size_max_bytes": 5})
    clock.elapsed = CACHE_SECONDS - 0.1
    assert (await believed.tenant("acme")).policy.size_max_bytes is None
    clock.elapsed = CACHE_SECONDS
    assert (await believed.tenant("acme")).policy.size_max_bytes == 5


async def test_what_was_read_elsewhere_is_believed_without_a_statement(catalog: Catalog) -> None:
    believed = Policies(catalog, HandClock())
    tenant = await known_tenant(catalog, "acme")
    believed.remember(tenant)
    assert await believed.tenant("acme") is tenant


async def test_the_least_recently_read_is_forgotten(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "CACHE_ENTRIES_MAX", 1)
    believed = Policies(catalog, HandClock())
    await create_tenant(catalog, "other")
    first = await believed.tenant("acme")
    _ = await believed.tenant("other")
    again = await believed.tenant("acme")
    assert again == first
    assert again is not first


async def test_there_is_no_such_tenant(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await Policies(catalog, SystemClock()).tenant("nobody")


async def test_two_operators_at_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one is told; nothing that the first has set is lost."""
    stale = await known_tenant(catalog, "acme")
    await change_tenant(catalog, "acme", {"size_max_bytes": 5})

    async def read_before(_catalog: Catalog, _id: str) -> object:
        return stale

    with monkeypatch.context() as patched:
        patched.setattr("mediastore.catalog.tenants.known_tenant", read_before)
        with pytest.raises(Conflict):
            await change_tenant(catalog, "acme", {"upload_expiry": "fixed"})
    assert (await known_tenant(catalog, "acme")).policy.size_max_bytes == 5


async def test_an_authenticated_request_has_read_its_policy(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await create_api_key(catalog, "acme", name="x")
    authenticator = Authenticator(catalog, HandClock())
    request = make_mocked_request("POST", "/", headers={"Authorization": f"Bearer {key}"})
    tenant = await authenticator.tenant(request)
    monkeypatch.delattr(Catalog, "fetch_row")
    assert await authenticator.policies.tenant("acme") is tenant
