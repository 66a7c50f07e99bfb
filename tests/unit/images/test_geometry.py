"""Sizes and boxes, whatever the numbers."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mediastore.image_errors import ImageRefused
from mediastore.images.geometry import focused, frame
from mediastore.images.grammar import parse
from mediastore.images.transform import Region, Transform

lengths = st.integers(1, 20_000)
sides = st.integers(1, 8192)


def meant(written: str) -> Transform:
    found = parse(written)
    assert isinstance(found, Transform)
    return found


@pytest.mark.parametrize(
    ("written", "source", "size", "canvas", "box"),
    [
        ("orig", (640, 480), (640, 480), (640, 480), (0, 0, 640, 480)),
        ("fit-320x0", (640, 480), (320, 240), (320, 240), (0, 0, 640, 480)),
        ("fit-0x240", (640, 480), (320, 240), (320, 240), (0, 0, 640, 480)),
        ("fit-100x100", (640, 480), (100, 75), (100, 75), (0, 0, 640, 480)),
        ("fit-1000x1000", (640, 480), (640, 480), (640, 480), (0, 0, 640, 480)),
        ("fit-1280x0_up", (640, 480), (1280, 960), (1280, 960), (0, 0, 640, 480)),
        ("fit-10x10", (10_000, 1), (10, 1), (10, 1), (0, 0, 10_000, 1)),
        ("fill-100x100", (640, 480), (100, 100), (100, 100), (80, 0, 560, 480)),
        ("fill-100x200", (640, 480), (100, 200), (100, 200), (200, 0, 440, 480)),
        ("fill-960x480", (640, 480), (640, 320), (640, 320), (0, 80, 640, 400)),
        ("fill-1280x960_up", (640, 480), (1280, 960), (1280, 960), (0, 0, 640, 480)),
        ("pad-100x100", (640, 480), (100, 75), (100, 100), (0, 0, 640, 480)),
        ("pad-1000x1000", (640, 480), (640, 480), (1000, 1000), (0, 0, 640, 480)),
        ("crop-10x20x100x50", (640, 480), (100, 50), (100, 50), (10, 20, 110, 70)),
        ("crop-600x400x100x100", (640, 480), (40, 80), (40, 80), (600, 400, 640, 480)),
        ("crop-10x20x100x50_fit-50x0", (640, 480), (50, 25), (50, 25), (10, 20, 110, 70)),
    ],
)
def test_known_cases(
    written: str,
    source: tuple[int, int],
    size: tuple[int, int],
    canvas: tuple[int, int],
    box: tuple[float, ...],
) -> None:
    found = frame(source, meant(written)).moved(0.5, 0.5)
    assert (found.size, found.canvas) == (size, canvas)
    assert found.box == pytest.approx(box)


def test_a_crop_outside_of_the_picture_is_refused() -> None:
    with pytest.raises(ImageRefused, match="640x480"):
        frame((640, 480), meant("crop-640x0x10x10"))


@given(lengths, lengths, sides, sides, st.sampled_from(["fit", "fill", "pad"]), st.booleans())
def test_it_always_fits_and_is_enlarged_only_when_asked(
    width: int, height: int, across: int, down: int, mode: str, up: bool
) -> None:
    found = frame((width, height), Transform(mode, across, down, enlarge=up))  # type: ignore[arg-type]
    left, top, right, bottom = found.moved(1, 1).box
    assert 0 <= left < right <= width * 1.000001
    assert 0 <= top < bottom <= height * 1.000001
    assert found.size[0] <= across
    assert found.size[1] <= down
    if not up:
        assert found.size[0] <= width
        assert found.size[1] <= height
    if mode == "fill" and up:
        assert found.size == (across, down)


@given(lengths, lengths, sides, sides, st.integers(0, 100), st.integers(0, 100))
def test_the_focal_point_is_always_in_sight(
    width: int, height: int, across: int, down: int, x: int, y: int
) -> None:
    assume(width > 1 and height > 1)
    found = focused(
        frame((width, height), Transform("fill", across, down)), (width, height), (x, y)
    )
    left, top, right, bottom = found.box
    assert left - 0.001 <= width * x / 100 <= right + 0.001
    assert top - 0.001 <= height * y / 100 <= bottom + 0.001


@given(lengths, lengths, st.integers(0, 20_000), st.integers(0, 20_000), lengths, lengths)
def test_a_crop_stays_inside(
    width: int, height: int, left: int, top: int, across: int, down: int
) -> None:
    assume(left < width and top < height)
    found = frame((width, height), Transform(crop=Region(left, top, across, down)))
    assert found.box[2] <= width
    assert found.box[3] <= height
    assert min(found.size) >= 1
