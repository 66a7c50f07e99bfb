"""Where a picture was taken never leaves, whatever it came in and whatever is asked for."""

from typing import Any

import pytest

from mediastore.images.decoding import prepare
from mediastore.images.formats import OUTPUTS, SOURCES, Output
from mediastore.images.grammar import parse
from mediastore.images.limits import Limits
from mediastore.images.rendering import render
from mediastore.images.transform import Transform
from tests.pictures import GPS, PLACE, animation, decoded, heic, photo, placed, ssim, turned

LIMITS = Limits()
CARRIERS = sorted(set(SOURCES) - {"BMP"})  # a BMP has no metadata


@pytest.fixture(autouse=True)
def decoders() -> None:
    prepare(SOURCES)


def made(data: bytes, written: str, output: Output) -> bytes:
    transform = parse(written)
    assert isinstance(transform, Transform)
    return render(data, transform, output, LIMITS).data


@pytest.mark.parametrize("kind", CARRIERS)
def test_the_sources_say_where_they_were_taken(kind: str) -> None:
    """Otherwise the next test would prove nothing."""
    assert PLACE in placed(kind)


@pytest.mark.parametrize("written", ["fit-60x0", "orig", "orig_copyright", "crop-5x5x40x40_rot-90"])
@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())
@pytest.mark.parametrize("kind", CARRIERS)
def test_no_variant_says_where_it_was_taken(kind: str, output: Output, written: str) -> None:
    data = made(placed(kind), written, output)
    assert PLACE not in data
    assert b"xmpmeta" not in data
    opened = decoded(data)
    assert opened.getexif().get_ifd(GPS) == {}
    assert not {"xmp", "XML:com.adobe.xmp", "photoshop", "comment", "Comment"} & opened.info.keys()


@pytest.mark.parametrize("output", [OUTPUTS["gif"], OUTPUTS["webp"]], ids=["gif", "webp"])
@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_no_animation_does_either(kind: str, output: Output) -> None:
    hints: dict[str, Any] = {"comment": PLACE} if kind == "GIF" else {"xmp": PLACE}
    source = animation(3, kind, **hints)
    assert PLACE in source
    data = made(source, "fit-60x0_copyright", output)
    assert decoded(data).n_frames == 3  # type: ignore[attr-defined]
    assert PLACE not in data


def test_a_heic_comes_out_as_the_picture_that_went_in() -> None:
    picture = photo(320, 200)
    assert ssim(decoded(made(heic(picture), "orig", OUTPUTS["png"])), picture) > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_turned_once(orientation: int) -> None:
    """Its plugin turns it by itself: who believes its EXIF as well turns it again."""
    upright = photo(320, 200)
    held = decoded(turned(upright, orientation))
    drawn = decoded(made(heic(held, exif=held.info["exif"]), "orig", OUTPUTS["png"]))
    assert ssim(drawn, upright) > 0.85
