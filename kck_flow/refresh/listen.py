"""A worker's ears: LISTEN on a connection of its own, and the lock that says it lives.

NOTIFY is a hint; behind a pooler it never arrives, and a self-test at the start finds that out. Then the
worker polls, says so, and relies on short leases alone: its session lock would mean nothing there.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import time
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import Error as DatabaseErrors
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..store import refreshes, workers
from ..store.session import Session
from ..store.watch import answering

logger = logging.getLogger("kck_flow")

SELF_TEST_SECONDS = 1.0
SILENT_SECONDS = 10.0  # none of what is asked here takes the server more than a moment


class Ears:
    """One listening connection.

    Attributes:
        mode: ``listen``, or ``poll`` where the self-test heard nothing.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.mode = "poll"
        self._connection: BaseDatabaseWrapper | None = None

    def open(self) -> str:
        """Connect, listen, and hear oneself; returns the mode."""
        self.close()
        connection = connections[self.alias].copy(alias=f"{self.alias}:kck-listen")
        options = dict(connection.settings_dict.get("OPTIONS") or {})
        options.pop("pool", None)
        for name, value in {
            "connect_timeout": 3,
            "tcp_user_timeout": 15000,
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
        }.items():
            options.setdefault(name, value)
        connection.settings_dict = {
            **connection.settings_dict,
            "OPTIONS": options,
            "AUTOCOMMIT": True,
            "CONN_MAX_AGE": None,
        }
        connection.inc_thread_sharing()
        connection.ensure_connection()
        self._connection = connection
        pooled = self._run("SELECT pg_backend_pid()")[0][0] != connection.connection.info.backend_pid
        token = f"kck_{uuid.uuid4().hex[:16]}"
        try:
            self._run(f"LISTEN {token}")
            self._run(f"NOTIFY {token}")
            heard = not pooled and self._wait_for(token)
            self._run(f"UNLISTEN {token}")
            if heard:
                # It may say nothing for as long as a refresh takes: its lock must not go meanwhile.
                self._run("SET idle_session_timeout = 0")
                self._run(f"LISTEN {refreshes.CHANNEL}")
                self.mode = "listen"
                return self.mode
        except DatabaseErrors:
            if not connection.is_usable():
                raise  # not a server without LISTEN, but none at all
        self.mode = "poll"
        self.close()
        return self.mode

    def close(self) -> None:
        """Listen no longer; the liveness lock goes with the connection."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None

    def say_alive(self, number: int) -> None:
        """Take the lock that says that worker ``number`` lives."""
        if self._connection is not None:
            self._run("SELECT pg_advisory_lock(%s, %s)", [workers.LOCK_CLASS, number])

    def reap_turn(self) -> bool:
        """Whether it is this worker's turn to look for the dead: one try-lock, so that only one does."""
        if self._connection is None:
            return False
        asked = self._run("SELECT pg_try_advisory_lock(%s, %s)", [workers.LOCK_CLASS, workers.REAPER])
        return bool(asked[0][0])

    def reap_done(self) -> None:
        """End the turn."""
        if self._connection is not None:
            self._run("SELECT pg_advisory_unlock(%s, %s)", [workers.LOCK_CLASS, workers.REAPER])

    def _run(self, text: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        with answering(self._connection.connection, SILENT_SECONDS):
            return Session(self._connection).run(text, params)

    def wait(self, seconds: float, wake_fd: int | None = None) -> bool:
        """Wait until woken, at most so long; returns whether something was heard.

        ``wake_fd`` becomes readable when the process is told to stop. Raises OSError or a database error when
        the connection is gone.
        """
        if seconds <= 0:
            return self._heard()
        if self._connection is None:
            if wake_fd is None:
                time.sleep(min(seconds, 0.5))
            else:
                select.select([wake_fd], [], [], seconds)
            return False
        if self._heard():
            return True
        watched = [self._connection.connection.fileno(), *([wake_fd] if wake_fd is not None else [])]
        readable, _, _ = select.select(watched, [], [], seconds)
        return self._heard() if watched[0] in readable else False

    def _heard(self) -> bool:
        """Take what has arrived. Both drivers put it on the connection."""
        if self._connection is None:
            return False
        raw = self._connection.connection
        if hasattr(raw, "poll"):  # psycopg2
            raw.poll()
            heard, raw.notifies[:] = bool(raw.notifies), []
            return heard
        return any(True for _ in raw.notifies(timeout=0))  # psycopg 3

    def _wait_for(self, channel: str) -> bool:
        assert self._connection is not None
        raw = self._connection.connection
        deadline = time.monotonic() + SELF_TEST_SECONDS
        while time.monotonic() < deadline:
            if hasattr(raw, "poll"):
                raw.poll()
                names = [one.channel for one in raw.notifies]
                raw.notifies[:] = []
            else:
                names = [one.channel for one in raw.notifies(timeout=0.05)]
            if channel in names:
                return True
            select.select([raw.fileno()], [], [], 0.05)
        return False


def jittered(seconds: float) -> float:
    """Return a pause spread by a quarter either way: workers begun together do not stay in step."""
    return seconds * random.uniform(0.75, 1.25)
