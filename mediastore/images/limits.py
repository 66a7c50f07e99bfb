"""What is decoded and made at most; the service says it to its workers."""

from dataclasses import dataclass

from mediastore.images.formats import SOURCES


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded and made at most. `animation_pixels_max` counts the pixels of all frames."""

    pixels_max: int = 100_000_000
    frames_max: int = 200
    animation_pixels_max: int = 100_000_000
    result_pixels_max: int = 40_000_000
    result_max_bytes: int = 32 * 1024 * 1024
    formats: tuple[str, ...] = SOURCES
