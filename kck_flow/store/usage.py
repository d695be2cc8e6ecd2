"""What reads came to, by family and hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from .session import Session


class Usage(NamedTuple):
    """How a family was read and refreshed over a time.

    Attributes:
        fresh, stale: Reads that were answered at once, by what was fresh, or by what was not any more.
        missed: Reads that were computed, or waited for who did.
        failed: Reads that got an error, or the last good value for want of a newer one.
        done, broken: Refreshes that ended well, and those that failed.
        took: How long all refreshes took together, in seconds.
        median: How long one took that ended well, in seconds; None where none did.
        since: When the first hour began in which a read was counted, in POSIX seconds; None where none was.
    """

    fresh: int = 0
    stale: int = 0
    missed: int = 0
    failed: int = 0
    done: int = 0
    broken: int = 0
    took: float = 0.0
    median: float | None = None
    since: float | None = None

    @property
    def reads(self) -> int:
        """How many reads there were."""
        return self.fresh + self.stale + self.missed + self.failed

    @property
    def share(self) -> float | None:
        """The share of reads that were answered at once, 0 to 1; None where there were none."""
        return (self.fresh + self.stale) / self.reads if self.reads else None

    @property
    def saved(self) -> float | None:
        """How long the reads that were answered at once would have taken to compute, in seconds; None where nobody
        knows how long one takes.
        """
        return (self.fresh + self.stale) * self.median if self.median is not None else None


def add(session: Session, counts: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Add what reads came to in this hour: of each family ``fresh, stale, missed, failed``."""
    names = sorted(counts)
    columns = zip(*(counts[name] for name in names), strict=True)
    given = dict(zip(("fresh", "stale", "missed", "failed"), map(list, columns), strict=True))
    session.rows("add_usage", {"key_bases": names, **given})


def between(
    session: Session, start: datetime, end: datetime, key_base: str | None = None
) -> dict[str, Usage]:
    """Return how families were used in the hours that begin within ``[start, end)``; those of which nothing is known
    are left out.
    """
    rows = session.rows("usage", {"start": start, "end": end, "key_base": key_base})
    return {name: Usage(*told) for name, *told in rows}


def old(session: Session, days: float) -> int:
    """Return how many hours of families are older than ``days``."""
    rows = session.run("SELECT count(*) FROM kck_usage WHERE hour < now() - %s * interval '1 day'", [days])
    return int(rows[0][0])


def prune(session: Session, days: float) -> int:
    """Delete what is older than ``days``; returns how many hours of families."""
    rows = session.run(
        "DELETE FROM kck_usage WHERE hour < now() - %s * interval '1 day' RETURNING hour", [days]
    )
    return len(rows)
