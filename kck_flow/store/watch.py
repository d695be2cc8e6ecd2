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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK_SECONDS = 0.5
IDLE_SECONDS = 10.0


class _Watch:
    def __init__(self) -> None:
        self.waiting: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def awake(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="kck-watch", daemon=True)
                self._thread.start()

    @property
    def is_awake(self) -> bool:
        return self._thread is not None

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
                    self._thread = None
                    if not self.waiting:
                        return
                    self._thread = threading.current_thread()  # somebody came in between, and saw us awake


def _cut(raw: Any) -> None:
    """End a driver connection's socket, and with it whoever waits for it; the driver closes its own end."""
    with suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


_watches: dict[int, _Watch] = {}


@contextmanager
def answering(raw: Any, seconds: float) -> Iterator[None]:
    """Give a driver connection so long to answer within the block; the driver raises when it has not."""
    watch = _watches.get(os.getpid())
    if watch is None:
        watch = _watches.setdefault(os.getpid(), _Watch())
    number = id(raw)
    watch.waiting[number] = (time.monotonic() + seconds, raw)
    if not watch.is_awake:
        watch.awake()
    try:
        yield
    finally:
        watch.waiting.pop(number, None)
