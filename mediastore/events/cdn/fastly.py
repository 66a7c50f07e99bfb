"""Fastly: purge of a service's surrogate keys, soft at first, hard the second time.

API reference, "Purge multiple surrogate key tags": POST /service/{id}/purge, up to 256 keys. Soft:
marked stale, so that Fastly asks here before it serves it again, or serves it while it asks.
"""

from collections.abc import Sequence
from urllib.parse import quote

from mediastore.events.cdn.protocol import PurgeClient


class Fastly:
    name = "fastly"
    tags_max = 256

    def __init__(
        self, client: PurgeClient, base_url: str, service_id: str, token: str, *, soft: bool
    ) -> None:
        self._client = client
        self._url = f"{base_url}/service/{quote(service_id, safe='')}/purge"
        self._token = token
        self._soft = soft

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:
        headers = {"Fastly-Key": self._token}
        if self._soft and not hard:
            headers["Fastly-Soft-Purge"] = "1"
        await self._client.post(self._url, {"surrogate_keys": list(tags)}, headers)
