"""Chromium by its DevTools protocol: what a page loaded, with headers, and what its scripts see.

The protocol goes over a pair of pipes (`--remote-debugging-pipe`), a JSON text and a NUL each way,
so that nothing listens on a port and nothing beside Python's library is needed.
"""

import fcntl
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.acceptance.browser import chromium as chromium_process

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
DESCRIPTORS_ABOVE = 10


@dataclass(frozen=True, slots=True)
class Loaded:
    """An answer that a page got. Header names are lower-case."""

    url: str
    status: int
    headers: Mapping[str, str]
    asked: Mapping[str, str]
    from_cache: bool


class Browser:
    """A running Chromium; what it says is kept, in order."""

    def __init__(self, commands: IO[bytes], said: IO[bytes]) -> None:
        self._commands, self._said = commands, said
        self._numbers = itertools.count(1)
        self._messages: list[dict[str, Any]] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def call(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol. Raises AssertionError for its errors."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        answer = self.wait(lambda: self._results.pop(number, None))
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, look: Callable[[], T | None]) -> T:
        """Look after everything that Chromium says, until there is something to see."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with self._changed:
            while (found := look()) is None:
                left = deadline - time.monotonic()
                assert left > 0, "it never came"
                assert not self._ended, "Chromium has ended"
                self._changed.wait(left)
            return found

    def events(self, session: str, begin: int = 0) -> list[dict[str, Any]]:
        """What was said of a tab, from the message `begin` on."""
        with self._changed:
            return [one for one in self._messages[begin:] if one.get("sessionId") == session]

    @property
    def said(self) -> int:
        """How many messages there were."""
        return len(self._messages)

    def tab(self) -> "Tab":
        """A new tab that shows nothing yet."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Network", "Runtime"):
            tab.call(f"{domain}.enable")
        return tab

    def close(self) -> None:
        self._thread.join()
        self._commands.close()
        self._said.close()

    def _listen(self) -> None:
        rest = b""
        while piece := self._said.read1(65536):  # type: ignore[attr-defined]
            *messages, rest = (rest + piece).split(b"\0")
            with self._changed:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._results[message["id"]] = message
                    else:
                        self._messages.append(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@dataclass(slots=True)
class Tab:
    """One tab. What is asked of it is about the page that `open` or `go` went to last."""

    browser: Browser
    session: str
    begin: int = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, session=self.session, **params)

    def go(self, url: str) -> dict[str, Any]:
        """Go there and wait for nothing: what becomes a download is never a page that is loaded."""
        self.begin = self.browser.said
        return self.call("Page.navigate", url=url)

    def open(self, url: str) -> None:
        """Go there and wait until the page, with all that it shows, is loaded."""
        answer = self.go(url)
        assert "errorText" not in answer, answer
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method: str) -> dict[str, Any]:
        """The first such event since then."""
        return self.browser.wait(lambda: next(self._named(method), None))

    def events(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all such events since then."""
        return list(self._named(method))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def loaded(self) -> list[Loaded]:
        """Every answer since then."""
        asked = {
            event["requestId"]: event["request"]["headers"]
            for event in self._named("Network.requestWillBeSent")
        }
        return [
            Loaded(
                event["response"]["url"],
                event["response"]["status"],
                {name.lower(): value for name, value in event["response"]["headers"].items()},
                {name.lower(): value for name, value in asked[event["requestId"]].items()},
                event["response"].get("fromDiskCache", False),
            )
            for event in self._named("Network.responseReceived")
            if event["requestId"] in asked
        ]

    def _named(self, method: str) -> Iterator[dict[str, Any]]:
        for event in self.browser.events(self.session, self.begin):
            if event["method"] == method:
                yield event["params"]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A new Chromium with a new profile."""
    (reads, commands), (said, writes) = os.pipe(), os.pipe()
    # Chromium takes the descriptors 3 and 4, which may well be others of ours here: a shell, which
    # has nothing open there, gives it them.
    passed = [fcntl.fcntl(end, fcntl.F_DUPFD, DESCRIPTORS_ABOVE) for end in (reads, writes)]
    os.close(reads)
    os.close(writes)
    shell = f'exec "$@" 3<&{passed[0]} 4>&{passed[1]} {passed[0]}<&- {passed[1]}>&-'
    through = ["bash", "-c", shell, "bash"]
    with ExitStack() as last:
        with chromium_process(
            profile, ["--remote-debugging-pipe"], through=through, descriptors=passed
        ):
            for end in passed:
                os.close(end)
            browser = Browser(os.fdopen(commands, "wb"), os.fdopen(said, "rb"))
            last.callback(browser.close)  # it listens until Chromium has ended
            yield browser
