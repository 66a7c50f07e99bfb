"""The peer: libvips through pyvips, as a function and behind HTTP.

`python -m bench.images.vips FOLDER PORT` answers `GET /NAME/WIDTH.EXTENSION` with what is in
`FOLDER/NAME`, which it holds in memory: it keeps no result, and asks nobody whether it may.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import web

os.environ["VIPS_CONCURRENCY"] = "1"  # a picture is one core's here and there
import pyvips  # reads that once, when it is loaded

THREADS: Final = 2
# As mediastore encodes; libvips' effort is 9 minus libaom's speed, and Pillow filters PNGs.
SAVED: Final = {
    "jpg": ".jpg[Q=80,optimize_coding=true,keep=none]",
    "webp": ".webp[Q=78,effort=4,keep=none]",
    "avif": ".avif[Q=60,effort=1,keep=none]",
    "png": ".png[compression=6,filter=all,keep=none]",
}


def thumbnail(data: bytes, width: int, extension: str) -> bytes:
    """A picture as wide as that, upright, without metadata; the photos here have no profile."""
    picture: Any = pyvips.Image.thumbnail_buffer(data, width, height=100_000, size="down")
    return bytes(picture.write_to_buffer(SAVED[extension]))


async def serve(folder: Path, port: int) -> None:
    pyvips.cache_set_max(0)
    sources = {file.name: file.read_bytes() for file in folder.iterdir()}
    threads = ThreadPoolExecutor(THREADS)

    async def handle(request: web.Request) -> web.Response:
        width, _, extension = request.match_info["wanted"].partition(".")
        made = await asyncio.get_running_loop().run_in_executor(
            threads, thumbnail, sources[request.match_info["name"]], int(width), extension
        )
        return web.Response(body=made, content_type=f"image/{extension}")

    app = web.Application()
    app.router.add_get("/{name}/{wanted}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
