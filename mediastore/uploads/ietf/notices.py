"""104 (Upload Resumption Supported): tells a client its upload's URL, then how much is stored.

Only where the settings want it and, by default, only to clients that have sent an interop version
of ours: a proxy that does not know interim responses takes a 104 for the answer (docs/ietf.md).
"""

from aiohttp import HttpVersion11, web

from mediastore.app_keys import CLOCK, SETTINGS
from mediastore.uploads.ietf.dialects import INTEROP_VERSION
from mediastore.uploads.ietf.fields import Asked
from mediastore.uploads.interim import earlier_has_left, send_interim

STATUS, REASON = 104, "Upload Resumption Supported"


class Notices:
    """The 104s of one request."""

    def __init__(self, request: web.Request, asked: Asked) -> None:
        self._request = request
        self._dialect = asked.dialect
        self._version = {INTEROP_VERSION: str(asked.dialect.version)} if asked.version_sent else {}
        settings = request.app[SETTINGS].uploads
        wanted = settings.interim_responses
        self.wanted = request.version >= HttpVersion11 and (
            wanted == "on" or (wanted == "matching" and asked.version_sent)
        )
        self._interval_seconds = settings.interim_interval_seconds
        self._clock = request.app[CLOCK]
        self._last = self._clock.monotonic()

    def announce(self, location: str, limit: dict[str, str]) -> None:
        """The first 104 of a creation: from now on the client can resume."""
        send_interim(
            self._request, STATUS, REASON, {**self._version, "Location": location, **limit}
        )

    def progress(self, offset: int) -> None:
        """What is stored by now; not more often than the settings say, and never in a queue."""
        if not (self.wanted and self._dialect.tells_progress):
            return
        now = self._clock.monotonic()
        if now - self._last < self._interval_seconds or not earlier_has_left(self._request):
            return
        self._last = now
        send_interim(self._request, STATUS, REASON, {**self._version, "Upload-Offset": str(offset)})
