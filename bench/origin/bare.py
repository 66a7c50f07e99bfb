"""The bare handler: aiohttp on uvloop returning bytes from memory; no log, no metrics."""

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web


async def serve(folder: Path, port: int) -> None:
    """`GET /NAME` answers with the bytes of `folder/NAME`, all of them read at the start."""
    app = web.Application()
    for file in folder.iterdir():
        app.router.add_get(f"/{file.name}", _handler(file.read_bytes()))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def _handler(body: bytes):  # type: ignore[no-untyped-def]
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="image/jpeg")

    return handle


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
