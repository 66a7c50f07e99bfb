"""BlurHash (https://blurha.sh): a picture in a few characters. Runs in worker processes only."""

import math
from typing import Final

from mediastore.images.cosines import EDGE, waves

WAVES_MAX: Final = 9
_DIGITS: Final = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
)
_LEVELS_MAX: Final = 82
_WAVE_LEVELS: Final = 19


def blurhash(rgb: bytes, size: tuple[int, int], count: tuple[int, int]) -> str:
    """Of pixels of three bytes each, row by row; with so many waves across and down, 1 to 9."""
    across, down = count
    if not (1 <= across <= WAVES_MAX and 1 <= down <= WAVES_MAX):
        raise ValueError("a BlurHash has 1 to 9 waves of each direction")
    if len(rgb) != 3 * size[0] * size[1] or not rgb:
        raise ValueError("a BlurHash is made of pixels of three bytes")
    bands = [waves([_LINEAR[v] for v in rgb[band::3]], size, count, at=EDGE) for band in range(3)]
    means = [band[0][0] for band in bands]
    others = [
        [2 * band[y][x] for band in bands] for y in range(down) for x in range(across) if x or y
    ]
    # By its size, whatever its sign, as in the reference in C: the one in TypeScript cuts off
    # pictures that grow brighter to the right or downwards.
    most = max((abs(value) for wave in others for value in wave), default=0.0)
    level = max(0, min(_LEVELS_MAX, math.floor(most * 166 - 0.5))) if others else 0
    scale = (level + 1) / 166
    mean = 0
    for value in means:
        mean = mean << 8 | _srgb(value)
    return (
        _written(across - 1 + (down - 1) * WAVES_MAX, 1)
        + _written(level, 1)
        + _written(mean, 4)
        + "".join(_written(_wave(wave, scale), 2) for wave in others)
    )


def _wave(values: list[float], scale: float) -> int:
    packed = 0
    for value in values:
        root = math.copysign(math.sqrt(abs(value / scale)), value)
        level = max(0, min(_WAVE_LEVELS - 1, math.floor(root * 9 + 9.5)))
        packed = packed * _WAVE_LEVELS + level
    return packed


def _written(value: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        value, digit = divmod(value, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _srgb(value: float) -> int:
    share = max(0.0, min(1.0, value))
    if share <= 0.0031308:
        return math.floor(share * 12.92 * 255 + 0.5)
    root = math.pow(share, 1 / 2.4)
    return math.floor((1.055 * root - 0.055) * 255 + 0.5)


_LINEAR: Final = tuple(_linear(value) for value in range(256))
