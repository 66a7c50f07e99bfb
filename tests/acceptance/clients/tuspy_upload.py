"""Uploads a file with tuspy, resuming what an earlier run with the same storage file began.

Usage: tuspy_upload.py ENDPOINT KEY FILE STORAGE PATCH_BYTES
PATCH_BYTES 0: the whole file in one PATCH. Prints the upload's URL.
"""

import sys
from pathlib import Path

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage


def main(endpoint: str, key: str, file: str, storage: str, patch_bytes: str) -> None:
    client = TusClient(endpoint, headers={"Authorization": f"Bearer {key}"})
    urls = FileStorage(storage)  # type: ignore[no-untyped-call]
    uploader = client.uploader(
        file,
        chunk_size=int(patch_bytes) or sys.maxsize,
        metadata={"filename": Path(file).name, "filetype": "image/x-test"},
        retries=200,
        retry_delay=0,
        store_url=True,
        url_storage=urls,
    )
    uploader.upload()
    urls.close()  # type: ignore[no-untyped-call]
    print(uploader.url)


if __name__ == "__main__":
    main(*sys.argv[1:])
