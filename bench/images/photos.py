"""Photos of the sizes that phones and cameras make: soft areas, texture at every scale, grain."""

import io
import random
from collections.abc import Mapping

from PIL import Image

SIZES: Mapping[str, tuple[tuple[int, int], str]] = {
    "24 MP JPEG": ((6000, 4000), "JPEG"),
    "8 MP JPEG": ((3264, 2448), "JPEG"),
    "8 MP PNG": ((3264, 2448), "PNG"),
}


def photos() -> dict[str, bytes]:
    """Each of SIZES, the same bytes at every run."""
    return {name: _encoded(_photo(*size), kind) for name, (size, kind) in SIZES.items()}


def _photo(width: int, height: int) -> Image.Image:
    chosen = random.Random(width)
    picture = Image.new("RGB", (width, height), (120, 120, 120))
    for cells, weight in ((5, 0.6), (40, 0.35), (320, 0.25), (1600, 0.12)):
        down = cells * height // width
        noise = Image.frombytes("RGB", (cells, down), chosen.randbytes(cells * down * 3))
        grown = noise.resize((width, height), Image.Resampling.BICUBIC)
        picture = Image.blend(picture, grown, weight)
    return picture


def _encoded(picture: Image.Image, kind: str) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 6}))
    return target.getvalue()
