"""A chunk store that fails as a test scripts it: before or after the work, slowly, or in part.

    store = FaultyStore(MemoryChunkStore())
    store.script("put", Fault(before=ChunkStoreUnavailable()), None)  # first fails, second passes
    store.script("put", Fault(after=ChunkStoreUnavailable()))         # done, but the answer is lost
    store.always("get", Fault(before=ChunkStoreUnavailable()))        # down until store.heal()
    slow = Fault(gate=asyncio.Event()); store.script("put", slow)     # await slow.reached.wait(); …
    slow.gate.set()
    store.script("delete_many", Fault(undeleted=frozenset({key})))    # kept, with an error

    store.script_key("put", "chunks/ab", slow)                        # the next call with that key

Scripted faults are taken one a call, a key's first, the others in order; then the constant one;
then calls pass through.
A page of a listing counts as one call of `list`. `calls` has the operation and key of every call.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mediastore.chunkstore.protocol import ChunkStore, DeleteResult, Entry, Versioned

T = TypeVar("T")


@dataclass(eq=False)
class Fault:
    """What happens to one call. `gate` is waited for first; `reached` is set when it is."""

    before: Exception | None = None
    after: Exception | None = None
    gate: asyncio.Event | None = None
    undeleted: frozenset[str] = frozenset()
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class FaultyStore:
    """Wraps any store; without a script it changes nothing."""

    def __init__(self, store: ChunkStore) -> None:
        self.store = store
        self.calls: list[tuple[str, str]] = []
        self._scripts: defaultdict[str, deque[Fault | None]] = defaultdict(deque)
        self._keys: dict[tuple[str, str], Fault] = {}
        self._constant: dict[str, Fault] = {}

    def script(self, operation: str, *faults: Fault | None) -> None:
        """The next calls of `operation`, one fault each; None passes."""
        self._require(operation)
        self._scripts[operation].extend(faults)

    def script_key(self, operation: str, prefix: str, fault: Fault) -> None:
        """The next call of `operation` with a key that begins so."""
        self._require(operation)
        self._keys[operation, prefix] = fault

    def always(self, operation: str, fault: Fault) -> None:
        """Every call of `operation` that no script takes, until `heal`."""
        self._require(operation)
        self._constant[operation] = fault

    def heal(self) -> None:
        """No more faults of either kind."""
        self._scripts.clear()
        self._keys.clear()
        self._constant.clear()

    def count(self, operation: str) -> int:
        """Calls of `operation` so far."""
        return sum(name == operation for name, _ in self.calls)

    async def put(self, key: str, body: bytes | memoryview, *, crc32: int) -> None:
        await self._faulty("put", key, lambda: self.store.put(key, body, crc32=crc32))

    async def put_if(self, key: str, body: bytes, *, version: str | None) -> str:
        return await self._faulty(
            "put_if", key, lambda: self.store.put_if(key, body, version=version)
        )

    async def get(self, key: str) -> bytes:
        return await self._faulty("get", key, lambda: self.store.get(key))

    async def get_versioned(self, key: str) -> Versioned:
        return await self._faulty("get_versioned", key, lambda: self.store.get_versioned(key))

    async def head(self, key: str) -> Entry:
        return await self._faulty("head", key, lambda: self.store.head(key))

    async def delete_many(self, keys: Sequence[str]) -> list[DeleteResult]:
        fault = self._next("delete_many", " ".join(keys))
        kept = fault.undeleted if fault else frozenset()
        sent = [key for key in keys if key not in kept]
        done = await self._run(fault, lambda: self.store.delete_many(sent))
        fates = {fate.key: fate for fate in done}
        return [fates.get(key, DeleteResult(key, "scripted")) for key in keys]

    async def list(self, *, prefix: str = "", after: str = "") -> AsyncIterator[list[Entry]]:
        pages = aiter(self.store.list(prefix=prefix, after=after))
        while True:
            page = await self._faulty("list", after, lambda: anext(pages, None))
            if page is None:
                return
            yield page
            after = page[-1].key

    async def check(self) -> None:
        await self._faulty("check", "", self.store.check)

    async def close(self) -> None:
        await self.store.close()

    async def _faulty(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._run(self._next(operation, key), call)

    async def _run(self, fault: Fault | None, call: Callable[[], Awaitable[T]]) -> T:
        if fault is None:
            return await call()
        if fault.gate is not None:
            fault.reached.set()
            await fault.gate.wait()
        if fault.before is not None:
            raise fault.before
        result = await call()
        if fault.after is not None:
            raise fault.after
        return result

    def _next(self, operation: str, key: str) -> Fault | None:
        self.calls.append((operation, key))
        for scripted, prefix in self._keys:
            if scripted == operation and key.startswith(prefix):
                return self._keys.pop((scripted, prefix))
        script = self._scripts[operation]
        return script.popleft() if script else self._constant.get(operation)

    def _require(self, operation: str) -> None:
        if not hasattr(ChunkStore, operation):
            raise ValueError(f"a chunk store has no {operation}")
