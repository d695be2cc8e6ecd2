"""The parent that keeps a worker's children alive.

It forks before anything is connected and computes nothing itself: a product that ends its process ends a child,
whose place is taken at once. A child is a worker of its own: its claims, its beats, its lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType

from django.db import connections

from ..registry import registry
from ..store import private
from . import told
from .worker import Options, Worker

logger = logging.getLogger("kck_flow")

# A child's exit codes: it ended on purpose, begin another.
RECYCLED, RECYCLED_SOME_FAILED = 82, 83
STILLBORN_SECONDS = 2.0
KILL_SECONDS = 5.0
TOLD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}


def run_worker(options: Options) -> int:
    """Be ``kck worker``; returns the exit code: 0 done, 3 when ``once`` saw refreshes fail, 130 when hurried."""
    replaced = options.max_refreshes or options.max_rss or options.max_age
    several = options.executor == "process" and options.concurrency > 1
    if options.executor == "inline" or (options.once and not replaced and not several):
        worker = Worker(options)
        told.heed(worker)
        worker.serve()
        return 130 if worker.hurry.is_set() else 3 if options.once and worker.hand.failed else 0
    return Parent(options).serve()


class Parent:
    """Keeps ``concurrency`` children alive (one, where it is of threads); computes nothing and holds no connection.

    With ``once`` each child ends when it finds nothing more, and is replaced only where it had done its share.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.count = options.concurrency if options.executor == "process" else 1
        self.children: dict[int, float] = {}
        self._ended: list[int] = []
        self._some_failed = False
        self.stopping = False
        self.hurried = False
        self._failures = 0
        self._begin_at = 0.0
        self._kill_at = 0.0
        self._files: dict[str, float] = {}

    def serve(self) -> int:
        """Fork, wait, fork again; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        signal.signal(signal.SIGHUP, self._recycle)
        signal.signal(signal.SIGUSR1, self._pass_on)
        logger.info("worker.started pid=%d children=%d", os.getpid(), self.count)
        connections.close_all()
        private.close_all()
        if self.options.reload:
            self._edited()  # before the first child: what is saved from its first breath on is an edit
        while True:
            if time.monotonic() >= self._begin_at:
                while len(self.children) < self._places() and not self.stopping:
                    self._fork()
            if not self.children and (self.stopping or not self._places()):
                logger.info("worker.stopped pid=%d", os.getpid())
                return 130 if self.hurried else self._code()
            self._collect()
            if self.stopping and time.monotonic() > self._kill_at:
                self._pass_on(signal.SIGKILL, None)  # held up where no signal reaches it: its lease will end
            if self.options.reload and not self.stopping and self._edited():
                logger.info("worker.reloading")
                self._restart()

    def _places(self) -> int:
        """Return how many children there should be."""
        return self.count - (len(self._ended) if self.options.once else 0)

    def _code(self) -> int:
        if not self.options.once or not self._some_failed:
            return 0
        return 3 if {0, 3} & set(self._ended) else 1

    def _fork(self) -> None:
        # Held back until the child has its own handlers, and we know of the child: told in between, it would not stop.
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = self._child()
            except BaseException:
                traceback.print_exc()
            finally:
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        self.children[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)

    def _child(self) -> int:
        options = self.options
        if options.executor == "process":
            # With once, who finds nothing left to claim ends: one must not hold what another could do.
            claim = 1 if options.once and self.count > 1 else options.claim
            options = replace(options, concurrency=1, claim=claim)
        worker = Worker(options)
        told.heed(worker, child=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        parent = os.getppid()

        def orphaned() -> None:
            # A parent killed with -9 says nothing: without it nobody would stop this child.
            while os.getppid() == parent:
                time.sleep(0.5)
            told.tell(worker, "orphaned")

        threading.Thread(target=orphaned, name="kck-parent", daemon=True).start()
        worker.serve()
        spent = worker.spent()
        if options.once and worker.hand.failed:
            return RECYCLED_SOME_FAILED if spent else 3
        return RECYCLED if spent else 0

    def _collect(self) -> None:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid, status = 0, 0
        if pid == 0:
            time.sleep(0.05)
            return
        begun = self.children.pop(pid, 0.0)
        code = os.waitstatus_to_exitcode(status)
        self._some_failed = self._some_failed or code not in (0, RECYCLED)
        if self.options.once and code not in (RECYCLED, RECYCLED_SOME_FAILED):
            self._ended.append(code)
        if self.stopping:
            return
        if code in (0, RECYCLED, RECYCLED_SOME_FAILED) or (self.options.once and code == 3):
            self._failures = 0
            return
        lived = time.monotonic() - begun
        self._failures = self._failures + 1 if lived < STILLBORN_SECONDS else 0
        pause = min(0.1 * 2 ** (self._failures - 1), 10.0) if self._failures > 1 else 0.0
        self._begin_at = time.monotonic() + pause
        logger.error("worker.child_ended pid=%d code=%d lived_s=%.1f next_in_s=%.1f", pid, code, lived, pause)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.hurried = self.stopping
        if not self.stopping:
            self._kill_at = time.monotonic() + self.options.grace + KILL_SECONDS
        self.stopping = True
        self._pass_on(signal.SIGQUIT if self.hurried else signal.SIGTERM, frame)

    def _recycle(self, number: int, frame: FrameType | None) -> None:
        self._pass_on(signal.SIGHUP, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for pid in list(self.children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _edited(self) -> bool:
        now: dict[str, float] = {}
        names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        # One that cannot be imported is no module, and about to be mended.
        names += [broken.where().rpartition(":")[0] for broken in registry.broken]
        for name in names:
            if name and "site-packages" not in name and name.endswith(".py"):
                with contextlib.suppress(OSError):
                    now[name] = os.stat(name).st_mtime
        before, self._files = self._files, now
        edited = [name for name, at in now.items() if before and before.get(name, at) != at]
        for name in edited:
            try:
                compile(Path(name).read_bytes(), name, "exec")
            except (SyntaxError, ValueError, OSError) as error:
                # Saved in the middle of a thought: with it, there would be nobody to notice the next edit.
                logger.error("worker.not_reloaded error=%s", error)
                return False
        return bool(edited)

    def _restart(self) -> None:
        # A forked child would have the old code: the whole command begins anew.
        self._pass_on(signal.SIGTERM, None)
        while self.children:
            self._collect_quietly()
        if self.stopping:
            return  # told so meanwhile
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _collect_quietly(self) -> None:
        with contextlib.suppress(ChildProcessError):
            pid, _ = os.waitpid(-1, 0)
            self.children.pop(pid, None)
            return
        self.children.clear()
