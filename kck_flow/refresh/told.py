"""What a worker is told by signals: end within the grace, or at once, or make room, or show what runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType

from .. import clock
from ..store import private, workers
from .worker import Worker

logger = logging.getLogger("kck_flow")

# A claim takes milliseconds. Who left in the middle of one would leave leases that nobody knows of.
CLAIM_SECONDS = 3.0


def heed(worker: Worker, *, child: bool = False) -> None:
    """First SIGTERM or SIGINT: end within the grace. Second: at once. SIGUSR1: show what runs. SIGHUP: end for
    another to take its place; where none will, as SIGTERM.

    A child of ``Parent`` is told by it, and told SIGQUIT for "at once": a terminal or a service manager signals
    all processes of a group, and two SIGTERMs, from there and from the parent, are one wish.
    """

    def told(number: int, frame: FrameType | None) -> None:
        hurry = number == signal.SIGQUIT or (worker.told and not child)
        tell(worker, signal.Signals(number).name, hurry=hurry)

    def show(number: int, frame: FrameType | None) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        lines = [f"worker pid {os.getpid()}\n"]
        for _alias, claim in list(worker.hand.running.values()):
            lines.append(f"running {claim.key} for {clock.now().timestamp() - claim.started:.1f} s\n")
        for ident, stack in sys._current_frames().items():
            stack = frame if ident == threading.main_thread().ident and frame is not None else stack
            lines += [f"thread {names.get(ident, ident)}\n", *traceback.format_stack(stack)]
        sys.stderr.write("".join(lines))  # at once: its neighbours write, too
        sys.stderr.flush()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, signal.SIG_IGN if child else told)
    if child:
        signal.signal(signal.SIGQUIT, told)
        signal.signal(signal.SIGHUP, lambda number, frame: worker.stop())
    else:
        signal.signal(signal.SIGHUP, told)
    signal.signal(signal.SIGUSR1, show)


def tell(worker: Worker, why: str, *, hurry: bool = False) -> None:
    """Have a worker end within its grace, or at once. Called from a signal's handler, or a thread."""
    again, worker.told = worker.told, True
    worker.stop(hurry=hurry)  # first of all: the next signal may come before the next line
    if hurry:
        # In a thread: what this one was doing may hold the locks that releasing needs.
        threading.Thread(target=_leave_at_once, args=(worker, 130), daemon=True).start()
    elif not again:
        threading.Thread(target=_end_of_grace, args=(worker, why), daemon=True).start()


def _end_of_grace(worker: Worker, name: str) -> None:
    """A refresh that runs in the main thread keeps it from ending the grace itself."""
    logger.info("worker.stopping signal=%s grace_s=%g", name, worker.options.grace)
    if worker.hand.threaded:
        return
    deadline = time.monotonic() + worker.options.grace
    while worker.hand.running and time.monotonic() < deadline and not worker.hurry.is_set():
        time.sleep(0.02)
    if worker.hand.running and not worker.hurry.is_set():
        _leave_at_once(worker, 0)


def _leave_at_once(worker: Worker, code: int) -> None:
    """Release what runs and end the process: the thread that computes cannot be stopped otherwise."""
    for alias, claim in worker.hand.held(wait=CLAIM_SECONDS):
        logger.info("refresh.released key=%s", claim.key)
        worker.hand.release(alias, claim)
    for alias, number in worker.numbers.items():
        with contextlib.suppress(Exception), private.session(alias, timeout=0.5) as session:
            workers.leave(session, number)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
