"""A bucket and the rows that name its keys, each asked directly: nothing of the service's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import boto3

from bench.processes import ACCESS_KEY, SECRET_KEY


@contextmanager
def s3_client(url: str) -> Iterator[Any]:
    """A client of a MinIO of bench/processes.py."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    try:
        yield client
    finally:
        client.close()


def key_sizes(client: Any, bucket: str = "bucket") -> dict[str, int]:
    """Every key of a chunk, in order, and how many bytes it has."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="chunks/")
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def bucket_keys(url: str) -> set[str]:
    with s3_client(url) as client:
        return set(key_sizes(client))


async def row_keys(connection: "asyncpg.Connection[Any]") -> set[str]:
    """The keys that chunk rows name."""
    rows = await connection.fetch("SELECT hash, generation FROM chunks")
    return {f"chunks/{row['hash'].hex()}/{row['generation']:016x}" for row in rows}
