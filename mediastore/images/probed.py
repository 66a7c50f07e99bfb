"""What was found of a picture, as a worker tells it and as the catalog and clients get it: JSON.

Workers decode what anybody may have sent, so nothing they say is believed beyond its form: every
member is checked before it is kept.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mediastore.images.formats import SOURCE_TYPES

PROFILE_NAME_LENGTH_MAX: Final = 100
_SIDE_MAX: Final = 2**31 - 1
_THUMBHASH_MAX_BYTES: Final = 25
_ORIENTATION_MAX: Final = 8
_BLURHASH: Final = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,58}")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_PHASH: Final = re.compile(r"[0-9a-f]{16}")
_MOMENT_LENGTH_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. Width and height are of the upright picture; `orientation` is EXIF's, 1 to 8.

    `frames` are counted up to the limits; `phash` has 64 bits; `captured_at` is as the camera
    says it, with an offset only if the camera knows one.
    """

    kind: str
    width: int
    height: int
    frames: int
    orientation: int
    colour_profile: str | None
    thumbhash: bytes
    blurhash: str
    dominant_colour: str | None
    phash: int
    captured_at: str | None

    def as_document(self) -> dict[str, Any]:
        """Its names in JSON are the ones that docs/objects.md has."""
        return {
            "type": SOURCE_TYPES[self.kind],
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "orientation": self.orientation,
            "colour_profile": self.colour_profile,
            "thumbhash": b64encode(self.thumbhash).decode(),
            "blurhash": self.blurhash,
            "dominant_colour": self.dominant_colour,
            "perceptual_hash": f"{self.phash:016x}",
            "captured_at": self.captured_at,
        }


def checked_document(said: Any) -> dict[str, Any]:
    """What a worker says it has found, if it has the form of that. Raises ValueError."""
    if not isinstance(said, Mapping) or said.keys() != _MEMBERS.keys():
        raise ValueError("a probe has its members and no others")
    for name, is_right in _MEMBERS.items():
        if not is_right(said[name]):
            raise ValueError(f"{name} of a probe is not what it should be")
    return dict(said)


def _number(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 1 <= value <= most


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _or_null(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _is_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= PROFILE_NAME_LENGTH_MAX
        and value.isprintable()
        and not any("\ud800" <= letter <= "\udfff" for letter in value)
    )


def _is_thumbhash(value: Any) -> bool:
    try:
        return (
            isinstance(value, str)
            and 0 < len(b64decode(value, validate=True)) <= _THUMBHASH_MAX_BYTES
        )
    except (BadBase64, ValueError):
        return False


def _is_moment(value: Any) -> bool:
    try:
        return (
            isinstance(value, str)
            and len(value) <= _MOMENT_LENGTH_MAX
            and datetime.fromisoformat(value).isoformat() == value
        )
    except ValueError:
        return False


_MEMBERS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": lambda value: value in SOURCE_TYPES.values(),
    "width": _number(_SIDE_MAX),
    "height": _number(_SIDE_MAX),
    "frames": _number(_SIDE_MAX),
    "orientation": _number(_ORIENTATION_MAX),
    "colour_profile": _or_null(_is_name),
    "thumbhash": _is_thumbhash,
    "blurhash": _text(_BLURHASH),
    "dominant_colour": _or_null(_text(_COLOUR)),
    "perceptual_hash": _text(_PHASH),
    "captured_at": _or_null(_is_moment),
}
