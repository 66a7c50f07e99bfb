"""Pixels as a file: nothing of the source's metadata goes in but what is put in here.

Runs in worker processes only.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

from PIL import Image

from mediastore.image_errors import ImageTooLarge
from mediastore.images.formats import Output

ARTIST_TAG: Final = 0x013B
COPYRIGHT_TAG: Final = 0x8298
_NOTE_LENGTH_MAX: Final = 1024
_QUALITY_LEAST: Final = 5
_MISSES_MAX: Final = 8  # of the search below: 100 qualities are halved at most 7 times
_WHITE: Final = "ffffff"
# One worker is one core: encoders that begin threads of their own would take other workers' cores.
_SAVED: Final[dict[str, dict[str, Any]]] = {
    "JPEG": {"optimize": True},
    "WEBP": {"method": 4},
    "AVIF": {"speed": 8, "max_threads": 1},
    "PNG": {"compress_level": 6},
    "GIF": {},
}


def encode_still(
    image: Image.Image,
    output: Output,
    *,
    quality: int | None,
    max_bytes: int | None,
    exif: bytes | None = None,
) -> bytes:
    """One picture. Raises ImageTooLarge when no quality brings it below `max_bytes`."""
    options = dict(_SAVED[output.pillow])
    if exif:
        options["exif"] = exif
    best = quality or output.quality
    if best is None:
        return _saved(image, output.pillow, options)

    def at(tried: int) -> bytes:
        return _saved(image, output.pillow, options | {"quality": tried})

    return at(best) if max_bytes is None else _within(at, best, max_bytes)


def encode_animation(
    frames: Sequence[Image.Image],
    shown_ms: Sequence[int],
    output: Output,
    *,
    loop: int,
    quality: int | None,
    max_bytes: int | None,
) -> bytes:
    """All frames. Raises ImageTooLarge as `encode_still`."""
    options = {
        "save_all": True,
        "append_images": list(frames[1:]),
        "duration": list(shown_ms),
        "loop": loop,
    }
    if output.pillow == "GIF":
        options |= {"disposal": 2}
        return _saved(frames[0], output.pillow, options)

    def at(tried: int) -> bytes:
        return _saved(frames[0], output.pillow, options | {"quality": tried, "method": 2})

    best = quality or output.quality or 80
    return at(best) if max_bytes is None else _within(at, best, max_bytes)


def for_output(image: Image.Image, output: Output, background: str | None) -> Image.Image:
    """Without transparency where the format has none or a background is asked for."""
    if image.mode == "RGBA" and (background is not None or not output.has_alpha):
        below = Image.new("RGB", image.size, f"#{background or _WHITE}")
        below.paste(image, mask=image.getchannel("A"))
        return below
    return image


def copyright_exif(image: Image.Image) -> bytes | None:
    """EXIF of its own with who made the picture and whose it is; None when that is not said."""
    try:
        said = image.getexif()
        kept = {
            tag: str(said[tag])[:_NOTE_LENGTH_MAX]
            for tag in (ARTIST_TAG, COPYRIGHT_TAG)
            if said.get(tag)
        }
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, EOFError, OverflowError):
        return None
    if not kept:
        return None
    made = Image.Exif()
    for tag, note in kept.items():
        made[tag] = note
    return made.tobytes()


def _saved(image: Image.Image, pillow_name: str, options: dict[str, Any]) -> bytes:
    """What a source said of itself is in `info`, and several encoders take it from there."""
    image.info.clear()
    for frame in options.get("append_images", ()):
        frame.info.clear()
    target = io.BytesIO()
    image.save(target, pillow_name, **options)
    return target.getvalue()


def _within(at: Callable[[int], bytes], best: int, max_bytes: int) -> bytes:
    """The best quality that fits, up to `best`."""
    found = at(best)
    if len(found) <= max_bytes:
        return found
    low, high, fitting = _QUALITY_LEAST, best - 1, None
    for _ in range(_MISSES_MAX):
        if low > high:
            break
        middle = (low + high) // 2
        found = at(middle)
        if len(found) <= max_bytes:
            fitting, low = found, middle + 1
        else:
            high = middle - 1
    if fitting is None:
        raise ImageTooLarge(
            f"at this size the picture does not fit {max_bytes} bytes; ask for a smaller one"
        )
    return fitting
