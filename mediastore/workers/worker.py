"""`python -m mediastore.workers.worker FD`: one of several processes behind a port.

It serves as a process alone does, on a port that it shares. It ends when it is told to, and when
its supervisor ends: nobody would be left to stop it.
"""

import asyncio
import os
import signal
import socket
import sys

from mediastore.clock import SystemClock
from mediastore.errors import MediastoreError
from mediastore.serving import Listening, run, serve
from mediastore.telemetry.logs import configure_logs
from mediastore.telemetry.metrics import Metrics
from mediastore.workers.channel import Channel, ChannelClosed
from mediastore.workers.handing import settings_of
from mediastore.workers.merging import snapshot


async def work(descriptor: int) -> None:
    """Serve until told to stop. What ends the start is told over the channel."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    channel = Channel(reader, writer)
    settings = settings_of(await channel.receive())
    configure_logs(settings.log)
    metrics = Metrics.create()
    answering: asyncio.Task[None] | None = None

    def listening(at: Listening) -> None:
        nonlocal answering
        answering = asyncio.create_task(_answer(channel, metrics, at.url))

    try:
        await serve(
            settings, SystemClock(), on_listening=listening, metrics=metrics, shared_port=True
        )
    except MediastoreError as error:
        await channel.send({"failed": error.code, "detail": error.detail})
        raise
    finally:
        if answering is not None:
            answering.cancel()
        channel.close()


async def _answer(channel: Channel, metrics: Metrics, url: str) -> None:
    try:
        await channel.send({"listening": url})
        while True:
            await channel.receive()
            await channel.send({"metrics": snapshot(metrics.registry)})
    except ChannelClosed:
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    try:
        code = run(work(int(sys.argv[1])))
    except MediastoreError as error:
        code = error.exit_code
    except ChannelClosed:  # before it had its settings
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
