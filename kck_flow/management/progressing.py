"""How far long work has come, on stderr: one line redrawn on a terminal, else a line for each tenth.

What is over in a second says one line, at its end.
"""

from __future__ import annotations

import shutil
import threading
import time
from types import TracebackType
from typing import IO, Any

from . import words

BAR = 16
REDRAW_SECONDS = 0.1
QUIET_SECONDS = 1.0  # away from a terminal, where no line is taken back


class Progress:
    """A progress line; a context, so that the line is ended whatever happens. Threads may step together.

    Args:
        out: Where to, or None to say nothing.
        total: How many steps there will be; None where nobody knows.
        unit: What is counted, for people.
    """

    def __init__(self, out: IO[str] | Any | None, total: int | None, unit: str = "") -> None:
        self.out, self.total, self.unit = out, total, unit
        self.done = 0
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._tenth = 0
        self._wide = 0
        self._lock = threading.Lock()
        self._tty = bool(out is not None and out.isatty())

    def step(self, note: str = "", by: int = 1) -> None:
        """Say that ``by`` more are done; ``note`` is what was done last."""
        with self._lock:
            self.done += by
            if self.out is None:
                return
            if self._tty:
                now = time.monotonic()
                if now - self._drawn >= REDRAW_SECONDS or self.done == self.total:
                    self._drawn = now
                    self._draw(note)
            else:
                tenth = self.done * 10 // self.total if self.total else self.done // 10_000
                if tenth > self._tenth and (self.done == self.total or self.seconds >= QUIET_SECONDS):
                    self._tenth = tenth
                    share = f" ({self.done * 100 // self.total} %)" if self.total else ""
                    self._write(f"{self._count()}{share}, {words.span(self.seconds)}\n")

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._begun

    def _count(self) -> str:
        of = f"/{self.total:,}" if self.total is not None else ""
        return f"{self.done:,}{of} {self.unit}".rstrip()

    def _draw(self, note: str) -> None:
        bar = ""
        left = ""
        if self.total:
            filled = min(self.done * BAR // self.total, BAR)
            bar = f"[{'#' * filled}{'-' * (BAR - filled)}] "
            if 0 < self.done < self.total:
                left = f"   ~{words.span(self.seconds / self.done * (self.total - self.done))} left"
        line = f" {bar}{self._count()}   {words.printable(note)}"
        width = shutil.get_terminal_size().columns - 1
        line = words.clipped(line, max(width - len(left), 10)) + left
        self._write(f"\r{line}{' ' * max(self._wide - len(line), 0)}")
        self._wide = len(line)

    def clear(self) -> None:
        """Take the line away, so that something else may be said."""
        with self._lock:
            if self._tty and self._wide:
                self._write(f"\r{' ' * self._wide}\r")
                self._wide = 0

    def _write(self, text: str) -> None:
        assert self.out is not None
        # Django's wrapper would end each write with a new line.
        raw = getattr(self.out, "_out", self.out)
        raw.write(text)
        raw.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
