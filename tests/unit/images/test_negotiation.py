"""What an Accept header means here."""

import pytest

from mediastore.image_errors import NotAcceptable
from mediastore.images.negotiation import acceptable

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI_13 = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ["jpg"]),
        ([""], ["jpg"]),
        (["*/*"], ["jpg"]),
        ([CHROME], ["avif", "webp", "jpg"]),
        ([SAFARI_13], ["jpg"]),
        (["image/webp", "image/avif"], ["avif", "webp"]),
        (["image/webp;q=0.9, image/avif;q=0.3, */*;q=0.1"], ["webp", "avif", "jpg"]),
        (["image/avif;q=0, image/webp, image/*"], ["webp", "jpg"]),
        (["image/jpeg;q=0, image/webp, */*"], ["webp"]),
        (["IMAGE/WEBP; Q=1.000 , */* ;q=0.001"], ["webp", "jpg"]),
        (["image/*;q=0, */*"], []),
        (["image/webp;q=2"], []),
        (["text/html"], []),
        (["image/jpeg;q=0"], []),
        ([",,,;;;"], ["jpg"]),
        (["image/webp;level=1"], ["webp"]),
    ],
)
def test_what_may_be_sent_best_first(lines: list[str], expected: list[str]) -> None:
    if not expected:
        with pytest.raises(NotAcceptable):
            acceptable(lines)
        return
    assert [output.extension for output in acceptable(lines)] == expected
