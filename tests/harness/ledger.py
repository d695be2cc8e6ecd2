"""Counting across processes: each event is one line appended to a file, which no process loses to another."""

from __future__ import annotations

import os
from pathlib import Path


def note(path: str | Path, text: str = "") -> None:
    """Append a line. One small write to a file opened for appending is atomic, whoever else writes."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def notes(path: str | Path) -> list[str]:
    """Return the lines, oldest first; none when nobody has written any."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
