"""What every driver gives, and one HTTP request as they need it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp

ANSWER_MAX_BYTES = 64 * 1024
QUOTED_CHARACTERS = 200
RETRY_AFTER_DIGITS_MAX = 6
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


class PurgeFailed(Exception):
    """A CDN did not take a purge; `retry_after_seconds` is for how long it wants no other call."""

    def __init__(self, why: str, retry_after_seconds: float = 0) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


class Purger(Protocol):
    """A CDN. Purging is repeatable: what was forgotten may be forgotten again."""

    name: str
    tags_max: int
    """Of one call."""

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:
        """Forget what has one of these tags; `hard`: not even to be served stale.

        Raises PurgeFailed.
        """


class PurgeClient:
    """POSTs JSON to a CDN's interface, bounded in time and in what is read of the answer."""

    def __init__(self, session: aiohttp.ClientSession, timeout_seconds: float) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def post(
        self, url: str, document: object, headers: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """The answer's JSON object, None if it is none. Raises PurgeFailed for all but 2xx."""
        try:
            async with self._session.post(
                url,
                data=json.dumps(document).encode(),
                headers=HEADERS | dict(headers),
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                body = await _read(response)
                if not 200 <= response.status < 300:
                    said = body.decode("utf-8", "replace")[:QUOTED_CHARACTERS]
                    why = f"it answered {response.status}: {said}"
                    raise PurgeFailed(why, _retry_after(response))
        except TimeoutError:
            raise PurgeFailed("no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PurgeFailed(f"{type(error).__name__}: {error}") from None
        try:
            answer = json.loads(body)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer's body, or as much of it as anybody wants to know."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_MAX_BYTES:
            break
    return bytes(body[:ANSWER_MAX_BYTES])


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    short = 0 < len(text) <= RETRY_AFTER_DIGITS_MAX
    return float(text) if short and text.isascii() and text.isdecimal() else 0
