"""A URL that is being fetched: opened, and opened again where it broke off (RFC 9110, Range and
If-Range).

Every redirect is checked as the first URL was, and what a client wants sent to its source goes to
that source alone. Bytes are taken as they are: nothing is decompressed.
"""

import asyncio
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import ClientResponse, StreamReader
from yarl import URL

from mediastore.clock import Clock
from mediastore.errors import TooLarge
from mediastore.request_errors import SourceFailed, SourceRefused
from mediastore.settings import KIB, PullSettings
from mediastore.uploads.pull_addresses import PublicSockets, checked_url

READ_BUFFER_BYTES = 32 * KIB
# A file that changed within this long before the answer may have changed again under one date.
SETTLED_SECONDS = 60
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "mediastore"}


class Source:
    """One content, for one reader. An async context: leaving it closes every connection."""

    def __init__(
        self, url: str, headers: Mapping[str, str], settings: PullSettings, clock: Clock
    ) -> None:
        """Raises SourceRefused."""
        self._url = checked_url(url, settings)
        self._headers = headers
        self._settings = settings
        self._clock = clock
        self._sockets = PublicSockets(settings)
        self._attempts = 0
        self._validator: str | None = None
        self._response: ClientResponse | None = None
        self.length: int | None = None
        self.content_type: str | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                use_dns_cache=False, force_close=True, socket_factory=self._sockets
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()
        await self._session.close()

    async def open(self) -> StreamReader:
        """The content from its beginning. Raises SourceRefused, SourceFailed, TooLarge."""
        response = await self._ask({})
        if response.status != 200:
            raise _status(response)
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if response.content_length is None and not chunked:
            raise SourceFailed("the source does not say where its content ends", reason="length")
        if (response.content_length or 0) > self._settings.size_max_bytes:
            raise TooLarge(f"the source has more than {self._settings.size_max_bytes} bytes")
        self.length = response.content_length
        self.content_type = response.headers.get("Content-Type")
        self._validator = _validator(response)
        return response.content

    async def resume(self, offset: int) -> StreamReader:
        """The content from `offset` on, if it is still the same. Raises SourceRefused,
        SourceFailed, TooLarge.
        """
        if offset == 0:
            length = self.length
            stream = await self.open()
            if self.length != length:
                raise SourceFailed("the source has changed", reason="changed")
            return stream
        if self._validator is None:
            raise SourceFailed("the source broke off and cannot be resumed", reason="broke_off")
        response = await self._ask({"Range": f"bytes={offset}-", "If-Range": self._validator})
        if response.status == 200:
            raise SourceFailed("the source has changed, or knows no Range", reason="changed")
        if response.status != 206:
            raise _status(response)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start, last, length = map(int, found.groups()) if found else (-1, -1, -1)
        if (start, last) != (offset, length - 1) or self.length not in (None, length):
            raise SourceFailed("the source answered another range", reason="changed")
        self.length = length
        return response.content

    async def _ask(self, more: Mapping[str, str]) -> ClientResponse:
        """An answer that is worth looking at. Tries again while attempts are left."""
        while True:
            if self._attempts:
                pause = self._settings.retry_delay_seconds * 2 ** (self._attempts - 1)
                await self._clock.sleep(pause)
            self._attempts += 1
            last = self._attempts >= self._settings.attempts_max
            try:
                response = await self._follow(more)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if self._sockets.refused:
                    raise SourceRefused("the source's address is not a public one") from None
                if last:
                    raise SourceFailed(
                        f"the source cannot be reached: {error!r}", reason="unreachable"
                    ) from None
                continue
            if response.status not in _TRIED_AGAIN or last:
                return response

    @property
    def attempts_left(self) -> bool:
        return self._attempts < self._settings.attempts_max

    async def _follow(self, more: Mapping[str, str]) -> ClientResponse:
        """The answer at the end of the redirects."""
        url, given = self._url, self._headers
        for _ in range(self._settings.redirects_max + 1):
            response = await self._get(url, {**given, **_OWN_HEADERS, **more})
            if response.status not in _REDIRECTS:
                return response
            target = self._target(url, response)
            if target.origin() != url.origin():
                given = {}
            url = target
        raise SourceFailed("the source redirects too often", reason="redirects")

    def _target(self, url: URL, response: ClientResponse) -> URL:
        try:
            joined = url.join(URL(response.headers.get("Location", "")))
        except ValueError:
            raise SourceFailed("the source redirects to nowhere", reason="redirects") from None
        return checked_url(str(joined), self._settings)

    async def _get(self, url: URL, headers: Mapping[str, str]) -> ClientResponse:
        if self._response is not None:
            self._response.close()
        async with asyncio.timeout(self._settings.connect_timeout_seconds):
            self._response = await self._session.get(url, headers=headers, allow_redirects=False)
        return self._response


def _status(response: ClientResponse) -> SourceFailed:
    return SourceFailed(
        f"the source answered {response.status}", reason="status", source_status=response.status
    )


def _validator(response: ClientResponse) -> str | None:
    """What If-Range may carry: a strong ETag, or a date that has settled (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    modified, date = response.headers.get("Last-Modified"), response.headers.get("Date")
    if etag or modified is None or date is None:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= SETTLED_SECONDS else None
