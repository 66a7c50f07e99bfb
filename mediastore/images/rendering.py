"""Draws what a transform means. Runs in worker processes only.

In this order: shrink on load (JPEG), upright, crop and resize in one pass, sRGB, rotate, sharpen,
blur, pad, encode. Colours are converted after the resize, when there is less to convert.
Whoever changes what comes out for the same transform raises RENDERING_VERSION (variant_keys.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image, ImageFilter

from mediastore.image_errors import ImageTooLarge
from mediastore.images import geometry
from mediastore.images.colour import eight_bits, srgb
from mediastore.images.decoding import Source, frames, is_animated, open_source, refusing
from mediastore.images.encoding import (
    copyright_exif,
    encode_animation,
    encode_still,
    for_output,
)
from mediastore.images.formats import Output
from mediastore.images.geometry import Box, Frame, Size
from mediastore.images.interest import attentive
from mediastore.images.limits import Limits
from mediastore.images.transform import Transform

# A JPEG is decoded at 1/2, 1/4 or 1/8 only while it stays this much larger than what is drawn of
# it; what is left, and other formats, is first averaged down to so much. What that costs in quality
# is held by tests/unit/images/test_quality.py, against a resize of all pixels; docs/performance.md
# has it beside libvips.
_DRAFT_GAP: Final = 1.2
_REDUCING_GAP: Final = 1.5
_SHARPEN_RADIUS: Final = 1.0
_SHARPEN_THRESHOLD: Final = 2
_TURNS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture that was made. `frames` of the source that were seen: 2 may mean more."""

    data: bytes
    width: int
    height: int
    frames: int


def render(data: bytes, transform: Transform, output: Output, limits: Limits) -> Rendered:
    """Raises ImageRefused, ImageTooLarge, ImageTooCostly."""
    with refusing():
        source = open_source(data, limits)
        animated = is_animated(source)
        if animated and output.animates and not transform.still:
            made = _render_animation(source, transform, output, limits)
        else:
            made = replace(
                _render_still(source, transform, output, limits), frames=2 if animated else 1
            )
        if len(made.data) > limits.result_max_bytes:
            raise ImageTooLarge(f"the result has more than {limits.result_max_bytes} bytes")
        return made


def _render_still(source: Source, transform: Transform, output: Output, limits: Limits) -> Rendered:
    found = geometry.frame(source.size, transform)
    _check_result(found, 1, limits)
    exif = copyright_exif(source.image) if transform.copyright else None
    profile = source.image.info.get("icc_profile")
    _shrink_on_load(source, found)
    decoded = source.upright(eight_bits(source.image))
    found = _placed(found, source.size, decoded, transform)
    drawn = _drawn(decoded, found, source.size)
    finished = _finished(srgb(drawn, profile), found, transform, output)
    encoded = encode_still(
        finished,
        output,
        quality=transform.quality,
        max_bytes=transform.max_bytes,
        exif=exif,
    )
    return Rendered(encoded, finished.width, finished.height, 1)


def _render_animation(
    source: Source, transform: Transform, output: Output, limits: Limits
) -> Rendered:
    found = geometry.frame(source.size, transform)
    profile = source.image.info.get("icc_profile")
    loop = source.image.info.get("loop", 0)
    made: list[Image.Image] = []
    shown_ms: list[int] = []
    for number, (decoded, milliseconds) in enumerate(frames(source, limits)):
        _check_result(found, number + 1, limits)
        whole = source.upright(decoded.convert("RGBA"))
        if number == 0:  # one crop for all of them: the picture must not jump
            found = _placed(found, source.size, whole, transform)
        drawn = srgb(_drawn(whole, found, source.size), profile)
        made.append(_finished(drawn, found, transform, output))
        shown_ms.append(milliseconds)
    encoded = encode_animation(
        made,
        shown_ms,
        output,
        loop=loop if isinstance(loop, int) else 0,
        quality=transform.quality,
        max_bytes=transform.max_bytes,
    )
    return Rendered(encoded, made[0].width, made[0].height, len(made))


def _check_result(found: Frame, number: int, limits: Limits) -> None:
    """Before anything is decoded or drawn. Raises ImageTooLarge."""
    for width, height in (found.size, found.canvas):
        if width * height * number > limits.result_pixels_max:
            raise ImageTooLarge(
                f"{number} x {width}x{height} pixels are more than the "
                f"{limits.result_pixels_max} that are made"
            )


def _shrink_on_load(source: Source, found: Frame) -> None:
    """Let the JPEG decoder leave out what is not drawn; other decoders have no such thing."""
    if source.kind != "JPEG":
        return
    scale = found.scale * _DRAFT_GAP
    if scale < 1:
        wanted = (math.ceil(source.size[0] * scale), math.ceil(source.size[1] * scale))
        source.image.draft(None, source.sideways(wanted))


def _placed(found: Frame, size: Size, decoded: Image.Image, transform: Transform) -> Frame:
    """Where `fill` cuts."""
    if transform.focus == "auto":
        left, top, right, bottom = found.box
        region: Box = (left, top, right + found.slack[0], bottom + found.slack[1])
        sample = decoded.crop(_rounded(_on_decoded(region, size, decoded.size)))
        return attentive(found, sample, region)
    if transform.focus is not None:
        return geometry.focused(found, size, transform.focus)
    return found.moved(0.5, 0.5)


def _drawn(decoded: Image.Image, found: Frame, size: Size) -> Image.Image:
    """Cut out and resized at once; untouched where nothing changes."""
    box = _on_decoded(found.box, size, decoded.size)
    if found.size == decoded.size and box == (0.0, 0.0, *map(float, decoded.size)):
        return decoded.copy()
    return decoded.resize(found.size, Image.Resampling.LANCZOS, box=box, reducing_gap=_REDUCING_GAP)


def _finished(
    image: Image.Image, found: Frame, transform: Transform, output: Output
) -> Image.Image:
    for step in _steps(found, transform, output):
        image = step(image)
    return image


def _steps(
    found: Frame, transform: Transform, output: Output
) -> list[Callable[[Image.Image], Image.Image]]:
    steps: list[Callable[[Image.Image], Image.Image]] = []
    if transform.sharpen:
        mask = ImageFilter.UnsharpMask(_SHARPEN_RADIUS, transform.sharpen, _SHARPEN_THRESHOLD)
        steps.append(lambda image: image.filter(mask))
    if transform.blur:
        blur = ImageFilter.GaussianBlur(transform.blur)
        steps.append(lambda image: image.filter(blur))
    if found.canvas != found.size:
        steps.append(lambda image: _padded(image, found, transform, output))
    if transform.rotate:
        turn = _TURNS[transform.rotate]
        steps.append(lambda image: image.transpose(turn))
    steps.append(lambda image: for_output(image, output, transform.background))
    return steps


def _padded(image: Image.Image, found: Frame, transform: Transform, output: Output) -> Image.Image:
    """In the middle of its canvas, on the background, or on nothing where the format can."""
    canvas = Image.new("RGBA", found.canvas, (0, 0, 0, 0))
    if transform.background is not None:
        canvas.paste(f"#{transform.background}ff", (0, 0, *found.canvas))
    elif not output.has_alpha:
        canvas.paste("#ffffffff", (0, 0, *found.canvas))
    at = ((found.canvas[0] - found.size[0]) // 2, (found.canvas[1] - found.size[1]) // 2)
    canvas.alpha_composite(image.convert("RGBA"), at)
    return canvas


def _on_decoded(box: Box, size: Size, decoded: Size) -> Box:
    """A box of the whole source on what was decoded of it, which may be smaller."""
    across, down = decoded[0] / size[0], decoded[1] / size[1]
    return (
        max(0.0, box[0] * across),
        max(0.0, box[1] * down),
        min(float(decoded[0]), box[2] * across),
        min(float(decoded[1]), box[3] * down),
    )


def _rounded(box: Box) -> tuple[int, int, int, int]:
    left, top = math.floor(box[0]), math.floor(box[1])
    return left, top, max(left + 1, math.ceil(box[2])), max(top + 1, math.ceil(box[3]))
