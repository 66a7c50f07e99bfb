"""The formats that pictures leave in, and those that may come in.

What is not listed is not decoded at all: no plugin of Pillow but these is ever asked.
"""

from dataclasses import dataclass
from typing import Final, Literal

Extension = Literal["jpg", "webp", "avif", "png", "gif"]


@dataclass(frozen=True, slots=True)
class Output:
    """A format that pictures leave in. `quality` is its default; None where it knows none."""

    extension: Extension
    content_type: str
    pillow: str
    quality: int | None
    has_alpha: bool
    animates: bool


JPEG: Final = Output("jpg", "image/jpeg", "JPEG", 80, has_alpha=False, animates=False)
WEBP: Final = Output("webp", "image/webp", "WEBP", 78, has_alpha=True, animates=True)
AVIF: Final = Output("avif", "image/avif", "AVIF", 60, has_alpha=True, animates=False)
PNG: Final = Output("png", "image/png", "PNG", None, has_alpha=True, animates=False)
GIF: Final = Output("gif", "image/gif", "GIF", None, has_alpha=True, animates=True)

OUTPUTS: Final[dict[str, Output]] = {
    output.extension: output for output in (JPEG, WEBP, AVIF, PNG, GIF)
}
# What a file's name may end in, beside the extensions themselves.
SYNONYMS: Final = {"jpeg": "jpg", "jpe": "jpg"}

# Pillow's names of what may be decoded. No EPS, PDF, PSD, FITS, …: formats of programs, of other
# programs' internals, or of nobody's photos, and each of them is attack surface.
SOURCES: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "HEIF")
# What their content is, whatever its client has called it.
SOURCE_TYPES: Final[dict[str, str]] = {
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "HEIF": "image/heif",
}
# Decoded only where its plugin (pillow-heif) is installed.
HEIF: Final = "HEIF"
# Of these the frames are an animation; further frames of others (TIFF, MPO) are other pictures.
ANIMATED_SOURCES: Final = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
