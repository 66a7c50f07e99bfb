"""CloudFront: invalidation of a distribution's cache tags.

Developer guide, "Invalidating content by cache tags": items of CreateInvalidation that begin with
`#`. The distribution needs `CacheTagConfig` with the header name `Cache-Tag`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from mediastore.events.cdn.protocol import PurgeFailed

REGION = "us-east-1"  # CloudFront's own, wherever the distribution is


class CloudFront:
    name = "cloudfront"
    tags_max = 100

    def __init__(self, client: Any, distribution_id: str, timeout_seconds: float) -> None:
        self._client = client
        self._distribution_id = distribution_id
        self._timeout_seconds = timeout_seconds

    async def purge(self, tags: Sequence[str], *, hard: bool) -> None:  # noqa: ARG002  (always is)
        items = [f"#{tag}" for tag in tags]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.create_invalidation(
                    DistributionId=self._distribution_id,
                    InvalidationBatch={
                        "Paths": {"Quantity": len(items), "Items": items},
                        "CallerReference": str(uuid4()),
                    },
                )
        except TimeoutError:
            raise PurgeFailed("no answer in time") from None
        except (BotoCoreError, ClientError, OSError) as error:
            raise PurgeFailed(f"{type(error).__name__}: {error}") from None


@asynccontextmanager
async def open_cloudfront(
    distribution_id: str,
    *,
    endpoint_url: str | None,
    access_key_id: str | None,
    secret_access_key: str | None,
    timeout_seconds: float,
) -> AsyncIterator[CloudFront]:
    """Without keys, botocore's usual chain. It does not try again: the outbox does."""
    async with get_session().create_client(
        "cloudfront",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=AioConfig(retries={"total_max_attempts": 1}),
    ) as client:
        yield CloudFront(client, distribution_id, timeout_seconds)
