"""Where a verb speaks: data to stdout, everything about the work to stderr, both in what the terminal can show."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from . import tables, words
from .progressing import Progress
from .tables import Column, Row

DONE, FAILED, USAGE, PARTLY = 0, 1, 2, 3


class Console:
    """What a verb is given to speak with.

    Args:
        stdout, stderr, style: Those of the command.
        verbosity: 0 says nothing but data and errors.
        interactive: Whether questions may be asked.
    """

    def __init__(
        self, stdout: Any, stderr: Any, style: Any, *, verbosity: int = 1, interactive: bool = True
    ) -> None:
        self.stdout, self.stderr, self.style = stdout, stderr, style
        self.verbosity, self.interactive = verbosity, interactive
        self._raw = getattr(stdout, "_out", stdout)
        for stream in (stdout, stderr):
            _never_fail(stream)

    def write(self, text: str = "", style: Any = None) -> None:
        """Write a line of data."""
        self.stdout.write(text if is_utf8(self.stdout) else words.ascii_only(text), style)

    def note(self, text: str, style: Any = None, *, level: int = 1) -> None:
        """Say something about the work, from verbosity ``level`` on."""
        if self.verbosity >= level:
            self.stderr.write(text if is_utf8(self.stderr) else words.ascii_only(text), style)

    @property
    def width(self) -> int:
        """Cells of a line: as many as the terminal has; 120 where stdout is none."""
        return shutil.get_terminal_size().columns if self.stdout.isatty() else 120

    def progress(self, total: int | None, unit: str = "") -> Progress:
        """Return a progress line; silent at verbosity 0."""
        return Progress(self.stderr if self.verbosity else None, total, unit)

    def listing(
        self,
        format: str,
        columns: Sequence[Column],
        rows: Iterable[Row],
        *,
        names: Sequence[str],
        footer: str = "",
        empty: str = "",
    ) -> None:
        """Write rows in the format asked for.

        Args:
            names: The names of a row, in their order: the header of the CSV.
            footer: A sentence below the table; programs get it on stderr.
            empty: What people are told where there is no row.
        """
        if format == "json":
            tables.write_json(self._raw, rows)
        elif format == "csv":
            tables.write_csv(self._raw, names, rows)
        else:
            found = list(rows)
            if found:
                width = shutil.get_terminal_size().columns if self.stdout.isatty() else None
                for number, line in enumerate(tables.lines(columns, found, width=width)):
                    self.write(line, self.style.MIGRATE_HEADING if not number else None)
            elif empty:
                self.write(empty)
            if found and footer:
                self.write(footer)
            return
        if footer:
            self.note(footer)

    def raw(self, text: str) -> None:
        """Write text as it is, without a line's end of our own."""
        self._raw.write(text)

    def confirm(self, question: str) -> bool:
        """Ask before something that cannot be taken back; yes where nobody can be asked."""
        if not self.interactive or not sys.stdin or not sys.stdin.isatty():
            return True
        self.stderr.write(f"{question} [y/N] ", ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def is_utf8(stream: Any) -> bool:
    """Whether a stream can show every character; one without an encoding (a test's) can."""
    encoding = getattr(stream, "encoding", None)
    return not encoding or "utf" in encoding.lower().replace("-", "")


def _never_fail(stream: Any) -> None:
    # A key in Greek on an ASCII terminal is escaped, not a traceback.
    if not is_utf8(stream) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
