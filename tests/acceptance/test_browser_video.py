"""A film in Chromium that is sought in: every answer is a 206, and the right frame is shown."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests import films
from tests.acceptance.conftest import MakeServer, operate
from tests.acceptance.devtools import Loaded, Tab, chromium
from tests.acceptance.pages import Site
from tests.acceptance.server import Server

pytestmark = pytest.mark.full

FRAMES = 300
PAGE = """<!doctype html><title>Film</title>
<video crossorigin muted preload=metadata width=640 height=368 src="{url}"></video>
<script>
const video = document.querySelector("video");
const failed = new Promise((_, fail) => {{ video.onerror = () => fail(video.error.message); }});
const heard = (name) => new Promise((done) => video.addEventListener(name, done, {{once: true}}));
async function seek(seconds) {{
    if (video.readyState < 1) await Promise.race([failed, heard("loadedmetadata")]);
    const sought = heard("seeked");
    video.currentTime = seconds;
    await Promise.race([failed, sought]);
    const canvas = Object.assign(document.createElement("canvas"), {{width: 640, height: 368}});
    canvas.getContext("2d").drawImage(video, 0, 0);
    return {{at: video.currentTime, duration: video.duration, frame: canvas.toDataURL()}};
}}
</script>"""
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@pytest.fixture(scope="module")
def film() -> bytes:
    return films.film(FRAMES)


@pytest.fixture
def server(make_server: MakeServer, own_site: Site) -> Server:
    made = make_server()
    assert made.config is not None
    origins = f"cors_origins={own_site.origin}"
    operate(made.config, "tenant", "set", "acme", "public=true", origins)
    made.start()
    return made


@pytest.fixture
def tab(folder: Path) -> Iterator[Tab]:
    with chromium(folder / "profile") as browser:
        yield browser.tab()


def test_seeking_fetches_ranges_and_shows_the_frame(
    server: Server, own_site: Site, tab: Tab, film: bytes
) -> None:
    blob = server.client().made(film, Content_Type="video/webm")["blob"]
    url = f"{server.url}/media/acme/{blob}/film.webm"
    own_site.pages = {"/": ("text/html", PAGE.format(url=url).encode())}
    tab.open(own_site.origin + "/")
    for number in (290, 7, 151, 299, 0):
        assert_shows(tab, number)
    answers = [answer for answer in tab.loaded() if answer.url == url]
    ranges = [assert_right_range(answer, blob, film) for answer in answers]
    assert ranges[0] == 0
    assert any(first > len(film) * 0.9 for first in ranges), "the index is at the end"
    assert len(ranges) > 2, ranges


def assert_shows(tab: Tab, number: int) -> None:
    """Seek into the middle of the time that a frame is shown."""
    seconds = (number + 0.5) * films.FRAME_MS / 1000
    seen = tab.run(f"seek({seconds})")
    assert seen["at"] == pytest.approx(seconds)
    assert seen["duration"] == FRAMES * films.FRAME_MS / 1000
    data = base64.b64decode(seen["frame"].partition(",")[2])
    assert films.number_of(Image.open(io.BytesIO(data))) == number


def assert_right_range(answer: Loaded, blob: str, film: bytes) -> int:
    """A 206 that says what is in it; its first byte."""
    assert answer.status == 206, answer
    assert answer.headers["etag"] == f'"{blob}"'
    assert answer.headers["accept-ranges"] == "bytes"
    found = RANGE.fullmatch(answer.headers["content-range"])
    assert found, answer
    first, last, size = map(int, found.groups())
    assert size == len(film)
    assert answer.headers["content-length"] == str(last + 1 - first)
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", answer.asked["range"])
    assert asked, answer
    assert (first, last) == (int(asked[1]), int(asked[2] or size - 1))
    return first
