"""How far a long computation has come: told by ``compute``, carried by the beats, shown by ``kck status``."""

from __future__ import annotations

import json
import time
from contextvars import ContextVar
from typing import Any

# The claim of the refresh that runs here; its next beat takes the note along.
running: ContextVar[Any] = ContextVar("kck_flow_running", default=None)


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Tell how far the computation that calls this has come.

    Args:
        done, total: In whatever unit; ``total`` None where it is not known.
        note: A few words for people.

    Outside a refresh it does nothing. It writes nothing itself: at most one write a second, with the lease's
    beat.
    """
    claim = running.get()
    if claim is not None:
        claim.progress = json.dumps(
            {"done": done, "total": total, "note": str(note)[:200], "at": time.time()}
        )
