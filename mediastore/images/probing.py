"""What a picture is and how it looks, in a few bytes: shape, colours, placeholders, a hash that
survives being encoded again. Runs in worker processes only.

All of it is of the upright first frame in sRGB, and of a small sample of it: a JPEG is shrunk
while it is decoded. Nothing of the metadata is told but the moment it was taken, if that is asked.
"""

import io
from datetime import datetime
from statistics import median
from typing import Final

from PIL import Image, ImageCms, UnidentifiedImageError

from mediastore.images.blurhash import blurhash
from mediastore.images.colour import eight_bits, srgb
from mediastore.images.cosines import waves
from mediastore.images.decoding import Source, open_source, refusing
from mediastore.images.formats import ANIMATED_SOURCES
from mediastore.images.geometry import Size
from mediastore.images.limits import Limits
from mediastore.images.probed import PROFILE_NAME_LENGTH_MAX, Probe
from mediastore.images.thumbhash import thumbhash

_SAMPLE_SIDE: Final = 128
_PLACEHOLDER_SIDE: Final = 64
_REDUCING_GAP: Final = 2.0
_BLURHASH_WAVES: Final = (4, 3)
_PHASH_SIDE: Final = 32
_PHASH_WAVES: Final = 8
_COLOURS: Final = 8
_VISIBLE: Final = 128
_PROFILE_MAX_BYTES: Final = 4 * 1024 * 1024
_EXIF_IFD: Final = 0x8769
_TAKEN_TAG: Final = 0x9003
_TAKEN_OFFSET_TAG: Final = 0x9011


def probe(data: bytes, limits: Limits, *, keep_captured: bool) -> Probe | None:
    """None: it is no picture of a type that is decoded here. Raises ImageRefused (it is one, and
    damaged), ImageTooLarge, ImageTooCostly.
    """
    with refusing():
        try:
            source = open_source(data, limits)
        except UnidentifiedImageError:
            return None
        profile = source.image.info.get("icc_profile")
        captured_at = _captured_at(source.image) if keep_captured else None
        sample = srgb(_sample(source), profile)
        small = sample.convert("RGBA")
        small.thumbnail((_PLACEHOLDER_SIDE, _PLACEHOLDER_SIDE), Image.Resampling.BOX)
        return Probe(
            source.kind,
            *source.size,
            _frames(source, limits),
            source.orientation,
            _profile_name(profile),
            thumbhash(small.tobytes(), small.size),
            blurhash(_on_white(small).tobytes(), small.size, _waves_of(source.size)),
            _dominant(small),
            _phash(sample),
            captured_at,
        )


def _sample(source: Source) -> Image.Image:
    """The first frame, upright and no larger than is looked at."""
    width, height = source.size
    scale = min(1.0, _SAMPLE_SIDE / max(width, height))
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    if source.kind == "JPEG":
        larger = (round(wanted[0] * _REDUCING_GAP), round(wanted[1] * _REDUCING_GAP))
        source.image.draft(None, source.sideways(larger))
    upright = source.upright(eight_bits(source.image))
    return upright.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _waves_of(size: Size) -> tuple[int, int]:
    """More of them along the longer side."""
    return _BLURHASH_WAVES if size[0] >= size[1] else (_BLURHASH_WAVES[1], _BLURHASH_WAVES[0])


def _frames(source: Source, limits: Limits) -> int:
    """Asked of the frames, not of the header, up to what is ever decoded of such a picture."""
    if source.kind not in ANIMATED_SOURCES:
        return 1
    area = source.size[0] * source.size[1]
    most = max(1, min(limits.frames_max, limits.animation_pixels_max // area))
    count = 1
    while count < most:
        try:
            source.image.seek(count)
            source.image.load()
        except EOFError:
            break
        count += 1
    return count


def _on_white(image: Image.Image) -> Image.Image:
    below = Image.new("RGBA", image.size, "#ffffffff")
    below.alpha_composite(image)
    return below.convert("RGB")


def _dominant(image: Image.Image) -> str | None:
    """The middle of the largest group of colours; None where nothing can be seen."""
    pixels = image.tobytes()
    seen = b"".join(
        pixels[at : at + 3] for at in range(0, len(pixels), 4) if pixels[at + 3] >= _VISIBLE
    )
    if not seen:
        return None
    grouped = Image.frombytes("RGB", (len(seen) // 3, 1), seen).quantize(_COLOURS)
    counted = grouped.getcolors()
    palette = grouped.getpalette()
    if counted is None or palette is None:
        return None
    _, index = max(counted)
    if not isinstance(index, int):
        return None
    return "#" + bytes(palette[3 * index : 3 * index + 3]).hex()


def _phash(image: Image.Image) -> int:
    """The signs of the lowest waves around their median, first bit first: pHash as `imagehash` has
    it. Pictures are alike when few bits differ.
    """
    grey = _on_white(image.convert("RGBA")).convert("L")
    side = (_PHASH_SIDE, _PHASH_SIDE)
    pixels = grey.resize(side, Image.Resampling.LANCZOS).tobytes()
    rows = waves(list(map(float, pixels)), side, (_PHASH_WAVES, _PHASH_WAVES))
    found = [value for row in rows for value in row]
    middle = median(found)
    bits = 0
    for value in found:
        bits = bits << 1 | (value > middle)
    return bits


def _profile_name(profile: bytes | None) -> str | None:
    """What the profile calls itself; None without one, or with one that cannot be read."""
    if not profile or len(profile) > _PROFILE_MAX_BYTES:
        return None
    try:
        name = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description or ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable[:PROFILE_NAME_LENGTH_MAX].strip() or None


def _captured_at(image: Image.Image) -> str | None:
    """As RFC 3339, without an offset where the camera knows none; None if it is no time."""
    try:
        said = image.getexif().get_ifd(_EXIF_IFD)
        taken = str(said.get(_TAKEN_TAG, "")).strip("\0 ")
        offset = str(said.get(_TAKEN_OFFSET_TAG, "")).strip("\0 ")
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, EOFError, OverflowError):
        return None
    day, _, time = taken.partition(" ")
    moment = f"{day.replace(':', '-')}T{time}"
    for written in (moment + offset, moment):
        try:
            return datetime.fromisoformat(written).isoformat()
        except ValueError:
            continue
    return None
