"""How much of each cosine wave is in a channel of a picture: what all short descriptions are made
of. Runs in worker processes only.

Rows first, then columns: the cost grows with the waves of one side, not with all of them.
"""

import math
from collections.abc import Sequence
from operator import mul
from typing import Final

MIDDLE: Final = 0.5  # pixels are sampled at their middles: the DCT-II
EDGE: Final = 0.0


def waves(
    channel: Sequence[float],
    size: tuple[int, int],
    count: tuple[int, int],
    *,
    at: float = MIDDLE,
) -> list[list[float]]:
    """Means of `channel`, whose pixels come row by row, times `count` waves of each direction:
    `[down][across]`. The first is the mean itself.
    """
    width, height = size
    across = _curves(width, count[0], at)
    rows = [
        [sum(map(mul, curve, channel[start : start + width])) for curve in across]
        for start in range(0, width * height, width)
    ]
    columns = list(zip(*rows, strict=True))
    area = width * height
    return [
        [sum(map(mul, curve, column)) / area for column in columns]
        for curve in _curves(height, count[1], at)
    ]


def _curves(length: int, count: int, at: float) -> list[list[float]]:
    return [
        [math.cos(math.pi * number * (place + at) / length) for place in range(length)]
        for number in range(count)
    ]
