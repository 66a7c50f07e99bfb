"""Uploads a file with aiotus; it keeps no URLs, so every run begins anew and STORAGE is not used.

Usage: aiotus_upload.py ENDPOINT KEY FILE STORAGE PATCH_BYTES [PARALLEL]
PATCH_BYTES 0: the whole file in one PATCH. PARALLEL: parts that go at once and are joined.
Prints the upload's URL.
"""

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import aiotus


async def upload(
    endpoint: str, key: str, file: Path, patch_bytes: int, parallel: int
) -> str | None:
    data = file.read_bytes()
    options: dict[str, Any] = {
        "endpoint": endpoint,
        "metadata": {"filename": file.name.encode(), "filetype": b"image/x-test"},
        "config": aiotus.RetryConfiguration(retry_attempts=200, max_retry_period_seconds=0),
        "headers": {"Authorization": f"Bearer {key}"},
        "chunksize": patch_bytes or len(data) or 1,
    }
    if parallel == 1:
        return _text(await aiotus.upload(file=io.BytesIO(data), **options))
    part = -(-len(data) // parallel)
    parts = [io.BytesIO(data[start : start + part]) for start in range(0, len(data), part)]
    return _text(await aiotus.upload_multiple(files=parts, parallel_uploads=parallel, **options))


def _text(url: object) -> str | None:
    return None if url is None else str(url)


def main(
    endpoint: str, key: str, file: str, _storage: str, patch_bytes: str, parallel: str = "1"
) -> None:
    url = asyncio.run(upload(endpoint, key, Path(file), int(patch_bytes), int(parallel)))
    if url is None:
        sys.exit("aiotus gave up; its log says why")
    print(url)


if __name__ == "__main__":
    main(*sys.argv[1:])
