"""Pictures for tests, made here: like photos, with metadata, animated, and hostile ones."""

import io
import random
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import pillow_heif
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

ORIENTATION, ARTIST, COPYRIGHT, GPS = 0x0112, 0x013B, 0x8298, 0x8825
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo(width: int = 640, height: int = 480, seed: int = 1) -> Image.Image:
    """Soft areas, texture and hard edges, the same for the same seed."""
    chosen = random.Random(seed)
    picture = Image.new("RGB", (width, height), (120, 120, 120))
    for cells, weight in ((4, 0.6), (16, 0.35), (64, 0.25), (160, 0.15)):
        down = max(1, cells * height // width)
        noise = Image.frombytes("RGB", (cells, down), chosen.randbytes(cells * down * 3))
        grown = noise.resize((width, height), Image.Resampling.BICUBIC)
        picture = Image.blend(picture, grown, weight)
    draw = ImageDraw.Draw(picture)
    for _ in range(24):
        x, y = chosen.randrange(width), chosen.randrange(height)
        colour = tuple(chosen.randbytes(3))
        draw.line((x, y, chosen.randrange(width), chosen.randrange(height)), colour, width // 160)
        draw.ellipse((x, y, x + width // 12, y + width // 12), outline=colour, width=width // 200)
    return picture


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return target.getvalue()


def jpeg(width: int = 640, height: int = 480, seed: int = 1) -> bytes:
    return encoded(photo(width, height, seed))


def decoded(data: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(data))
    opened.load()
    return opened


def turned(picture: Image.Image, orientation: int) -> bytes:
    """A JPEG that a camera held in this way would write: stored turned, and said to be."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turn = _TURNED.get(orientation)
    return encoded(picture if turn is None else picture.transpose(turn), exif=exif.tobytes())


def private() -> bytes:
    """A JPEG with where it was taken, who took it, and a comment."""
    exif = Image.Exif()
    exif[ARTIST], exif[COPYRIGHT] = "Ada", "(c) Ada"
    exif.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    exif[GPS] = exif.get_ifd(GPS)
    return encoded(photo(), exif=exif.tobytes(), comment=b"a secret comment")


PLACE = b"Rosenthaler Platz"
"""What must never leave: it stands wherever a format lets a camera say where it was."""


def placed(kind: str) -> bytes:
    """A picture of this kind that says where it was taken in all its kinds of metadata."""
    exif = Image.Exif()
    exif[ARTIST], exif[COPYRIGHT] = "Ada", "(c) Ada"
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0), 27: PLACE}
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><exif:GPSAreaInformation>" + PLACE + b"</x:xmpmeta>"
    options: dict[str, Any] = {"exif": exif.tobytes()}
    match kind:
        case "HEIF":
            return heic(photo(120, 90), **options, xmp=xmp)
        case "TIFF":
            return encoded(photo(120, 90), kind, **options, tiffinfo={700: xmp})
        case "PNG":
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
            text.add_text("Comment", PLACE.decode())
            return encoded(photo(120, 90), kind, **options, pnginfo=text)
        case "GIF":
            return encoded(photo(120, 90), kind, comment=PLACE, xmp=xmp)
        case "JPEG":
            return encoded(photo(120, 90), kind, **options, xmp=xmp, comment=PLACE)
        case _:
            return encoded(photo(120, 90), kind, **options, xmp=xmp)


def heic(picture: Image.Image, **options: Any) -> bytes:
    """As a phone writes it: pixels as they are, and how they are turned, by what its EXIF says."""
    target = io.BytesIO()
    held = pillow_heif.from_bytes(picture.mode, picture.size, picture.tobytes())
    held.save(target, **{"quality": 90} | options)
    return target.getvalue()


def animation(
    count: int = 5, kind: str = "GIF", size: tuple[int, int] = (120, 80), **options: Any
) -> bytes:
    first, *rest = (photo(*size, seed=seed) for seed in range(count))
    shown = {"save_all": True, "append_images": rest, "duration": 120, "loop": 0}
    return encoded(first, kind, **shown | options)


def linear_profile() -> bytes:
    """A profile whose numbers mean other colours than sRGB's do: CIELAB's own white, gamma 1."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Mean structural similarity of two pictures of one size, on windows of 8x8 grey pixels."""
    if one.size != other.size:
        raise AssertionError(f"{one.size} is not {other.size}")
    (width, height), side = one.size, 8
    first, second = one.convert("L").tobytes(), other.convert("L").tobytes()
    values = []
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            starts = [(top + row) * width + left for row in range(side)]
            a = b"".join(first[start : start + side] for start in starts)
            b = b"".join(second[start : start + side] for start in starts)
            values.append(_similarity(a, b))
    return sum(values) / len(values)


def _similarity(a: bytes, b: bytes) -> float:
    count = len(a)
    mean_a, mean_b = sum(a) / count, sum(b) / count
    variance_a = sum(value * value for value in a) / count - mean_a**2
    variance_b = sum(value * value for value in b) / count - mean_b**2
    together = sum(x * y for x, y in zip(a, b, strict=True)) / count - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * together + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )


def png_claiming(width: int, height: int, lines: Iterable[bytes] = ()) -> bytes:
    """A PNG whose header says this size, whatever follows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(lines), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def gif_frames(count: int, size: int = 1, claimed: int | None = None) -> bytes:
    """A GIF of very many tiny frames, each a few bytes long; its screen may claim to be larger."""
    screen = struct.pack("<HH", claimed or size, claimed or size)
    head = b"GIF89a" + screen + b"\x80\x00\x00" + b"\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, size, size) + b"\x00\x02\x02\x44\x01\x00"
    return head + frame * count + b"\x3b"
