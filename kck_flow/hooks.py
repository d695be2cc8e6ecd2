"""A primer's hooks and the signals that mirror them, under the primer's policy for their errors."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from . import signals
from .errors import HookFailed
from .key import Key
from .metric import Metric
from .primer import HOOKS, Primer
from .store import measures, records
from .store.session import Session

logger = logging.getLogger("kck_flow")

RETRIES = 3
# The base class's hooks do nothing: a primer that overrides none and has no receivers pays nothing.
_OWN = {f"{when}_{what}": getattr(Primer, f"{when}_{what}") for what in HOOKS for when in ("pre", "post")}
_OWN["post_record"] = Primer.post_record


def wanted(primer: Primer | None, *names: str) -> bool:
    """Whether anybody listens to any of these hooks."""
    for name in names:
        if getattr(signals, name).receivers:
            return True
        if primer is not None and getattr(type(primer), name) is not _OWN[name]:
            return True
    return False


def anything(primer: Primer | None) -> bool:
    """Whether anybody listens to what is stored for this primer."""
    return wanted(primer, *_OWN)


def run(
    primer: Primer | None, name: str, key: Key, *, session: Session | None = None, **arguments: Any
) -> None:
    """Run one hook and send its signal.

    Under ``hook_errors = "abort"`` (the default) an error ends the write, which leaves nothing; ``"log"``
    logs it with its traceback and goes on; ``"retry"`` tries three times, each in a savepoint, before it
    aborts.

    Raises:
        HookFailed: chained to what the hook raised, of its own type and with its own traceback.
    """
    if not wanted(primer, name):
        return
    policy = primer.hook_errors if primer is not None else "abort"
    attempts = RETRIES if policy == "retry" else 1
    for attempt in range(1, attempts + 1):
        try:
            if session is not None and policy != "abort":
                with session.transaction():  # what a failed hook wrote goes, the product stays
                    _call(primer, name, key, arguments)
            else:
                _call(primer, name, key, arguments)
            return
        except Exception as error:
            if policy == "log":
                logger.exception("hook.failed key=%s hook=%s", key, name)
                return
            if attempt < attempts:
                logger.warning("hook.retried key=%s hook=%s attempt=%s error=%r", key, name, attempt, error)
                continue
            raise HookFailed(
                f"{name} of {str(key)!r} raised {type(error).__name__}: {error}. Nothing was stored."
            ) from error


def record(session: Session, primer: Primer, key: Key, text: str | None, *, version: int, at: float) -> None:
    """Append to a product's history what it holds from ``at`` (POSIX seconds) on, and tell ``post_record``.

    Of a metric it is the number of the period that ``at`` is in.
    """
    number: int | None
    if isinstance(primer, Metric):
        metric = primer.of(key)
        span = metric.span(datetime.fromtimestamp(at, UTC))
        number = measures.append(
            session,
            key,
            span.start,
            span.end,
            text,
            version=version,
            primer_version=metric.version,
            complete=False,
        )
        if number is None:
            return
    else:
        number = records.append(
            session, key, value=text, version=version, primer_version=primer.version, at=at
        )
    run(primer, "post_record", key, session=session, record=number)


def _call(primer: Primer | None, name: str, key: Key, arguments: dict[str, Any]) -> None:
    if primer is not None and getattr(type(primer), name) is not _OWN[name]:
        getattr(primer, name)(key, **arguments)
    signal = getattr(signals, name)
    if signal.receivers:
        signal.send(sender=type(primer) if primer is not None else None, key=key, **arguments)
