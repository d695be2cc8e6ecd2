"""What was seen of counted rows in Python, on its way to the levels; what triggers see they append themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .session import Session

# The facet under which a flow counts the changes whose states could not be told.
UNTOLD = -1


def are_kept(session: Session) -> bool:
    """Return whether this database has a place for them."""
    return session.run("SELECT to_regclass('kck_delta') IS NOT NULL")[0][0] is True


def append_member(session: Session, generation: int, n: int, *, args: str, facets: str) -> None:
    """Append that a row has come into a stock (1) or has left it (-1), in the caller's transaction.

    Args:
        args: The key's parameters in their normal form, JSON.
        facets: The values of the facets, a JSON array.
    """
    session.rows("append_member", {"generation": generation, "n": n, "args": args, "facets": facets})


def append_transition(
    session: Session,
    generation: int,
    *,
    args: str,
    facets: str,
    ends: Sequence[Any] = (),
    at: str | None,
    window: str,
    first: int = 0,
) -> None:
    """Append one transition of a flow, in the caller's transaction; of a definition that is not in force, nothing.

    Args:
        args: The key's parameters in their normal form, JSON.
        facets: The values of the facets, a JSON array.
        ends: The values of those behind them, the states.
        at: Its instant, as PostgreSQL spells it; None for the transaction's.
        window: SQL of the beginning of the window that the instant ``{at}`` is in.
        first: The facet that the total counts as.
    """
    params = {
        "generation": generation,
        "args": args,
        "facets": facets,
        "ends": json.dumps(list(ends)),
        "at": at,
        "first": first,
    }
    session.rows("append_transition", params, window=window.replace("{at}", "m.at").replace("%", "%%"))
