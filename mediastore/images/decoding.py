"""Opens a picture that anybody may have sent. Runs in worker processes only.

Formats are allow-listed, headers are not believed: pixels are counted before anything is decoded,
frames while they are. Whatever a decoder does about bytes that are not what they should be, becomes
ImageRefused or ImageTooLarge.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageFile, PngImagePlugin

from mediastore.errors import MediastoreError
from mediastore.image_errors import ImageRefused, ImageTooCostly, ImageTooLarge
from mediastore.images.formats import ANIMATED_SOURCES, HEIF, SOURCES
from mediastore.images.geometry import Size
from mediastore.images.limits import Limits

ORIENTATION_TAG: Final = 0x0112
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TEXT_MAX_BYTES: Final = 1024 * 1024
_SHOWN_MS_MAX: Final = 600_000


@dataclass(frozen=True, slots=True)
class Source:
    """A picture whose header has been read, and nothing else. `size` is that of the upright one."""

    image: ImageFile.ImageFile
    size: Size
    orientation: int
    kind: str

    def upright(self, image: Image.Image) -> Image.Image:
        """As the camera was held."""
        turn = _UPRIGHT.get(self.orientation)
        return image if turn is None else image.transpose(turn)

    def sideways(self, size: Size) -> Size:
        """A size of the upright picture as one of the stored picture, and the other way round."""
        return (size[1], size[0]) if self.orientation in _SIDEWAYS else size


def prepare(formats: Sequence[str]) -> None:
    """Once in a process: warnings are errors, and the optional plugin is there if it is wanted."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_MAX_BYTES
    if HEIF in formats:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:  # it is optional: without it such pictures are refused
            return
        register_heif_opener(thumbnails=False)


def known_formats(formats: Sequence[str]) -> list[str]:
    """Of the allowed formats those that can be decoded here."""
    Image.init()
    return [name for name in formats if name in SOURCES and name in Image.OPEN]


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever decoders and encoders raise about a picture leaves as our errors."""
    try:
        yield
    except MediastoreError:
        raise
    except MemoryError:
        raise ImageTooCostly("there is not enough memory for this picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge from None
    except Exception as error:
        # Plugins raise anything: OSError, ValueError, SyntaxError, struct.error, ZeroDivisionError.
        raise ImageRefused(f"the picture is damaged ({type(error).__name__})") from error


def open_source(data: bytes, limits: Limits) -> Source:
    """Read the header. Raises ImageRefused, ImageTooLarge."""
    Image.MAX_IMAGE_PIXELS = limits.pixels_max
    image = Image.open(io.BytesIO(data), formats=known_formats(limits.formats))
    if not isinstance(image, ImageFile.ImageFile):
        raise ImageRefused
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageRefused("the picture has no pixels")
    if width * height > limits.pixels_max:
        raise ImageTooLarge(
            f"{width}x{height} pixels are more than the {limits.pixels_max} that are decoded"
        )
    orientation = _orientation(image)
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    return Source(image, size, orientation, _kind(image))


def is_animated(source: Source) -> bool:
    """Has it a second frame? Asked of the frames, not of the header."""
    if source.kind not in ANIMATED_SOURCES:
        return False
    try:
        source.image.seek(1)
    except EOFError:
        return False
    finally:
        source.image.seek(0)
    return True


def frames(source: Source, limits: Limits) -> Iterator[tuple[Image.Image, int]]:
    """Each frame, whole, and how long it is shown in milliseconds. Raises ImageTooLarge."""
    area = source.size[0] * source.size[1]
    index = 0
    while True:
        try:
            source.image.seek(index)
        except EOFError:
            return
        if index >= limits.frames_max or (index + 1) * area > limits.animation_pixels_max:
            raise ImageTooLarge(
                f"the animation has more than {index} frames, which is all that is decoded of "
                "one of its size; ask for `still`"
            )
        decoded = source.image.copy()  # only what is decoded knows how long it is shown (WebP)
        shown_ms = source.image.info.get("duration", 0)
        yield decoded, int(shown_ms) if 0 <= shown_ms <= _SHOWN_MS_MAX else 0
        index += 1


def _kind(image: ImageFile.ImageFile) -> str:
    """Pictures of several views (MPO) begin with an ordinary JPEG, which is what is shown."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _orientation(image: ImageFile.ImageFile) -> int:
    """As EXIF says; a picture whose EXIF cannot be read stands as it is."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, EOFError, OverflowError):
        return 1
    return value if value in _UPRIGHT else 1
