"""A service that makes pictures, a private and a public tenant."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mediastore.settings import MIB, Settings
from tests.integration.service import Service, make_tenant, running, settings_on

IMAGES = {
    "workers": 1,
    "probes_at_once": 0,  # what these tests count, variants alone are to be
    "worker_memory_bytes": 512 * MIB,
    "presets": {"card": "fill-90x60", "wide": "fit-200x0"},
}


@dataclass(frozen=True, slots=True)
class Keys:
    """A key of each tenant."""

    acme: str
    public: str

    @property
    def both(self) -> tuple[str, str]:
        return self.acme, self.public


def image_settings(dsn: str, folder: Path, **images: Any) -> Settings:
    return settings_on(dsn, folder, images=IMAGES | images)


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return image_settings(dsn, tmp_path)


@pytest.fixture
async def keys(settings: Settings) -> Keys:
    return Keys(
        await make_tenant(settings, "acme"), await make_tenant(settings, "public", public=True)
    )


@pytest.fixture
async def service(settings: Settings, keys: Keys) -> AsyncIterator[Service]:
    async with running(settings) as started:
        yield started
