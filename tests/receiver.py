"""The app as hooks and webhooks meet it: a server that keeps what it gets and answers as told."""

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Message:
    """One request, with its signature as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    def signed_with(self, secret: str) -> bool:
        """As docs/hooks.md tells receivers to check it."""
        key = b64decode(secret.removeprefix("whsec_"))
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        expected = hmac.new(key, content + self.body, "sha256").digest()
        return f"v1,{b64encode(expected).decode()}" in self.headers["webhook-signature"].split(" ")


@dataclass(slots=True)
class Receiver:
    """`answer` may be replaced; `gate`, when given, holds every answer back until it is set."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    answer: Answering | None = None
    gate: asyncio.Event | None = None
    held: int = 0
    held_max: int = 0

    def says(self, status: int, document: object = None, **headers: str) -> None:
        async def answer(_request: web.Request) -> web.Response:
            body = b"" if document is None else json.dumps(document).encode()
            return web.Response(status=status, body=body, headers=headers)

        self.answer = answer

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.messages.append(Message(headers, body))
        self.held += 1
        self.held_max = max(self.held_max, self.held)
        try:
            if self.gate is not None:
                await self.gate.wait()
            return web.Response() if self.answer is None else await self.answer(request)
        finally:
            self.held -= 1


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
