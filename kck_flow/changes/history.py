"""A flow that starts from history: what was before its triggers stood is counted as they are put in place.

In their transaction, while nobody writes to the table: what is there is history, what comes later the triggers see.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ..definition import FlowDefinition, stored
from ..histories import by_column_refused, of_column, of_events, serves, windows_of_events
from ..store import gaps, generations, levels
from ..store.session import Session

logger = logging.getLogger("kck_flow")


def begin(session: Session, found: FlowDefinition, captured: Mapping[int, str]) -> None:
    """Count what was before, of a flow whose triggers were put in place in this transaction.

    Args:
        captured: What captured each definition of the table until now; empty, not whole.
    """
    if levels.has_any(session, found.generation):
        logger.info("history.none family=%s reason=%s", found.key_base, "it has counted before")
        return
    began = time.monotonic()
    serving = [old for old in _before(session, found) if serves(old, found)]
    told = levels.with_events(session, found.key_base, [old.generation for old in serving])
    if told:
        windows = levels.put(session, found.generation, of_events(found, told))
        last = serving[0]
        if captured.get(last.generation):
            query = windows_of_events(last, told)
            generations.known_since(session, found.generation, last.generation, query)
            gaps.inherit(session, found.generation, last.generation)
    else:
        why_not = by_column_refused(found)
        if why_not:
            logger.warning("history.none family=%s reason=%s", found.key_base, why_not)
            return
        windows = levels.put(session, found.generation, of_column(found))
    logger.info(
        "history.counted family=%s from=%s rows=%d seconds=%.1f",
        found.key_base,
        "events" if told else "column",
        windows,
        time.monotonic() - began,
    )


def _before(session: Session, found: FlowDefinition) -> list[FlowDefinition]:
    """Return the other definitions of a flow, the last one first."""
    known: list[Any] = [stored(one) for one in generations.others(session, found.key_base, found.generation)]
    return [one for one in known if isinstance(one, FlowDefinition)]
