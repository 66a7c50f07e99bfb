"""Files with scripts in Chromium: opened by their URL or inside of a page, none of them runs.

Every case is first shown by a careless server, which sends such a file with its type and nothing
else: there its script runs, so that the silence of the service means something.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.conftest import MakeServer, operate
from tests.acceptance.devtools import Loaded, Tab, chromium
from tests.acceptance.hostile import SVG_SIDES, hostile_files
from tests.acceptance.pages import Site
from tests.acceptance.server import Server

pytestmark = pytest.mark.full

SETTLE_SECONDS = 1.0  # after the answer has come: a script of its own runs within a tenth of that
CARELESS, CAREFUL = "careless?", "careful?"
FILES = ["svg", "html", "xhtml", "pdf"]
TAGS: Mapping[str, str] = {
    "iframe": '<iframe src="{url}"></iframe>',
    "object": '<object data="{url}" width="300" height="300"></object>',
    "embed": '<embed src="{url}" width="300" height="300">',
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A tab, a site that scripts tell that they run, and the URLs of the same files twice."""

    tab: Tab
    site: Site
    careless: Mapping[str, str]
    served: Mapping[str, str]

    def show(self, tag: str) -> None:
        """Inside of a page of the site."""
        page = f"<!doctype html><title>Page</title>{tag}".encode()
        self.site.pages = {**self.site.pages, "/": ("text/html", page)}
        self.tab.open(self.site.origin + "/")

    def ran(self, beacon: str) -> list[str]:
        """What was heard of scripts: dialogs that name `beacon`, and requests for it."""
        dialogs = self.tab.events("Page.javascriptDialogOpening")
        said = [dialog["message"] for dialog in dialogs] + self.site.asked
        return [one for one in said if beacon in one]

    def wait_until_ran(self, beacon: str) -> None:
        deadline = time.monotonic() + 30
        while not self.ran(beacon):
            assert time.monotonic() < deadline, "even the careless server's script did not run"
            time.sleep(0.02)
        if self.tab.events("Page.javascriptDialogOpening"):
            self.tab.call("Page.handleJavaScriptDialog", accept=True)

    def answer(self, url: str) -> Loaded:
        """The service's answer for it, once it has come."""
        return self.tab.browser.wait(
            lambda: next((one for one in self.tab.loaded() if one.url == url), None)
        )


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    made = make_server()
    assert made.config is not None
    operate(made.config, "tenant", "set", "acme", "public=true")
    made.start()
    return made


@pytest.fixture
def stage(server: Server, own_site: Site, folder: Path) -> Iterator[Stage]:
    careless = hostile_files(f"{own_site.origin}/{CARELESS}")
    own_site.pages = {f"/{one.filename}": (one.content_type, one.body) for one in careless.values()}
    served = {}
    for name, one in hostile_files(f"{own_site.origin}/{CAREFUL}").items():
        blob = server.client().made(one.body, Content_Type=one.content_type)["blob"]
        served[name] = f"{server.url}/media/acme/{blob}/{one.filename}"
    urls = {name: f"{own_site.origin}/{one.filename}" for name, one in careless.items()}
    with chromium(folder / "profile") as browser:
        yield Stage(browser.tab(), own_site, urls, served)


@pytest.mark.parametrize("name", FILES)
def test_it_does_not_run_when_it_is_opened(stage: Stage, name: str) -> None:
    stage.tab.go(stage.careless[name])
    stage.wait_until_ran(CARELESS)
    stage.tab.go(stage.served[name])
    assert_attachment(stage.answer(stage.served[name]))
    assert_silent(stage)


@pytest.mark.parametrize("name", FILES)
def test_it_does_not_run_inside_of_a_page(stage: Stage, name: str) -> None:
    for tag in TAGS.values():
        stage.site.asked.clear()
        stage.show(tag.format(url=stage.careless[name]))
        stage.wait_until_ran(CARELESS)
        stage.show(tag.format(url=stage.served[name]))
        assert_silent(stage)


def test_a_picture_with_a_script_is_only_a_picture(stage: Stage) -> None:
    """`<img>` runs nothing; what it must do is to show it."""
    stage.show(f'<img src="{stage.served["svg"]}">')
    seen = stage.tab.run("[document.images[0].naturalWidth, document.images[0].naturalHeight]")
    assert tuple(seen) == SVG_SIDES
    assert_silent(stage)


def assert_attachment(answer: Loaded) -> None:
    assert answer.status == 200
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def assert_silent(stage: Stage) -> None:
    time.sleep(SETTLE_SECONDS)
    assert stage.ran(CAREFUL) == []
