"""A film for tests, made here: WebM with VP8, each frame of which says which one it is.

What Pillow writes as a lossy WebP is one VP8 key frame (RFC 9649, 2.5), so a film is many of them
in Matroska's boxes: no encoder of films is needed, and every frame can be sought.
"""

import io
import random
import struct
from collections.abc import Sequence

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 640, 368
FRAME_MS = 100
FRAMES_IN_CLUSTER = 10
BITS = 10
CELL = WIDTH // BITS
QUALITY = 90

# Identifiers of elements (RFC 9559), as they are written.
_EBML, _SEGMENT, _SEEK_HEAD, _INFO, _TRACKS, _CUES, _CLUSTER = (
    *(0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1549A966),
    *(0x1654AE6B, 0x1C53BB6B, 0x1F43B675),
)


def film(frames: int, seed: int = 1) -> bytes:
    """So many frames, ten a second, about 100 KB each."""
    chosen = random.Random(seed)
    noise = Image.frombytes("L", (WIDTH, HEIGHT), chosen.randbytes(WIDTH * HEIGHT))
    return webm([_key_frame(_numbered(noise, number)) for number in range(frames)])


def number_of(frame: Image.Image) -> int:
    """Which frame a picture of it shows, whatever size it is drawn in."""
    fields = frame.convert("L").resize((BITS, 4), Image.Resampling.BOX).tobytes()[:BITS]
    return sum(1 << bit for bit, light in enumerate(fields) if light > 127)


def _numbered(noise: Image.Image, number: int) -> Image.Image:
    """The number in binary, as white and black fields, above noise that does not compress."""
    picture = noise.copy()
    draw = ImageDraw.Draw(picture)
    for bit in range(BITS):
        colour = 255 if number >> bit & 1 else 0
        draw.rectangle((bit * CELL, 0, (bit + 1) * CELL - 1, HEIGHT // 4 - 1), fill=colour)
    return picture


def _key_frame(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.convert("RGB").save(written, "WEBP", quality=QUALITY, method=0)
    data = written.getvalue()
    if data[12:16] != b"VP8 ":
        raise ValueError("Pillow has written another kind of WebP")
    (size,) = struct.unpack_from("<I", data, 16)
    return data[20 : 20 + size]


def webm(frames: Sequence[bytes]) -> bytes:
    """The index (Cues) comes last, as a camera writes it: a player that seeks goes there first."""
    info = _element(_INFO, _number(0x2AD7B1, 1_000_000), _float(0x4489, len(frames) * FRAME_MS))
    video = _element(0xE0, _number(0xB0, WIDTH), _number(0xBA, HEIGHT))
    track = _element(
        *(0xAE, _number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1)),
        *(_element(0x86, b"V_VP8"), video),
    )
    tracks = _element(_TRACKS, track)
    clusters, cues = [], []
    at = _SEEK_HEAD_BYTES + len(info) + len(tracks)
    for first in range(0, len(frames), FRAMES_IN_CLUSTER):
        start = first * FRAME_MS
        blocks = [
            _element(0xA3, b"\x81" + struct.pack(">hB", number * FRAME_MS, 0x80) + frame)
            for number, frame in enumerate(frames[first : first + FRAMES_IN_CLUSTER])
        ]
        cluster = _element(_CLUSTER, _number(0xE7, start), *blocks)
        place = _element(0xB7, _number(0xF7, 1), _number(0xF1, at))
        cues.append(_element(0xBB, _number(0xB3, start), place))
        clusters.append(cluster)
        at += len(cluster)
    seeks = _seek_head({_INFO: _SEEK_HEAD_BYTES, _TRACKS: _SEEK_HEAD_BYTES + len(info), _CUES: at})
    segment = _element(_SEGMENT, seeks, info, tracks, *clusters, _element(_CUES, *cues))
    versions = [_number(name, value) for name, value in _VERSIONS.items()]
    return _element(_EBML, *versions, _element(0x4282, b"webm")) + segment


_VERSIONS = {0x4286: 1, 0x42F7: 1, 0x42F2: 4, 0x42F3: 8, 0x4287: 2, 0x4285: 2}


def _seek_head(places: dict[int, int]) -> bytes:
    """Where the other elements begin, counted from the segment's content."""
    seeks = [
        _element(0x4DBB, _element(0x53AB, struct.pack(">I", name)), _number(0x53AC, place))
        for name, place in places.items()
    ]
    return _element(_SEEK_HEAD, *seeks)


def _element(name: int, *content: bytes) -> bytes:
    body = b"".join(content)
    size = struct.pack(">Q", len(body) | 1 << 56)  # always eight bytes, so that places are known
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + body


def _number(name: int, value: int) -> bytes:
    return _element(name, struct.pack(">Q", value))


def _float(name: int, value: float) -> bytes:
    return _element(name, struct.pack(">d", value))


_SEEK_HEAD_BYTES = len(_seek_head({_INFO: 0, _TRACKS: 0, _CUES: 0}))
