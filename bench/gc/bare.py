"""The bare loop that the collector is compared with: `python -m bench.gc.bare < job > seconds`.

DeleteObjects by 1,000 keys, asked for no list of what went, on a client of aiobotocore with its
signing and checks at the cheapest; no database, nothing looked at. `connections` of it at once.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from bench.gc.apart import run_apart
from bench.gc.world import BUCKET
from bench.processes import ACCESS_KEY, SECRET_KEY

KEYS_EACH = 1000
SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class Job:
    """Delete `keys` of the bucket at `url`."""

    url: str
    keys: Sequence[str]
    connections: int


async def delete(job: Job) -> float:
    """Seconds that it took."""
    config = AioConfig(
        s3={"addressing_style": "path", "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    batches = [
        [{"Key": key} for key in job.keys[start : start + KEYS_EACH]]
        for start in range(0, len(job.keys), KEYS_EACH)
    ]
    async with get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=job.url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=config,
    ) as client:

        async def worker() -> None:
            while batches:
                answer = await client.delete_objects(
                    Bucket=BUCKET, Delete={"Objects": batches.pop(), "Quiet": True}
                )
                if "Errors" in answer:
                    raise SystemExit(f"MinIO refused: {answer['Errors'][0]}")

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(job.connections)))
        return time.perf_counter() - began


async def deleted(job: Job) -> float:
    """The same, in a process of its own."""
    seconds: float = await run_apart("bench.gc.bare", job, seconds_max=SECONDS_MAX)
    return seconds


if __name__ == "__main__":
    print(json.dumps(asyncio.run(delete(Job(**json.load(sys.stdin))))))
