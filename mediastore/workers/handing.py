"""Settings on their way to another process, secrets included: over a channel of its own, never in
arguments or the environment, which others could read.

A worker is given what its supervisor has, so that all have the same, also the one that is started
after the file was changed.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from mediastore.settings import Settings, load_settings


def settings_document(settings: Settings) -> dict[str, Any]:
    """Every setting as JSON has it. It tells secrets: it is for `settings_of` alone."""
    return {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}


def settings_of(document: dict[str, Any]) -> Settings:
    """The settings that a document was made of."""
    return load_settings(None, **document)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (Path, IPv4Network, IPv6Network)):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    raise TypeError(f"a setting of type {type(value).__name__} cannot be handed over")
