"""A page of 200 pictures in Chromium: srcset, placeholders, and the format that it can show."""

import base64
import functools
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from html import escape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from PIL import Image, ImageStat

from mediastore.images.grammar import parse
from mediastore.images.srcset import srcset
from mediastore.images.transform import Transform
from mediastore.links import media_path, round_up_expiry, sign_link, tenant_link_secret
from tests import pictures
from tests.acceptance.conftest import module_servers
from tests.acceptance.devtools import Loaded, Tab, chromium
from tests.acceptance.pages import Site
from tests.acceptance.server import Server
from tests.conftest import DatabaseServer

pytestmark = pytest.mark.full

PICTURES = 200
WIDTH, HEIGHT = 96, 72  # of each on the page, in CSS pixels
SCREEN = (960, 720)
PLACEHOLDER = "fit-8x0"
PLACEHOLDER_BYTES_MAX = 300  # in base64, in the page
PLACEHOLDER_DIFFERS_MAX = 16  # of 255
HUE_STEP = 83  # neighbours have nothing in common
KEY_ID, SECRET = "2026a", "correct horse battery staple, 32 characters at least"
PROVISIONAL_SECONDS = 30
STYLE = (
    f"body {{ margin: 0 }} img {{ display: block; float: left; width: {WIDTH}px; "
    f"height: {HEIGHT}px; background-size: 100% 100% }}"
)
# They come in any order; what the page knows of each when all are there.
SEEN = """Promise.all(Array.from(document.images, async (image) => {
    await image.decode();
    return [image.currentSrc, image.naturalWidth, image.naturalHeight];
}))"""


@dataclass(frozen=True, slots=True)
class Picture:
    """One of a private tenant's, as the app that writes the page knows it."""

    blob: str
    average: tuple[float, ...]
    placeholder: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """The service with the pictures, the page's own site, and a tab to look at it."""

    server: Server
    pictures: list[Picture]
    site: Site
    tab: Tab

    def show(self, quality: int) -> None:
        """Have a page with variants that no other test has asked for."""
        self.site.pages = {"/": ("text/html", page(self.server, self.pictures, quality))}

    def look(self, *, ratio: int = 1, without: tuple[str, ...] = ()) -> list[Loaded]:
        """Load the page on a screen, in a browser that cannot show some types: the media it got."""
        self.tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=SCREEN[0],
            height=SCREEN[1],
            deviceScaleFactor=ratio,
            mobile=False,
        )
        self.tab.call("Emulation.setDisabledImageTypes", imageTypes=list(without))
        self.tab.open(self.site.origin + "/")
        return [answer for answer in self.tab.loaded() if "/media/" in answer.url]

    def assert_all_show(self, *, ratio: int = 1) -> None:
        """Each picture is decoded, from the right one of its URLs."""
        seen = self.tab.run(SEEN)
        assert len(seen) == PICTURES
        assert {(wide, high) for _, wide, high in seen} == {(WIDTH, HEIGHT)}
        assert all(f"/fit-{ratio * WIDTH}x0_" in url for url, _, _ in seen)


@pytest.fixture(scope="module")
def server(database_server: DatabaseServer) -> Iterator[Server]:
    with module_servers(database_server) as make:
        made = make(
            MEDIASTORE_LINKS__KEYS=json.dumps([{"id": KEY_ID, "secret": SECRET}]),
            MEDIASTORE_IMAGES__PROVISIONAL_SECONDS=str(PROVISIONAL_SECONDS),
        )
        made.start()
        yield made


@pytest.fixture(scope="module")
def uploaded(server: Server) -> list[Picture]:
    made = []
    for number in range(PICTURES):
        data = pictures.encoded(coloured(number))
        blob = server.client().made(data, Content_Type="image/jpeg")["blob"]
        small = server.client().get(f"/media/acme/{blob}/{PLACEHOLDER}/p.webp")
        assert small.status == 200, small
        inline = "data:image/webp;base64," + base64.b64encode(small.body).decode()
        made.append(Picture(blob, average(pictures.decoded(data)), inline))
    assert len({picture.blob for picture in made}) == PICTURES
    return made


@pytest.fixture
def gallery(
    server: Server, uploaded: list[Picture], own_site: Site, folder: Path
) -> Iterator[Gallery]:
    """Its cache is off, so that each look asks the service."""
    with chromium(folder / "profile") as browser:
        tab = browser.tab()
        tab.call("Network.setCacheDisabled", cacheDisabled=True)
        yield Gallery(server, uploaded, own_site, tab)


def coloured(number: int) -> Image.Image:
    """Like a photo, and of a colour that a wrong placeholder would not have."""
    drawn = pictures.photo(2 * WIDTH, 2 * HEIGHT, number)
    hue = Image.new("HSV", drawn.size, (number * HUE_STEP % 256, 255, 255)).convert("RGB")
    return Image.blend(drawn, hue, 0.5)


def page(server: Server, shown: list[Picture], quality: int) -> bytes:
    """Signed links at two widths, a placeholder of a few bytes, and a size that never changes."""
    secret = tenant_link_secret(SECRET, "acme")
    expires = round_up_expiry(time.time() + 3600)
    sign = functools.partial(sign_link, expires=expires, key_id=KEY_ID, secret=secret)
    wide = parse(f"fit-{WIDTH}x0_q-{quality}")
    assert isinstance(wide, Transform)
    tags = []
    for picture in shown:
        widths = srcset(
            media_path("acme", picture.blob),
            wide,
            "photo.auto",
            [WIDTH, 2 * WIDTH],
            sign=lambda path: server.url + sign(path),
        )
        tags.append(
            f'<img width={WIDTH} height={HEIGHT} alt="" sizes="{WIDTH}px" '
            f'style="background-image: url({picture.placeholder})" srcset="{escape(widths)}">'
        )
    head = f"<!doctype html><meta charset=utf-8><title>Pictures</title><style>{STYLE}</style>"
    return (head + "\n".join(tags)).encode()


def test_webp_at_once_and_avif_as_soon_as_it_is_made(gallery: Gallery) -> None:
    gallery.show(71)
    first = gallery.look()
    assert_negotiated(first, "image/webp", "webp")
    assert all(lifetime(answer) <= PROVISIONAL_SECONDS for answer in first)
    gallery.assert_all_show()
    later = gallery.server.until(gallery.look, all_avif)
    assert_negotiated(later, "image/avif", "avif")
    assert all(lifetime(answer) > PROVISIONAL_SECONDS for answer in later)
    gallery.assert_all_show()


def test_a_sharper_screen_gets_twice_the_pixels(gallery: Gallery) -> None:
    gallery.show(72)
    assert_negotiated(gallery.look(ratio=2), "image/webp", "webp")
    gallery.assert_all_show(ratio=2)
    later = gallery.server.until(lambda: gallery.look(ratio=2), all_avif)
    assert_negotiated(later, "image/avif", "avif")
    gallery.assert_all_show(ratio=2)


def test_a_browser_that_cannot_show_them_gets_neither(gallery: Gallery) -> None:
    gallery.show(73)
    assert_negotiated(gallery.look(without=("avif",)), "image/webp", "webp")
    gallery.assert_all_show()
    assert_negotiated(gallery.look(without=("avif", "webp")), "image/jpeg", "jpg")
    gallery.assert_all_show()


def test_a_second_visit_asks_for_nothing(gallery: Gallery) -> None:
    gallery.show(71)
    gallery.server.until(gallery.look, all_avif)
    gallery.tab.call("Network.setCacheDisabled", cacheDisabled=False)  # they are kept all the same
    before = gallery.server.log().count('"GET"')
    gallery.look()
    gallery.assert_all_show()
    assert gallery.server.log().count('"GET"') == before


def test_placeholders_look_like_what_is_to_come(gallery: Gallery) -> None:
    gallery.show(74)
    gallery.tab.call("Network.setBlockedURLs", urls=["*/media/*"])
    gallery.look()
    boxes = gallery.tab.run("Array.from(document.images, (image) => [image.x, image.y])")
    shot = screenshot(gallery.tab)
    compared = 0
    for (left, top), picture in zip(boxes, gallery.pictures, strict=True):
        if top + HEIGHT <= shot.height:
            part = shot.crop((left, top, left + WIDTH, top + HEIGHT))
            assert differ(average(part), picture.average) < PLACEHOLDER_DIFFERS_MAX
            compared += 1
    assert compared >= PICTURES // 4
    assert max(len(picture.placeholder) for picture in gallery.pictures) <= PLACEHOLDER_BYTES_MAX


def assert_negotiated(answers: list[Loaded], content_type: str, extension: str) -> None:
    """What a CDN has to know is in every answer: by what it varies, and what was chosen."""
    assert len(answers) == PICTURES
    for answer in answers:
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == content_type, answer
        assert answer.headers["vary"] == "Accept", answer
        path = urlsplit(answer.url).path
        chosen = urljoin(path, answer.headers["content-location"])
        assert chosen == f"{path.removesuffix('auto')}{extension}", answer


def all_avif(answers: list[Loaded]) -> bool:
    return all(answer.headers["content-type"] == "image/avif" for answer in answers)


def lifetime(answer: Loaded) -> float:
    """Seconds for which a cache may keep it (RFC 9111, 4.2.1)."""
    found = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
    if found:
        return float(found[1])
    expires, date = (parsedate_to_datetime(answer.headers[name]) for name in ("expires", "date"))
    return (expires - date).total_seconds()


def screenshot(tab: Tab) -> Image.Image:
    data = base64.b64decode(tab.call("Page.captureScreenshot", format="png")["data"])
    return Image.open(io.BytesIO(data)).convert("RGB")


def average(picture: Image.Image) -> tuple[float, ...]:
    return tuple(ImageStat.Stat(picture.convert("RGB")).mean)


def differ(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
