"""The job of every engine: do nothing, and note when."""

import os
import time

from benchmarks.product import note_line


def note(number: int) -> None:
    """Append the number and the instant to the log."""
    note_line(os.environ["BENCH_LOG"], f"{number} {time.monotonic_ns()}")
