"""What went wrong, in the words that callers get and tables keep."""

from __future__ import annotations

import random
import traceback as tracebacks

from ..errors import ComputeFailed, HookFailed, UnstorableValue
from ..key import Key
from ..primer import Primer


def failure_of(key: Key, error: BaseException) -> BaseException:
    """Return what the waiting get for what ``compute`` raised: itself where it is typed already, else
    ComputeFailed.
    """
    if isinstance(error, (UnstorableValue, ComputeFailed, HookFailed)):
        return error
    cause = describe(error)
    shown = "".join(tracebacks.format_exception(error))
    failure = ComputeFailed(f"Computing {str(key)!r} raised {cause}", key=key, cause=cause, traceback=shown)
    failure.__cause__ = error
    return failure


def describe(error: BaseException) -> str:
    """Return ``TypeName: message`` of an exception."""
    try:
        text = str(error)
    except Exception:  # an exception that fails at that, too
        text = "(it cannot say what)"
    return f"{type(error).__name__}: {text}".strip().rstrip(":")


def backoff_seconds(primer: Primer, attempts: int, spread_by: float | None = None) -> float:
    """Return the pause after the ``attempts``-th failure in a row: doubling, capped, spread by half either
    way.
    """
    base = primer.backoff.total_seconds() * 2 ** min(attempts - 1, 30)
    share = random.uniform(0.5, 1.5) if spread_by is None else spread_by
    return float(min(base, primer.backoff_cap.total_seconds()) * share)


def stored_failure(
    key: Key, last_error: str | None, retry_in: float | None, parked: str | None
) -> ComputeFailed:
    """Return the failure that readers get within the back-off, without a compute."""
    cause = (last_error or "its process, which ended without a word again and again").splitlines()[0]
    when = f"revive it with: manage.py kck retry {key}"
    if parked:
        when = f"it is parked ({parked}); {when}"
    elif retry_in is not None and retry_in > 0:
        when = f"it is tried again in {retry_in:.1f} s"
    return ComputeFailed(f"Computing {str(key)!r} failed with {cause}; {when}.", key=key, cause=cause)
