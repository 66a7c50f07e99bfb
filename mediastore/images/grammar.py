"""How a transform is written in a URL: options joined by `_`, each a name and its value.

`fill-300x200_focus-auto_q-75`, `fit-800x0_blur-4`, `preset-card_dpr-2`, `orig`. Only characters
that nobody escapes in a path (RFC 3986, unreserved). Options may come in any order and each once;
`text` writes them in one, so there is one URL for one meaning: `parse(text(x)) == x`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mediastore.image_errors import BadTransform
from mediastore.images.transform import PRESET_DPR_TENTHS, Region, Transform

TEXT_LENGTH_MAX: Final = 256
_IDENTITY: Final = "orig"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_REGION = re.compile(r"(\d{1,7})x(\d{1,7})x(\d{1,7})x(\d{1,7})", re.ASCII)
_FOCUS = re.compile(r"(\d{1,3})x(\d{1,3})", re.ASCII)
_NUMBER = re.compile(r"\d{1,8}", re.ASCII)
_RATIO = re.compile(r"(\d)(?:\.(\d))?", re.ASCII)
_COLOUR = re.compile(r"[0-9a-fA-F]{6}")
PRESET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Named:
    """A preset, asked for by name; what it means is the operator's or the tenant's to say."""

    preset: str
    dpr_tenths: int = 10


def parse(written: str) -> Transform | Named:
    """What a transform means, its `dpr` counted into its size. Raises BadTransform."""
    if len(written) > TEXT_LENGTH_MAX:
        raise BadTransform(f"a transform has at most {TEXT_LENGTH_MAX} characters")
    given: dict[str, str] = {}
    for option in written.split("_"):
        name, _, value = option.partition("-")
        if name in given:
            raise BadTransform(f"{name} is given twice")
        given[name] = value
    dpr_tenths = _taken(given, "dpr", _ratio, 10)
    preset = given.pop("preset", None)
    if preset is not None:
        return _named(preset, dpr_tenths, given)
    members: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _READERS:
            raise BadTransform(f"there is no option {name[:20]!r}")
        found = _READERS[name](name, value)
        if found.keys() & members.keys():
            raise BadTransform("only one of orig, fit, fill and pad")
        members |= found
    return Transform(**members).scaled(dpr_tenths).normal()


def text(wanted: Transform | Named) -> str:
    """The one way to write it."""
    if isinstance(wanted, Named):
        dpr = "" if wanted.dpr_tenths == 10 else f"_dpr-{_tenths(wanted.dpr_tenths)}"
        return f"preset-{wanted.preset}{dpr}"
    wanted, options = wanted.normal(), []
    if wanted.crop is not None:
        crop = wanted.crop
        options.append(f"crop-{crop.left}x{crop.top}x{crop.width}x{crop.height}")
    if wanted.mode != "orig":
        options.append(f"{wanted.mode}-{wanted.width}x{wanted.height}")
    if wanted.focus is not None:
        focus = wanted.focus if wanted.focus == "auto" else f"{wanted.focus[0]}x{wanted.focus[1]}"
        options.append(f"focus-{focus}")
    if wanted.background is not None:
        options.append(f"bg-{wanted.background}")
    for name, number in (
        ("rot", wanted.rotate),
        ("sharpen", wanted.sharpen),
        ("blur", wanted.blur),
        ("q", wanted.quality),
        ("bytes", wanted.max_bytes),
    ):
        if number:
            options.append(f"{name}-{number}")
    for flag, is_set in (
        ("up", wanted.enlarge),
        ("still", wanted.still),
        ("copyright", wanted.copyright),
    ):
        if is_set:
            options.append(flag)
    return "_".join(options) or _IDENTITY


def parse_presets(written: Mapping[str, str]) -> dict[str, Transform]:
    """Presets as an operator writes them. Raises BadTransform, naming the preset at fault."""
    presets: dict[str, Transform] = {}
    for name, value in written.items():
        if not PRESET_NAME.fullmatch(name):
            raise BadTransform(f"{name[:70]!r} is no name for a preset: a-z, 0-9 and '-'")
        try:
            meant = parse(value)
        except BadTransform as error:
            raise BadTransform(f"preset {name}: {error.detail}") from None
        if isinstance(meant, Named):
            raise BadTransform(f"preset {name}: a preset is not made of another one")
        presets[name] = meant
    return presets


def _named(preset: str, dpr_tenths: int, others: Mapping[str, str]) -> Named:
    if others:
        raise BadTransform("beside a preset there may only be dpr")
    if not PRESET_NAME.fullmatch(preset):
        raise BadTransform("a preset's name is a-z, 0-9 and '-'")
    if dpr_tenths not in PRESET_DPR_TENTHS:
        known = ", ".join(map(_tenths, PRESET_DPR_TENTHS))
        raise BadTransform(f"beside a preset dpr is one of {known}")
    return Named(preset, dpr_tenths)


def _taken(given: dict[str, str], name: str, read: Callable[[str], Value], absent: Value) -> Value:
    value = given.pop(name, None)
    return absent if value is None else read(value)


def _ratio(value: str) -> int:
    match = _RATIO.fullmatch(value)
    if match is None:
        raise BadTransform("dpr is a number like 2 or 1.5")
    return int(match[1]) * 10 + int(match[2] or 0)


def _tenths(number: int) -> str:
    return f"{number // 10}" if number % 10 == 0 else f"{number // 10}.{number % 10}"


def _mode(name: str, value: str) -> dict[str, Any]:
    match = _SIZE.fullmatch(value)
    if match is None:
        raise BadTransform(f"{name} is written {name}-WIDTHxHEIGHT, 0 for whatever fits")
    return {"mode": name, "width": int(match[1]), "height": int(match[2])}


def _orig(name: str, value: str) -> dict[str, Any]:
    return {"mode": "orig"} | _flag("orig")(name, value)


def _crop(_name: str, value: str) -> dict[str, Any]:
    match = _REGION.fullmatch(value)
    if match is None:
        raise BadTransform("crop is written crop-LEFTxTOPxWIDTHxHEIGHT")
    return {"crop": Region(*map(int, match.groups()))}


def _focus(_name: str, value: str) -> dict[str, Any]:
    if value == "auto":
        return {"focus": "auto"}
    match = _FOCUS.fullmatch(value)
    if match is None:
        raise BadTransform("focus is auto or a point in per cent, focus-50x20")
    return {"focus": (int(match[1]), int(match[2]))}


def _colour(_name: str, value: str) -> dict[str, Any]:
    if not _COLOUR.fullmatch(value):
        raise BadTransform("bg is a colour in six hexadecimal digits")
    return {"background": value.lower()}


def _number(member: str) -> Callable[[str, str], dict[str, Any]]:
    def read(name: str, value: str) -> dict[str, Any]:
        if not _NUMBER.fullmatch(value):
            raise BadTransform(f"{name} is a whole number")
        return {member: int(value)}

    return read


def _flag(member: str) -> Callable[[str, str], dict[str, Any]]:
    def read(name: str, value: str) -> dict[str, Any]:
        if value:
            raise BadTransform(f"{name} has no value")
        return {} if member == "orig" else {member: True}

    return read


_READERS: Final[dict[str, Callable[[str, str], dict[str, Any]]]] = {
    "orig": _orig,
    "fit": _mode,
    "fill": _mode,
    "pad": _mode,
    "crop": _crop,
    "focus": _focus,
    "bg": _colour,
    "rot": _number("rotate"),
    "sharpen": _number("sharpen"),
    "blur": _number("blur"),
    "q": _number("quality"),
    "bytes": _number("max_bytes"),
    "up": _flag("enlarge"),
    "still": _flag("still"),
    "copyright": _flag("copyright"),
}
