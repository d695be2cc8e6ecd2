"""What is cached: a product of about one kilobyte; and the computes, which count themselves in a file."""

from __future__ import annotations

import os
import time
from typing import Any

COLD_SECONDS = 0.2
"""How long the compute of a cold product takes (S5)."""
FRESH_SECONDS = 1
"""How long the product of S6 is fresh; a whole number, as some caches take no other."""
REFRESH_SECONDS = 1.0
"""How long its refresh takes."""

WORDS = ["river", "lake", "source", "sink", "level", "inflow", "outflow", "delta", "basin", "ford", "weir"]
WORDS += ["mouth", "bank", "current", "spring"]


SHAPES = ("a record", "a text")


def product(number: int, shape: str = "a record") -> dict[str, Any]:
    """Return a product whose JSON is about one kilobyte.

    Args:
        number: which one.
        shape: "a record" has figures, a short series and a paragraph of text; "a text" is nearly all one
            string, which every codec copies fast.
    """
    if shape == "a text":
        return {"id": number, "html": " ".join(WORDS[(number + i * 7) % len(WORDS)] for i in range(165))}
    return {
        "id": number,
        "name": f"Station {number}",
        "country": "FR",
        "active": True,
        "level": 12.5 + number % 7,
        "change": -0.25,
        "readings": [number % 11, 14, 15, 15, 16, 18, 17, 16, 15, 14, 12, 11],
        "updated": "2026-01-31T06:00:00+00:00",
        "tags": ["measured", "daily", "public"],
        "owner": {"id": 7, "name": "Water board", "email": "board@example.org"},
        "note": " ".join(WORDS[(number + i * 7) % len(WORDS)] for i in range(105)),
    }


def note_line(path: str, text: str) -> None:
    """Append one line to a file in one write, which no other process can split."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, (text + "\n").encode())
    finally:
        os.close(file)


def lines_of(path: str) -> list[str]:
    """Return the whole lines that a file holds by now; none if it does not exist yet."""
    try:
        with open(path) as file:
            return [line[:-1] for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


def cold_compute(log: str, key: str) -> dict[str, Any]:
    """Compute the product of S5."""
    return _compute(log, key, COLD_SECONDS)


def stale_compute(log: str, key: str) -> dict[str, Any]:
    """Compute the product of S6."""
    return _compute(log, key, REFRESH_SECONDS)


def _compute(log: str, key: str, seconds: float) -> dict[str, Any]:
    """Compute in ``seconds``; the log gets a line with the key and how long it really took, in
    nanoseconds."""
    start = time.perf_counter_ns()
    time.sleep(seconds)
    note_line(log, f"{key} {time.perf_counter_ns() - start}")
    return product(1)
