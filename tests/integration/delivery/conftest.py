"""A service, a private and a public tenant."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediastore.settings import Settings
from tests.integration.service import Service, make_tenant, running, settings_on


@dataclass(frozen=True, slots=True)
class Keys:
    """A key of each tenant: two private ones and a public one."""

    acme: str
    other: str
    public: str


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_on(dsn, tmp_path, delivery={"allowed_cache_seconds": 60})


@pytest.fixture
async def keys(settings: Settings) -> Keys:
    return Keys(
        await make_tenant(settings, "acme"),
        await make_tenant(settings, "other"),
        await make_tenant(settings, "public", public=True),
    )


@pytest.fixture
async def service(settings: Settings, keys: Keys) -> AsyncIterator[Service]:
    async with running(settings) as started:
        yield started
