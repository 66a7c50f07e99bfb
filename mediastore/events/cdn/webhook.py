"""Any other CDN: a message to a program of yours, signed as every message of ours is."""

from collections.abc import Sequence
from uuid import uuid4

from mediastore.clock import Clock
from mediastore.events.cdn.protocol import PurgeFailed
from mediastore.hooks.posting import NoAnswer, Poster


class Webhook:
    name = "webhook"
    tags_max = 1000

    def __init__(
        self, poster: Poster, clock: Clock, url: str, secret: str, timeout_seconds: float
    ) -> None:
        self._poster = poster
        self._clock = clock
        self._url = url
        self._secret = secret
        self._timeout_seconds = timeout_seconds

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:
        message = {
            "type": "cdn.purge",
            "timestamp": self._clock.now().isoformat().replace("+00:00", "Z"),
            "data": {"tags": list(tags), "hard": hard},
        }
        try:
            answer = await self._poster.post(
                self._url,
                [self._secret],
                str(uuid4()),
                message,
                timeout_seconds=self._timeout_seconds,
            )
        except NoAnswer as error:
            raise PurgeFailed(str(error)) from None
        if not 200 <= answer.status < 300:
            raise PurgeFailed(f"it answered {answer.status}", answer.retry_after_seconds or 0)
