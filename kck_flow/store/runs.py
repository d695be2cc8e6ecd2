"""What happened when products were refreshed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..key import Key
from .refreshes import Claim
from .session import Session, dumps, plain


def append(
    session: Session,
    key: Key,
    *,
    token: int,
    reason: str,
    outcome: str,
    started: float,
    lane: int | None = None,
    nominal: float | None = None,
    causes: Any = None,
    error: str = "",
    traceback: str = "",
    version: int | None = None,
    size: int | None = None,
    worker: str = "",
    statements: Any = None,
) -> None:
    """Append a run; ``started`` and ``nominal`` are POSIX seconds, it ends now. ``statements``: the SQL that it ran,
    [text, how often] each.
    """
    session.rows(
        "run",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "token": token,
            "reason": reason,
            "causes": dumps(causes),
            "lane": lane,
            "nominal": nominal,
            "started": started,
            "outcome": outcome,
            "error": plain(error[:2000]),
            "traceback": plain(traceback[-20_000:]),
            "version": version,
            "bytes": size,
            "worker": worker,
            "statements": dumps(statements) if statements is not None else None,
        },
    )


def of_claim(
    session: Session,
    claim: Claim,
    outcome: str,
    *,
    reason: str | None = None,
    error: str = "",
    traceback: str = "",
    worker: str = "",
) -> None:
    """Append the run of a claim that ends now; ``reason`` where it is not the claim's own."""
    append(
        session,
        claim.key,
        token=claim.token,
        reason=claim.reason if reason is None else reason,
        outcome=outcome,
        started=claim.started,
        lane=claim.lane,
        nominal=claim.nominal,
        error=error,
        traceback=traceback,
        worker=worker,
    )


def last(
    session: Session,
    *,
    digest: UUID | None = None,
    key_base: str | None = None,
    limit: int = 20,
    outcome: str | None = None,
) -> list[tuple[Any, ...]]:
    """Return the last runs, newest first, for the listings."""
    return session.rows(
        "list_runs", {"digest": digest, "key_base": key_base, "limit": limit, "outcome": outcome}
    )


def averages(session: Session, key_base: str | None = None) -> list[tuple[Any, ...]]:
    """Return per family: key_base, runs, failed, mean, median and longest seconds, last run at."""
    return session.rows("average_runs", {"key_base": key_base})


def cost(session: Session, digest: UUID, limit: int) -> tuple[int, int, float | None]:
    """Return of a product's last runs: how many there were, how many failed, and the median seconds of the others."""
    count, failed, median = session.rows("cost_of_runs", {"digest": digest, "limit": limit})[0]
    return int(count), int(failed), median


def statements(session: Session, digest: UUID, limit: int) -> tuple[datetime, list[list[Any]]] | None:
    """Return when a product was last refreshed by SQL, and by which, [text, how often] each, of so many of its last
    runs; None where none is noted.
    """
    row = session.row("last_statements", {"digest": digest, "limit": limit})
    return (datetime.fromtimestamp(row[0], UTC), json.loads(row[1])) if row is not None else None


def failures(
    session: Session, digest: UUID, start: datetime, end: datetime, limit: int = 20_000
) -> list[datetime]:
    """Return when a product's refreshes failed within ``[start, end)``, oldest first, of so many of its last runs."""
    rows = session.rows("failures", {"digest": digest, "start": start, "end": end, "limit": limit})
    return [datetime.fromtimestamp(at, UTC) for (at,) in rows]


def prune(session: Session, days: float, batch: int = 5000) -> int:
    """Delete runs older than ``days``, in batches; returns how many."""
    deleted = 0
    while True:
        rows = session.rows("prune_runs", {"days": days, "limit": batch})
        deleted += len(rows)
        if len(rows) < batch:
            return deleted
