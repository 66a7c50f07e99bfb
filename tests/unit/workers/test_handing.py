"""A worker has the settings that its supervisor has, secrets included."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from mediastore.settings import Settings, load_settings
from mediastore.workers.handing import settings_document, settings_of

UNUSUAL: dict[str, Any] = {
    "http": {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"], "public_url": "https://m.example"},
    "cors": {"allowed_origins": ["https://app.example"]},
    "catalog": {"dsn": "postgresql://user:a%20secret@db/name"},
    "chunk_store": {"driver": "directory", "directory": "some/where"},
    "images": {"presets": {"card": "fill-90x60"}},
    "links": {"keys": [{"id": "a", "secret": "x" * 32}, {"id": "b", "secret": "ß" * 32}]},
    "purge": {"fastly_service_id": "s", "fastly_token": "t"},
    "pull": {"hosts": ["*.example.com"], "ports": [80, 443], "allow_http": True},
}


def revealed(value: Any) -> Any:
    """Settings to compare: equal secrets are equal."""
    if isinstance(value, BaseModel):
        return {name: revealed(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return ("secret", value.get_secret_value())
    if isinstance(value, tuple):
        return tuple(map(revealed, value))
    return value


@pytest.mark.parametrize("given", [{}, UNUSUAL])
def test_settings_arrive_as_they_were(given: dict[str, Any]) -> None:
    settings = load_settings(None, **given)
    document = json.loads(json.dumps(settings_document(settings)))
    assert revealed(settings_of(document)) == revealed(settings)


def test_what_was_given_wins_over_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(None, http={"port": 1234})
    monkeypatch.setenv("MEDIASTORE_HTTP__PORT", "4321")
    assert settings_of(settings_document(settings)).http.port == 1234


def test_every_setting_can_be_handed_over() -> None:
    class Odd(Settings):
        odd: bytes = b"x"

    with pytest.raises(TypeError, match="bytes"):
        settings_document(Odd())
    assert settings_document(Settings())["chunk_store"]["directory"] == str(
        Path(Settings().chunk_store.directory)
    )
