"""A server that answers no more, and nobody says so: its socket is closed under the statement that waits for it.

Where packets vanish while something in between still acknowledges them (a proxy, a pooler, a frozen machine), TCP
notices nothing. The server's own ``statement_timeout`` ends a statement that it works on; one thread of this process
ends the wait for an answer that should have come long before.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

LOOK_SECONDS = 0.5
IDLE_SECONDS = 10.0


class _Watch:
    def __init__(self) -> None:
        self.waiting: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def awake(self) -> None:
        with self._lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._loop, name="kck-watch", daemon=True)
                self.thread.start()

    def _loop(self) -> None:
        busy_at = time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for number, (deadline, raw) in list(self.waiting.items()):
                busy_at = now
                if deadline < now and self.waiting.pop(number, None) is not None:
                    _cut(raw)
            with self._lock:
                if now - busy_at > IDLE_SECONDS and not self.waiting:
                    self.thread = None
                    if not self.waiting:
                        return
                    self.thread = threading.current_thread()  # somebody came in between, and saw us awake


def _cut(raw: Any) -> None:
    """End a driver connection's socket, and with it whoever waits for it; the driver closes its own end."""
    with suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


_watches: dict[int, _Watch] = {}


class answering:  # noqa: N801  # read as a word: with answering(connection, 5.0)
    """Give a driver connection so many seconds to answer within the block; the driver raises when it has not."""

    __slots__ = ("_raw", "_seconds", "_watch")

    def __init__(self, raw: Any, seconds: float) -> None:
        self._raw, self._seconds = raw, seconds

    def __enter__(self) -> None:
        watch = _watches.get(os.getpid())
        if watch is None:
            watch = _watches.setdefault(os.getpid(), _Watch())
        self._watch = watch
        watch.waiting[id(self._raw)] = (time.monotonic() + self._seconds, self._raw)
        if watch.thread is None:
            watch.awake()

    def __exit__(self, *_error: object) -> None:
        self._watch.waiting.pop(id(self._raw), None)
