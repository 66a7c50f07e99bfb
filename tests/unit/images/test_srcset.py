"""Candidates of a srcset are canonical URLs, narrow ones first."""

import functools

import pytest

from mediastore.image_errors import BadTransform
from mediastore.images.grammar import parse, text
from mediastore.images.srcset import srcset
from mediastore.images.transform import Transform
from mediastore.links import sign_link


def meant(written: str) -> Transform:
    found = parse(written)
    assert isinstance(found, Transform)
    return found


def test_each_width_has_its_url() -> None:
    assert srcset("/media/t/b", meant("fit-800x0"), "a b.auto", [800, 400, 400]) == (
        "/media/t/b/fit-400x0/a%20b.auto 400w, /media/t/b/fit-800x0/a%20b.auto 800w"
    )


def test_shapes_are_kept_and_urls_are_canonical() -> None:
    made = srcset("https://x/media/t/b", meant("fill-300x200_q-80"), "a.jpg", [150, 600])
    assert made == (
        "https://x/media/t/b/fill-150x100/a.jpg 150w, https://x/media/t/b/fill-600x400/a.jpg 600w"
    )
    for candidate in made.split(", "):
        written = candidate.split("/")[-2]
        assert text(parse(written)) == written
    assert "fit-100x0" in srcset("/m", meant("orig"), "a.png", [100])


def test_each_width_has_its_signature() -> None:
    sign = functools.partial(sign_link, expires=3600, key_id="k", secret="s")
    made = srcset("/media/t/b", meant("fit-800x0"), "a b.auto", [400, 800], sign=sign)
    assert made == (
        f"{sign('/media/t/b/fit-400x0/a b.auto')} 400w, "
        f"{sign('/media/t/b/fit-800x0/a b.auto')} 800w"
    )
    assert all(url.startswith("/media/t/b/fit-") for url in made.split(", "))
    assert made.count("/a%20b.auto?exp=3600&kid=k&sig=") == 2


@pytest.mark.parametrize(
    ("written", "filename", "widths"),
    [
        ("fit-0x100", "a.jpg", [100]),
        ("fit-100x0", "a", [100]),
        ("fit-100x0", "a.exe", [100]),
        ("fit-100x0", "a.jpg", []),
        ("fit-100x0", "a.jpg", [9000]),
        ("fit-100x0", "a.jpg", list(range(1, 40))),
    ],
)
def test_what_no_url_could_have(written: str, filename: str, widths: list[int]) -> None:
    with pytest.raises(BadTransform):
        srcset("/m", meant(written), filename, widths)
