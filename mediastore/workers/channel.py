"""What a worker and its supervisor say to each other over a pair of sockets.

A message is JSON with its length before it. The supervisor begins with the settings; the worker
answers with `listening` or `failed`, and from then on with its metrics whenever it is asked. Either
one ends with the other: a closed channel is a process that has died.
"""

import asyncio
import json
import struct
from typing import Any, Final

_LENGTH: Final = struct.Struct(">I")
MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024


class ChannelClosed(Exception):
    """The other process has ended, or does not speak as it should."""


class Channel:
    """One end. One task reads, and one writes at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, message: dict[str, Any]) -> None:
        """Raises ChannelClosed."""
        text = json.dumps(message).encode()
        try:
            self._writer.write(_LENGTH.pack(len(text)) + text)
            await self._writer.drain()
        except OSError:
            raise ChannelClosed from None

    async def receive(self) -> dict[str, Any]:
        """Raises ChannelClosed."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MESSAGE_MAX_BYTES:
                raise ChannelClosed
            message = json.loads(await self._reader.readexactly(length))
        except (OSError, ValueError, asyncio.IncompleteReadError):
            raise ChannelClosed from None
        if not isinstance(message, dict):
            raise ChannelClosed
        return message

    def close(self) -> None:
        self._writer.close()
