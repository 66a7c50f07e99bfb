"""One signed POST to the app, bounded in time and in what is read of its answer.

Redirects are answers like any other: what was signed for one address is not sent to the next.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import aiohttp

from mediastore.clock import Clock
from mediastore.hooks.signing import signed_headers

HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"mediastore/{version('mediastore')}",
}
RETRY_AFTER_DIGITS_MAX = 6


class NoAnswer(Exception):
    """The app could not be reached, did not answer in time or said more than is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the app said; its body only where that was asked for."""

    status: int
    retry_after_seconds: int | None
    body: bytes = b""


class Poster:
    """Sends messages on connections that it keeps; how many at once is its users' business."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def post(
        self,
        url: str,
        secrets: Sequence[str],
        message_id: str,
        message: dict[str, Any],
        *,
        timeout_seconds: float,
        answer_max_bytes: int = 0,
    ) -> Answer:
        """Raises NoAnswer. With an `answer_max_bytes` of 0 the answer's body is not read."""
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        signature = signed_headers(secrets, message_id, self._clock.now(), body)
        try:
            async with self._session.post(
                url,
                data=body,
                headers=HEADERS | signature,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as response:
                read = b"" if answer_max_bytes == 0 else await _read(response, answer_max_bytes)
                return Answer(response.status, _retry_after(response), read)
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from None


@asynccontextmanager
async def open_poster(clock: Clock) -> AsyncIterator[Poster]:
    """A poster whose connections are closed at the end. No cookies, no proxies, no redirects."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield Poster(session, clock)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            raise NoAnswer(f"the answer is longer than {max_bytes} bytes")
    return bytes(body)


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    """In seconds; a date is passed over."""
    text = response.headers.get("Retry-After", "")
    short = len(text) <= RETRY_AFTER_DIGITS_MAX
    return int(text) if short and text.isascii() and text.isdecimal() else None
