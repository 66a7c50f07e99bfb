"""A TCP proxy on loopback whose connections break when the test says so: a bad network."""

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 16 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class BreakingProxy:
    """Passes bytes on to `target`. While `allowance_bytes` is set, a connection is reset after that
    many bytes from its client; the next connection has the whole allowance again. While
    `stall_bytes` is set, a connection passes nothing more after that many; `stalled` tells.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.allowance_bytes: int | None = None
        self.stall_bytes: int | None = None
        self.stalled = threading.Event()
        self._closing = threading.Event()
        self.resets = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def reset_all(self) -> None:
        """Break every connection now."""
        with self._lock:
            broken = list(self._open)
            self.resets += len(broken) // 2
        for opened in broken:
            _reset(opened)

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset_all()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                _reset(client)
                continue
            with self._lock:
                self._open |= {client, server}
            if self._closing.is_set():  # maybe after all others were reset
                self.reset_all()
                return
            self._start(self._pass_on, client, server, True)
            self._start(self._pass_on, server, client, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        passed = 0
        try:
            while piece := source.recv(PIECE_BYTES):
                passed += len(piece)
                if counted and self.allowance_bytes is not None and passed > self.allowance_bytes:
                    self.resets += 1
                    break
                if counted and self.stall_bytes is not None and passed > self.stall_bytes:
                    self.stalled.set()
                    self._closing.wait()
                    break
                sink.sendall(piece)
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        for opened in (source, sink):
            _reset(opened)
            with self._lock:
                self._open.discard(opened)


def _reset(opened: socket.socket) -> None:
    """Close so that the peer sees a reset, and wake whoever waits on it here."""
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        opened.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        opened.close()
