"""Wishes, leases, outcomes: the slot of each product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ..key import Key
from .session import Session, dumps, plain, text_of
from .workers import LOCK_CLASS

# Lanes: the lowest goes first.
WAITED_FOR, TRIGGERED, SCHEDULED, BACKFILL = 0, 2, 5, 8
# After so many claims without a clean end, a product is set aside: it ends its process.
CRASH_LIMIT = 5
# A product that is asked for often rises by so much at most (request.sql).
RISE = timedelta(minutes=1)
MANUAL = "manual"
# Who holds a refresh that was handed out as a hint and is in nobody's hands yet.
DISPATCHED = "dispatch"
# Workers listen here; the payload is empty, what is due stands in the table.
CHANNEL = "kck_flow_due"


@dataclass(slots=True)
class Claim:
    """A lease on one product. ``nominal`` is the schedule instant it serves; instants are POSIX seconds.

    Attributes:
        schedule: Digest of the schedule that the slot stood on when it was claimed as due; None otherwise.
        lost: Set by the beats when the lease has gone: the result will be refused.
        ended: Set when this process has ended it itself: then a beat that comes back empty means nothing.
    """

    slot: int
    token: int
    want: int
    attempts: int
    cost_ms: float | None
    nominal: float | None
    reason: str
    started: float
    key: Key
    lane: int = WAITED_FOR
    crashes: int = 0
    due: float | None = None
    lease: float = 5.0
    lost: bool = False
    ended: bool = False
    progress: str | None = field(default=None)
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a product and its slot stand; instants are POSIX seconds."""

    digest: str
    version: int | None
    epoch: int | None
    state: str | None
    computed_at: float | None
    token: int | None
    leased: bool
    attempts: int | None
    retry_at: float | None
    last_error_at: float | None
    last_error: str | None
    crashes: int | None
    parked_why: str | None
    now: float
    started_at: float | None

    @property
    def held_back(self) -> bool:
        """Whether nobody may compute it now (``claim.sql``): it failed a moment ago, or ended its process too often.

        A parked one is due no more; whoever waits for it after its back-off has it computed all the same.
        """
        failed = self.retry_at is not None and self.retry_at > self.now
        return not self.leased and (failed or (self.crashes or 0) >= CRASH_LIMIT)


def instant(seconds: float | None) -> datetime | None:
    """Return POSIX seconds as an aware UTC datetime; None stays None."""
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def claim(
    session: Session,
    key: Key,
    args: Mapping[str, Any],
    *,
    lease: float,
    owner: str,
    limit: float | None,
    reason: str,
    lane: int = WAITED_FOR,
    force: bool = False,
) -> Claim | None:
    """Take the lease of one product now; None when somebody has it, or it failed a moment ago (unless
    ``force``).
    """
    row = session.row(
        "claim",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "args": dumps(dict(args)),
            "lane": lane,
            "lease": lease,
            "owner": owner,
            "limit": limit,
            "reason": reason,
            "force": force,
            "crash_limit": CRASH_LIMIT,
            "dispatched": DISPATCHED,
        },
        lost=text_of("lost"),
    )
    if row is None:
        return None
    slot, token, want, attempts, cost, nominal, _, now = row
    return Claim(slot, token, want, attempts, cost, nominal, reason, now, key, lane, lease=lease)


def claim_due(
    session: Session,
    *,
    n: int,
    lanes: Sequence[int],
    known: Sequence[str],
    lease: float,
    owner: str,
    mark: datetime | None,
    key_of: Any,
    counted: bool = True,
) -> list[Claim]:
    """Take up to ``n`` refreshes that are due. ``key_of(text, key_base)`` makes the key of a row.

    Args:
        counted: Whether each counts as a crash until it has come to an end.
    """
    rows = session.rows(
        "claim_due",
        {
            "n": n,
            "lanes": list(lanes),
            "known": list(known),
            "lease": lease,
            "owner": owner,
            "mark": mark or "-infinity",
            "counted": int(counted),
            "dispatched": DISPATCHED,
        },
        lost=text_of("lost"),
    )
    claims = [_claimed(row, lease, key_of) for row in rows]
    return sorted(claims, key=lambda claim: (claim.lane, claim.due or 0))


def _claimed(row: Sequence[Any], lease: float, key_of: Any) -> Claim:
    slot, token, want, attempts, cost, nominal, reason, now, text, base, lane, crashes, due, schedule = row
    key = key_of(text, base)
    return Claim(
        slot,
        token,
        want,
        attempts,
        cost,
        nominal,
        reason,
        now,
        key,
        lane,
        crashes,
        due,
        lease,
        schedule=schedule,
    )


def enter(session: Session, slot: int, token: int, *, lease: float, owner: str, key_of: Any) -> Claim | None:
    """Turn a dispatch lease into one of ``owner``; None where it is not that lease any more."""
    params = {"slot": slot, "token": token, "lease": lease, "owner": owner, "dispatched": DISPATCHED}
    row = session.row("enter", params)
    return _claimed(row, lease, key_of) if row else None


def take_back(session: Session, claim: Claim, delay: float = 1.0) -> None:
    """Take a hint back that could not be sent; its refresh is due again after so many seconds."""
    session.rows("take_back", {"slot": claim.slot, "token": claim.token, "delay": delay})


def low_water(session: Session, lanes: Sequence[int]) -> datetime | None:
    """Return the oldest due time alive."""
    row = session.row("low_water", {"lanes": list(lanes)})
    return row[0] if row else None


def standing(session: Session, digests: Sequence[UUID]) -> dict[str, Standing]:
    """Return where some products and their slots stand, by digest text."""
    return {row[0]: Standing(*row) for row in session.rows("standing", {"digests": list(digests)})}


def is_leased(session: Session, digest: UUID) -> bool:
    """Whether a product is being computed. A worker's lease outlives a worker that was killed, and does not count."""
    row = session.row("is_leased", {"digest": digest, "lock_class": LOCK_CLASS})
    return row is not None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a slot goes on after its refresh: its lane, when it is due next, and the schedule's instant behind that.

    Attributes:
        schedule: Digest of the schedule from which both were reckoned; a slot that has another meanwhile keeps
            its own.
    """

    lane: int
    next_due: datetime | None
    nominal: datetime | None
    cost_ms: float
    min_gap: float = 0.0
    again: bool = False
    schedule: str = ""

    def params(self, claim: Claim) -> dict[str, Any]:
        """Return the parameters of ``finish.sql``."""
        return {
            "slot": claim.slot,
            "token": claim.token,
            "lane": self.lane,
            "next_due": self.next_due,
            "nominal": self.nominal,
            "cost": self.cost_ms,
            "min_gap": self.min_gap,
            "again": self.again,
            "schedule": self.schedule,
        }


def finish(session: Session, claim: Claim, ending: Ending) -> bool | None:
    """End a refresh that is still ours; returns whether it was asked for again meanwhile, or None: the lease
    was lost.
    """
    claim.ended = True
    row = session.row("finish", ending.params(claim), gate="")
    return bool(row[0]) if row else None


def fail(
    session: Session,
    claim: Claim,
    *,
    error: str,
    backoff: float,
    retry: bool,
    park: bool,
    next_due: datetime | None,
    nominal: datetime | None,
    schedule: str = "",
) -> int | None:
    """Record a failure; returns how many in a row, or None: the lease was lost."""
    row = session.row(
        "fail",
        {
            "slot": claim.slot,
            "token": claim.token,
            "error": plain(error[:4000]),
            "backoff": backoff,
            "retry": retry,
            "park": park,
            "final": not retry,
            "next_due": next_due,
            "nominal": nominal,
            "schedule": schedule,
        },
    )
    return row[0] if row else None


def release(session: Session, claim: Claim, *, delay: float | None = None) -> bool:
    """Give a refresh back unfinished; with ``delay`` (seconds) it is due again after it."""
    row = session.row(
        "release", {"slot": claim.slot, "token": claim.token, "due": delay is not None, "delay": delay or 0.0}
    )
    return row is not None


def survived(session: Session, claim: Claim) -> None:
    """Take back that a claim counts as a crash: its lease was lost, its process lives."""
    session.rows("survived", {"slot": claim.slot, "token": claim.token})


def park_crashed(session: Session, claim: Claim, error: str) -> bool:
    """Set a product aside that ended its process again and again."""
    return session.row("park_crashed", {"slot": claim.slot, "token": claim.token, "error": error}) is not None


def beat(session: Session, claims: Sequence[Claim]) -> set[tuple[int, int]]:
    """Extend the leases of this process; returns the (slot, token) that are still ours."""
    rows = session.rows(
        "beat",
        {
            "slots": [claim.slot for claim in claims],
            "tokens": [claim.token for claim in claims],
            "leases": [claim.lease for claim in claims],
            "progress": [claim.progress for claim in claims],
        },
    )
    return {(row[0], row[1]) for row in rows}


def request(
    session: Session,
    key: Key,
    args: Mapping[str, Any],
    *,
    lane: int,
    reason: str,
    at: datetime | None = None,
    always: bool = True,
    gap: float = 0.0,
) -> tuple[int, int, bool] | None:
    """Want a refresh; returns (slot, want, whether it runs now). With ``always`` False: None where one is
    wanted already.
    """
    row = session.row(
        "request",
        {
            "digest": key.digest,
            "key": str(key),
            "key_base": key.key_base,
            "args": dumps(dict(args)),
            "lane": lane,
            "reason": reason,
            "at": at or "-infinity",
            "always": always,
            "gap": gap,
        },
    )
    return (row[0], row[1], row[2]) if row else None


def retry(session: Session, *, digest: UUID | None = None, key_base: str | None = None) -> list[str]:
    """Revive one product, or all parked ones (of a family); returns their keys."""
    return [row[0] for row in session.rows("retry", {"digest": digest, "key_base": key_base})]


def clear(session: Session, key_base: str) -> int:
    """Empty a family's queue: nothing of it is due any more, what runs goes on; returns how many were
    waiting.
    """
    return len(session.rows("clear", {"key_base": key_base}))


def schedule(
    session: Session,
    rows: Sequence[tuple[Key, Mapping[str, Any], datetime, datetime]],
    *,
    lane: int,
    digest: str,
) -> int:
    """Put products on their schedule: (key, args, nominal, due) each; returns how many are new or changed."""
    if not rows:
        return 0
    return len(
        session.rows(
            "schedule",
            {
                "digests": [key.digest for key, *_ in rows],
                "keys": [str(key) for key, *_ in rows],
                "key_bases": [key.key_base for key, *_ in rows],
                "args": [dumps(dict(args)) for _, args, _, _ in rows],
                "nominals": [nominal for *_, nominal, _ in rows],
                "dues": [due for *_, due in rows],
                "lane": lane,
                "schedule": digest,
            },
        )
    )


def unschedule(session: Session, key_base: str, keep: Sequence[UUID]) -> int:
    """Take those of a family off the schedule that are not in ``keep``; their values stay. Returns how many."""
    return len(session.rows("unschedule", {"key_base": key_base, "keep": list(keep)}))


def missing(session: Session, digests: Sequence[UUID]) -> set[UUID]:
    """Return which of some products have nothing stored."""
    return {row[0] for row in session.rows("missing", {"digests": list(digests)})}


def listed(session: Session, **filters: Any) -> list[tuple[Any, ...]]:
    """Return slots for the listings, the next first."""
    params = {
        "key_base": None,
        "parked": False,
        "overdue": False,
        "waiting": False,
        "limit": 100,
        "digest": None,
        **filters,
    }
    return session.rows("list_refreshes", params)


def counts(session: Session) -> list[tuple[Any, ...]]:
    """Return per lane: waiting, due, running, parked, failing, oldest overdue in seconds."""
    return session.rows("count_refreshes", {})


def by_family(session: Session) -> list[tuple[str, int, int, float | None]]:
    """Return per family: key_base, how many fail, how many are parked, the mean of how many seconds each took last."""
    return session.rows("count_family_refreshes", {})


def next_due(session: Session, lanes: Sequence[int], known: Sequence[str]) -> float | None:
    """Return in how many seconds the next refresh is due (0 when one is), or None."""
    row = session.row("next_due", {"lanes": list(lanes), "known": list(known)})
    return row[0] if row and row[0] is not None else None


def end_overdue(session: Session) -> int:
    """End the leases that are over by the database's clock, raising their tokens: late results are refused."""
    return len(session.rows("end_overdue", {"dispatched": DISPATCHED}, lost=text_of("lost")))


def end_owned(session: Session, owner: str) -> list[str]:
    """End the leases of a worker that has died; returns the keys."""
    return [row[0] for row in session.rows("end_owned", {"owner": owner}, lost=text_of("lost"))]


def hold_unleased(session: Session, digest: UUID) -> bool:
    """Lock a slot that nobody computes; False while somebody does (or looks at it). No slot at all is free,
    too.
    """
    rows = session.rows("hold_unleased", {"digest": digest})
    return bool(rows[0][0])


def key_text(session: Session, digest: UUID) -> str | None:
    """Return the key of a product or slot by its digest."""
    rows = session.run(
        "SELECT coalesce((SELECT key FROM kck_product WHERE digest = %s), "
        "(SELECT key FROM kck_refresh WHERE digest = %s))",
        [digest, digest],
    )
    return rows[0][0] if rows else None


def lock_slots(session: Session, digests: Sequence[UUID]) -> set[UUID]:
    """Lock some slots, in their order; returns those that are leased."""
    rows = session.rows("lock_slots", {"digests": list(digests)}) if digests else []
    return {row[0] for row in rows if row[1]}


def lock_family(session: Session, key_base: str, args: Any) -> list[tuple[UUID, str, bool]]:
    """Lock a family's slots (those whose parameters contain ``args``), in their order: (digest, key, leased)
    each.
    """
    rows = session.rows("lock_family", {"key_base": key_base, "args": dumps(args)})
    return [(row[0], row[1], row[2]) for row in rows]


def rested(session: Session, digest: UUID, gap: float) -> bool:
    """Whether a product's last refresh ended at least ``gap`` seconds ago (or there was none)."""
    return not session.rows("not_rested", {"digest": digest, "gap": gap})
