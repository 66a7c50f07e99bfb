"""ThumbHash (https://evanw.github.io/thumbhash/): a picture in about 25 bytes, its shape and its
transparency included. Runs in worker processes only.

Of our own, since PyPI's `thumbhash` (0.1.2) fails for transparent pictures.
"""

import math
from collections.abc import Sequence
from typing import Final

from mediastore.images.cosines import waves

SIDE_MAX: Final = 100
_LUMINANCE_WAVES: Final = 7
_LUMINANCE_WAVES_WITH_ALPHA: Final = 5
_COLOUR_WAVES: Final = 3
_ALPHA_WAVES: Final = 5


def thumbhash(rgba: bytes, size: tuple[int, int]) -> bytes:
    """Of pixels of four bytes each, row by row; alpha is not multiplied in. Sides of 1 to 100."""
    width, height = size
    if not (1 <= width <= SIDE_MAX and 1 <= height <= SIDE_MAX and len(rgba) == 4 * width * height):
        raise ValueError("a ThumbHash is made of up to 100x100 pixels of four bytes")
    alpha = [value / 255 for value in rgba[3::4]]
    opacity = sum(alpha)
    has_alpha = opacity < width * height
    red, green, blue = (_on_average(rgba[band::4], alpha, opacity) for band in range(3))
    most = _LUMINANCE_WAVES_WITH_ALPHA if has_alpha else _LUMINANCE_WAVES
    across = max(1, _rounded(most * width / max(size)))
    down = max(1, _rounded(most * height / max(size)))
    light = [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)]
    yellow_blue = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    red_green = [r - g for r, g in zip(red, green, strict=True)]
    colours = (_COLOUR_WAVES, _COLOUR_WAVES)
    l_mean, l_waves, l_scale = _channel(light, size, (max(3, across), max(3, down)))
    p_mean, p_waves, p_scale = _channel(yellow_blue, size, colours)
    q_mean, q_waves, q_scale = _channel(red_green, size, colours)
    is_landscape = width > height
    first = (
        _rounded(63 * l_mean)
        | _rounded(31.5 + 31.5 * p_mean) << 6
        | _rounded(31.5 + 31.5 * q_mean) << 12
        | _rounded(31 * l_scale) << 18
        | has_alpha << 23
    )
    second = (
        (down if is_landscape else across)
        | _rounded(63 * p_scale) << 3
        | _rounded(63 * q_scale) << 9
        | is_landscape << 15
    )
    made = first.to_bytes(3, "little") + second.to_bytes(2, "little")
    nibbles = [*l_waves, *p_waves, *q_waves]
    if has_alpha:
        a_mean, a_waves, a_scale = _channel(alpha, size, (_ALPHA_WAVES, _ALPHA_WAVES))
        made += bytes([_rounded(15 * a_mean) | _rounded(15 * a_scale) << 4])
        nibbles += a_waves
    if len(nibbles) % 2:
        nibbles.append(0)
    pairs = zip(nibbles[::2], nibbles[1::2], strict=True)
    return made + bytes(low | high << 4 for low, high in pairs)


def _on_average(band: bytes, alpha: Sequence[float], opacity: float) -> list[float]:
    """The band, laid on the picture's average colour where that shines through."""
    mean = sum(a * value for a, value in zip(alpha, band, strict=True)) / 255 / (opacity or 1)
    return [mean * (1 - a) + a * value / 255 for a, value in zip(alpha, band, strict=True)]


def _channel(
    channel: Sequence[float], size: tuple[int, int], count: tuple[int, int]
) -> tuple[float, list[int], float]:
    """Its mean, its lower waves as numbers of four bits, and what they are measured by."""
    across, down = count
    found = waves(channel, size, count)
    kept = [
        found[y][x]
        for y in range(down)
        for x in range(across)
        if (x or y) and x * down < across * (down - y)
    ]
    scale = max(map(abs, kept))
    return (
        found[0][0],
        [_rounded(15 * (0.5 + 0.5 / scale * f)) if scale else 0 for f in kept],
        scale,
    )


def _rounded(value: float) -> int:
    """Halves go up, as in the reference."""
    return math.floor(value + 0.5)
