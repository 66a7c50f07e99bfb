"""For tests of what is answered before the application answers: the two answers to one request."""

import re
import time
from collections.abc import Mapping

import pytest
from aiohttp import web

from mediastore.delivery.warm import WarmReads
from mediastore.links import round_up_expiry, sign_link, tenant_link_secret
from tests.integration.service import Service

SERVICE_SECRET = "a service's secret, of 32 characters"
KEY = {"id": "2026a", "secret": SERVICE_SECRET}


class Watched:
    """Which requests `WarmReads` has answered; it can be told to leave everything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = False
        self.answered: list[str] = []
        real = WarmReads.answer

        async def answer(warm: WarmReads, request: web.Request) -> web.StreamResponse | None:
            response = None if self.off else await real(warm, request)
            if response is not None:
                self.answered.append(request.raw_path)
            return response

        monkeypatch.setattr(WarmReads, "answer", answer)


def signed(path: str, *, tenant: str = "acme", lasts_seconds: int = 60) -> str:
    return sign_link(
        path,
        expires=round_up_expiry(time.time() + lasts_seconds),
        key_id="2026a",
        secret=tenant_link_secret(SERVICE_SECRET, tenant),
    )


def get(url: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    last = [] if any(line.startswith("Connection") for line in lines) else ["Connection: close"]
    head = [f"{method} {url} HTTP/{version}", "Host: media.example", *lines, *last]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


async def both(service: Service, watched: Watched, request: bytes) -> tuple[bytes, bytes, bool]:
    """The application's answer, the service's, and whether the latter came before the former."""
    watched.off = True
    await service.raw(request)  # from here on, what can be in memory is
    expected = await service.raw(request)
    watched.off = False
    watched.answered.clear()
    answered = await service.raw(request)
    return _steady(expected), _steady(answered), bool(watched.answered)


async def growth(
    service: Service, request: bytes, names: Mapping[str, Mapping[str, str]]
) -> dict[str, float]:
    """How much each metric, named with its labels, grows by one request."""
    before = {name: service.sample(name, **labels) for name, labels in names.items()}
    await service.raw(request)
    return {name: service.sample(name, **labels) - before[name] for name, labels in names.items()}


def _steady(answer: bytes) -> bytes:
    """Without what differs between any two answers."""
    answer = re.sub(rb"(?i)(date|x-request-id|server-timing): [^\r]*\r\n", rb"\1\r\n", answer)
    return re.sub(rb'"request_id": ?"[^"]*"', b"", answer)
