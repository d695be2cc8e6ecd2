"""Messages that topics have set aside: to be enriched first, or because their handler failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .outbox import Logged, body_of, text_of
from .session import Session, plain

WAITING, READY, PARKED = "waiting", "ready", "parked"
_COLUMNS = (
    "h.id, h.message, h.source, h.topic, h.message_id, h.partition_key, extract(epoch FROM h.at)::float8, "
    "h.body::text, h.headers::text, h.state, h.enriched::text, h.attempts, h.part"
)


@dataclass(frozen=True, slots=True)
class Aside:
    """A message set aside.

    Attributes:
        id: Of its row.
        logged: The message.
        state: ``waiting`` to be enriched, ``ready`` to be handled, ``parked``.
        enriched: What enriching it gave, as text.
        attempts: How often its handler, or its enriching, has failed.
    """

    id: int
    logged: Logged
    state: str
    enriched: str | None
    attempts: int
    part: int


def _aside(row: Sequence[Any]) -> Aside:
    number, message, source, topic, message_id, key, at, text, headers, state, enriched, attempts, part = row
    logged = Logged(
        message, 0, source, topic, message_id, key, datetime.fromtimestamp(at, UTC), text, headers, 0
    )
    return Aside(number, logged, state, enriched, attempts, part)


def hold(
    session: Session,
    key_base: str,
    part: int,
    messages: Sequence[tuple[Logged, str, str, float | None]],
    state: str,
) -> None:
    """Set messages aside: (message, error, traceback, seconds until it is tried again) each."""
    if not messages:
        return
    session.rows(
        "hold_messages",
        {
            "key_base": key_base,
            "part": part,
            "state": state,
            "messages": [one.id for one, *_ in messages],
            "sources": [one.source for one, *_ in messages],
            "topics": [one.topic for one, *_ in messages],
            "ids": [one.message_id for one, *_ in messages],
            "keys": [one.key for one, *_ in messages],
            "ats": [one.at for one, *_ in messages],
            "bodies": [one.text for one, *_ in messages],
            "headers": [one.headers for one, *_ in messages],
            "errors": [plain(error) for _, error, _, _ in messages],
            "traces": [plain(trace) for _, _, trace, _ in messages],
            "pauses": [pause for *_, pause in messages],
        },
    )


def ready(session: Session, key_base: str, part: int, limit: int) -> list[Aside]:
    """Hold and return the messages of a part that can be handled now: enriched, or parked and due to be tried again."""
    rows = session.run(
        f"SELECT {_COLUMNS} FROM kck_held h WHERE h.key_base = %(key_base)s AND h.part = %(part)s AND "
        "(h.state = 'ready' OR (h.state = 'parked' AND h.retry_at <= clock_timestamp())) "
        "ORDER BY h.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"key_base": key_base, "part": part, "limit": limit},
    )
    return [_aside(row) for row in rows]


def due(session: Session) -> set[str]:
    """Return the topics of which a message that was set aside can be handled now."""
    return {
        row[0]
        for row in session.run(
            "SELECT DISTINCT key_base FROM kck_held WHERE state = 'ready' "
            "OR (state = 'parked' AND retry_at <= clock_timestamp())"
        )
    }


def claim(session: Session, key_bases: Sequence[str], lease: float) -> tuple[str, Aside] | None:
    """Take the message that has waited longest to be enriched, for so many seconds; returns (key base, message)."""
    row = session.row("claim_held", {"key_bases": list(key_bases), "lease": lease})
    return (row[13], _aside(row[:13])) if row is not None else None


def waits(session: Session, key_bases: Sequence[str]) -> bool:
    """Return whether any message of some topics waits to be enriched, and may be now."""
    return bool(
        session.run(
            "SELECT EXISTS (SELECT 1 FROM kck_held WHERE key_base = ANY(%(key_bases)s) AND state = 'waiting' "
            "AND (retry_at IS NULL OR retry_at <= clock_timestamp()))",
            {"key_bases": list(key_bases)},
        )[0][0]
    )


def enriched(session: Session, aside: Aside, found: Any) -> bool:
    """Keep what enriching gave: the message can be handled. False where it has been given to somebody else."""
    return bool(
        session.run(
            "UPDATE kck_held SET state = 'ready', enriched = %(found)s::jsonb, lease_until = NULL, error = '', "
            "traceback = '', attempts = 0 WHERE id = %(id)s AND state = 'waiting' RETURNING 1",
            {"id": aside.id, "found": text_of(found)},
        )
    )


def failed(session: Session, aside: Aside, error: str, trace: str, pause: float | None) -> None:
    """Say that a message failed once more: tried again after so many seconds, or not by itself (None)."""
    state = aside.state if aside.state == WAITING and pause is not None else PARKED
    session.run(
        "UPDATE kck_held SET attempts = attempts + 1, error = %(error)s, traceback = %(trace)s, lease_until = NULL, "
        "state = %(state)s, retry_at = clock_timestamp() + %(pause)s * interval '1 second' WHERE id = %(id)s "
        # Whoever enriched it meanwhile, since this took longer than its lease, has done so.
        "AND (state = 'waiting' OR %(before)s <> 'waiting')",
        {
            "id": aside.id,
            "error": plain(error),
            "trace": plain(trace),
            "pause": pause,
            "state": state,
            "before": aside.state,
        },
    )


def done(session: Session, ids: Sequence[int]) -> None:
    """Forget messages that have been handled."""
    if ids:
        session.run("DELETE FROM kck_held WHERE id = ANY(%(ids)s)", {"ids": list(ids)})


def retry(session: Session, key_base: str, enriches: bool, ids: Sequence[int] | None = None) -> int:
    """Have parked messages of a topic tried again now; returns how many."""
    which = "AND id = ANY(%(ids)s)" if ids is not None else ""
    return len(
        session.run(
            # One that could not be enriched is enriched again; whatever has been enriched is handled.
            "UPDATE kck_held SET retry_at = clock_timestamp(), attempts = 0, "
            "state = CASE WHEN %(enriches)s AND enriched IS NULL THEN 'waiting' ELSE state END "
            f"WHERE key_base = %(key_base)s AND state = 'parked' {which} RETURNING 1",
            {"key_base": key_base, "ids": list(ids) if ids is not None else None, "enriches": enriches},
        )
    )


def forget(
    session: Session, key_base: str, since: datetime | None = None, states: Sequence[str] | None = None
) -> int:
    """Delete what a topic has set aside, of what happened from ``since`` on; returns how much."""
    parts = ["key_base = %(key_base)s"]
    if since is not None:
        parts.append("at >= %(since)s")
    if states is not None:
        parts.append("state = ANY(%(states)s)")
    return len(
        session.run(
            f"DELETE FROM kck_held WHERE {' AND '.join(parts)} RETURNING 1",
            {"key_base": key_base, "since": since, "states": list(states) if states is not None else None},
        )
    )


@dataclass(frozen=True, slots=True)
class Count:
    """How many messages a topic has set aside in one state, and the instant of the earliest that will be handled by
    itself.
    """

    key_base: str
    state: str
    messages: int
    earliest: datetime | None


def counted(session: Session, key_base: str | None = None) -> list[Count]:
    """Return how much topics have set aside, by topic and state."""
    where = "WHERE key_base = %(key_base)s" if key_base is not None else ""
    rows = session.run(
        "SELECT key_base, state, count(*), extract(epoch FROM min(at) FILTER (WHERE state <> 'parked' "
        f"OR retry_at IS NOT NULL))::float8 FROM kck_held {where} GROUP BY 1, 2 ORDER BY 1, 2",
        {"key_base": key_base} if key_base is not None else None,
    )
    return [
        Count(base, state, n, datetime.fromtimestamp(at, UTC) if at is not None else None)
        for base, state, n, at in rows
    ]


def body(text: str | None) -> Any:
    """Return what enriching gave, from its text."""
    return body_of(text)
