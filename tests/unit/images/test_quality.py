"""Speed never costs quality: what is drawn from a shrunk picture is compared with a Lanczos resize
of all pixels of the whole one, by structural similarity.
"""

import pytest
from PIL import Image

from mediastore.images.formats import AVIF, JPEG, PNG, WEBP, Output
from mediastore.images.grammar import parse
from mediastore.images.limits import Limits
from mediastore.images.rendering import render
from mediastore.images.transform import Transform
from tests.pictures import decoded, encoded, photo, ssim

LIMITS = Limits()
# What a resize of the same pixels by area averaging reaches here, and shrinking alone does not.
LIKE_THE_REFERENCE = 0.985


def drawn(data: bytes, written: str, output: Output = PNG) -> Image.Image:
    transform = parse(written)
    assert isinstance(transform, Transform)
    return decoded(render(data, transform, output, LIMITS).data)


@pytest.fixture(scope="module", params=[1, 2])
def big(request: pytest.FixtureRequest) -> Image.Image:
    return photo(2400, 1600, seed=request.param)


@pytest.mark.parametrize("width", [1300, 801, 799, 601, 450, 299, 200, 151])
def test_a_jpeg_that_is_shrunk_on_load(big: Image.Image, width: int) -> None:
    data = encoded(big)
    made = drawn(data, f"fit-{width}x0")
    reference = decoded(data).resize(made.size, Image.Resampling.LANCZOS)
    assert ssim(made, reference) > LIKE_THE_REFERENCE


def test_the_comparison_sees_what_shrinking_alone_would_cost(big: Image.Image) -> None:
    data = encoded(big)
    reference = decoded(data).resize((450, 300), Image.Resampling.LANCZOS)
    careless = decoded(data).resize((300, 200), Image.Resampling.BOX).resize((450, 300))
    assert ssim(careless, reference) < LIKE_THE_REFERENCE
    nearest = decoded(data).resize((450, 300), Image.Resampling.NEAREST)
    assert ssim(nearest, reference) < LIKE_THE_REFERENCE


@pytest.mark.parametrize("written", ["fit-450x0", "fill-200x200", "fill-300x100_focus-10x90"])
def test_other_formats_that_are_averaged_first(big: Image.Image, written: str) -> None:
    made = drawn(encoded(big, "PNG", compress_level=1), written)
    width, height = made.size
    scale = max(width / big.width, height / big.height)
    across, down = width / scale, height / scale
    x = {"fill-300x100_focus-10x90": 0.0}.get(written, (big.width - across) / 2)
    y = {"fill-300x100_focus-10x90": big.height - down}.get(written, (big.height - down) / 2)
    reference = big.resize(made.size, Image.Resampling.LANCZOS, box=(x, y, x + across, y + down))
    assert ssim(made, reference) > LIKE_THE_REFERENCE


@pytest.mark.parametrize(("output", "least"), [(JPEG, 0.95), (WEBP, 0.93), (AVIF, 0.93)])
def test_the_default_quality_of_each_format(big: Image.Image, output: Output, least: float) -> None:
    data = encoded(big)
    reference = drawn(data, "fit-480x0")
    assert ssim(drawn(data, "fit-480x0", output), reference) > least
