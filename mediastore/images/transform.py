"""What is to be made of a picture: one value for one meaning.

Everything is an integer of bounded size, so that equal meanings are equal values; `for_output`
drops what means nothing in a format. How it is written is in grammar.py.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from mediastore.image_errors import BadTransform
from mediastore.images.formats import Output

Mode = Literal["orig", "fit", "fill", "pad"]

SIDE_MAX: Final = 8192
CROP_MAX: Final = 1 << 20
BLUR_MAX: Final = 100
SHARPEN_MAX: Final = 500
BYTES_MIN: Final = 1024
BYTES_MAX: Final = 16 * 1024 * 1024
DPR_TENTHS_MAX: Final = 40
# Ratios that a preset can be asked for in: a finite set, so that its URLs need no signature.
PRESET_DPR_TENTHS: Final = (10, 15, 20, 30, 40)
_CENTRE: Final = (50, 50)


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the upright source, in its pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Transform:
    """A picture's size (0: whatever follows from the other side), and what is done to it.

    `focus` is a point in per cent of width and height that `fill` keeps in sight, or `auto` for
    where most is to be seen; None is the middle. `sharpen` is in per cent, `blur` in pixels.
    `background` (rrggbb) is put below what is transparent; None keeps it so where the format can.
    """

    mode: Mode = "orig"
    width: int = 0
    height: int = 0
    crop: Region | None = None
    focus: tuple[int, int] | Literal["auto"] | None = None
    enlarge: bool = False
    rotate: int = 0
    sharpen: int = 0
    blur: int = 0
    background: str | None = None
    quality: int | None = None
    max_bytes: int | None = None
    still: bool = False
    copyright: bool = False

    def __post_init__(self) -> None:
        """Raises BadTransform."""
        _check("a side", self.width, 0, SIDE_MAX)
        _check("a side", self.height, 0, SIDE_MAX)
        if self.mode == "fit" and not (self.width or self.height):
            raise BadTransform("fit needs a width or a height")
        if self.mode in ("fill", "pad") and not (self.width and self.height):
            raise BadTransform(f"{self.mode} needs a width and a height")
        if self.mode == "orig" and (self.width or self.height):
            raise BadTransform("a size needs fit, fill or pad")
        if self.crop is not None:
            _check("crop", self.crop.left, 0, CROP_MAX)
            _check("crop", self.crop.top, 0, CROP_MAX)
            _check("crop", self.crop.width, 1, CROP_MAX)
            _check("crop", self.crop.height, 1, CROP_MAX)
        if isinstance(self.focus, tuple):
            _check("focus", self.focus[0], 0, 100)
            _check("focus", self.focus[1], 0, 100)
        if self.rotate not in (0, 90, 180, 270):
            raise BadTransform("rot is 90, 180 or 270")
        _check("sharpen", self.sharpen, 0, SHARPEN_MAX)
        _check("blur", self.blur, 0, BLUR_MAX)
        if self.quality is not None:
            _check("q", self.quality, 1, 100)
        if self.max_bytes is not None:
            _check("bytes", self.max_bytes, BYTES_MIN, BYTES_MAX)

    def scaled(self, dpr_tenths: int) -> "Transform":
        """For screens with more pixels: both sides larger. Raises BadTransform past the limits."""
        _check("dpr (in tenths)", dpr_tenths, 10, DPR_TENTHS_MAX)
        if self.mode == "orig":
            return self
        return replace(
            self, width=_scaled(self.width, dpr_tenths), height=_scaled(self.height, dpr_tenths)
        )

    def normal(self) -> "Transform":
        """Without members that change nothing whatever the format."""
        return replace(
            self,
            focus=None if self.mode != "fill" or self.focus == _CENTRE else self.focus,
            enlarge=self.enlarge and self.mode != "orig",
        )

    def for_output(self, output: Output) -> "Transform":
        """Without members that change nothing in this format; its default quality is not named.

        Raises BadTransform where the format cannot keep to what is asked.
        """
        if self.max_bytes is not None and output.quality is None:
            raise BadTransform(f"bytes needs a format with a quality, not {output.extension}")
        implied = output.quality is None or self.quality == output.quality
        return replace(
            self.normal(),
            quality=None if implied else self.quality,
            still=self.still and output.animates,
            copyright=self.copyright and output.extension != "gif",
        )


def _check(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadTransform(f"{what} is from {least} to {most}")


def _scaled(side: int, dpr_tenths: int) -> int:
    return (side * dpr_tenths + 5) // 10
