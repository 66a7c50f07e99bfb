"""Cloudflare: purge of a zone's cache tags.

API reference, "Purge cached content": POST /zones/{id}/purge_cache with `tags`, up to 100 of them;
only an answer with `"success": true` is one.
"""

from collections.abc import Sequence
from urllib.parse import quote

from mediastore.events.cdn.protocol import PurgeClient, PurgeFailed


class Cloudflare:
    name = "cloudflare"
    tags_max = 100

    def __init__(self, client: PurgeClient, base_url: str, zone_id: str, token: str) -> None:
        self._client = client
        self._url = f"{base_url}/zones/{quote(zone_id, safe='')}/purge_cache"
        self._token = token

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:  # noqa: ARG002  (always is)
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = await self._client.post(self._url, {"tags": list(tags)}, headers)
        if answer is None or answer.get("success") is not True:
            errors = None if answer is None else answer.get("errors")
            raise PurgeFailed(f"it did not say success: {errors!r}"[:300])
