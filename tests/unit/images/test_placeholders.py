"""ThumbHash and BlurHash, against what their authors' own encoders (JavaScript) say."""

import base64

import pytest

from mediastore.images.blurhash import blurhash
from mediastore.images.thumbhash import thumbhash

# Width, height, transparent; then what npm's thumbhash 0.1.1 and blurhash 2.0.5 say.
REFERENCE = [
    (40, 30, False, "ZgkKPZpPeHh+h3eFdYh2d4+P9gWY",
     "L~L;c#}DoHofq8ocfPf*f#fPfLfP", "=~L;c#q8f#off*oef$off$"),
    (30, 40, False, "ZgkKPRpveH93Z4eXZlZ5eW+e9gaX",
     "L~L;i^}Eo2ofq8k7fOf$f$fPfRfP", "=~L;i^q8f$ogfzocf$oef#"),
    (100, 25, False, "JgkKQpZveHd+eGh3b432BZc=",
     "L~L;E6}Uj?k9ubocfRfif#f5fOfO", "=@L;E6ubf#t5f%s.f%s:f%"),
    (32, 32, True, "YwiGHQ4nL3lOeYSmZF9f8QS4gIeAh3h4iA==",
     "L~L;f=}An}ofq8obfRf%f+fNfMfP", "=~L;f=q8f+odf#off#ocf$"),
    (8, 100, True, "YziGGQ43X004mHdfXfIlxYeHgIeIeIg=",
     "L~L;m0}s$5x[lwkSjsf~fifQfPfP", "=~L;m0lwfij=fij;fij;fh"),
]  # fmt: skip


def pixels(width: int, height: int, *, transparent: bool) -> bytes:
    """Darker to the right and downwards, with a pattern in blue."""
    made = bytearray()
    for y in range(height):
        for x in range(width):
            red = 255 - 255 * x * x // (width - 1) ** 2
            green = 255 - 255 * (y * y + x) // ((height - 1) ** 2 + width - 1)
            opacity = 255 * (x + y) // (width + height - 2) if transparent else 255
            made += bytes([red, green, (7 * x + 13 * y) % 256, opacity])
    return bytes(made)


def opaque(rgba: bytes) -> bytes:
    return b"".join(rgba[at : at + 3] for at in range(0, len(rgba), 4))


@pytest.mark.parametrize(("width", "height", "transparent", "thumb", "wide", "tall"), REFERENCE)
def test_the_reference_encoders_say_the_same(
    width: int, height: int, transparent: bool, thumb: str, wide: str, tall: str
) -> None:
    rgba, size = pixels(width, height, transparent=transparent), (width, height)
    assert base64.b64encode(thumbhash(rgba, size)).decode() == thumb
    assert blurhash(opaque(rgba), size, (4, 3)) == wide
    assert blurhash(opaque(rgba), size, (1, 9)) == tall


def test_one_that_grows_brighter_has_the_scale_of_one_that_grows_darker() -> None:
    darker = opaque(pixels(40, 30, transparent=False))
    brighter = bytes(255 - value for value in darker)
    scales = [blurhash(data, (40, 30), (4, 3))[1] for data in (brighter, darker)]
    assert scales == ["o", "~"]  # 50 and 82, the most; not the next to nothing that is positive


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (100, 1), (3, 2)])
@pytest.mark.parametrize("opacity", [0, 128, 255])
def test_the_smallest_and_the_thinnest(size: tuple[int, int], opacity: int) -> None:
    rgba = bytes([200, 100, 50, opacity]) * (size[0] * size[1])
    assert 5 <= len(thumbhash(rgba, size)) <= 25
    assert len(blurhash(opaque(rgba), size, (4, 3))) == 28
    assert len(blurhash(opaque(rgba), size, (1, 1))) == 6


def test_what_they_are_not_made_of() -> None:
    for rgba, size in ((b"", (0, 0)), (bytes(4 * 101), (101, 1)), (bytes(5), (1, 1))):
        with pytest.raises(ValueError, match="ThumbHash"):
            thumbhash(rgba, size)
    for count in ((0, 1), (10, 1), (1, 10)):
        with pytest.raises(ValueError, match="BlurHash"):
            blurhash(bytes(3), (1, 1), count)
    with pytest.raises(ValueError, match="BlurHash"):
        blurhash(b"", (0, 0), (1, 1))
