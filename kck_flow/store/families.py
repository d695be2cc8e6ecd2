"""What is known of a primer as a whole: paused or not, and which declaration is in force."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from .session import Session


def paused(session: Session) -> dict[str, str]:
    """Return the paused families and their notes."""
    return dict(session.run("SELECT key_base, note FROM kck_family WHERE paused_at IS NOT NULL"))


def pause(session: Session, key_base: str, note: str) -> None:
    """Pause a family; pausing again replaces the note."""
    session.rows("pause", {"key_base": key_base, "note": note})


def resume(session: Session, key_base: str) -> bool:
    """Resume a family; returns whether it was paused."""
    return bool(session.rows("resume", {"key_base": key_base}))


class Declared(NamedTuple):
    """A declaration in force: of which version, with which schedule (its digest), since when."""

    version: int
    schedule: str
    synced_at: datetime | None


UNKNOWN = Declared(0, "", None)


def known(session: Session) -> dict[str, Declared]:
    """Return the declarations in force, by key base."""
    return {
        row[0]: Declared(*row[1:])
        for row in session.run("SELECT key_base, primer_version, schedule_digest, synced_at FROM kck_family")
    }


def declare(session: Session, key_base: str, *, version: int, schedule: str, paused: bool) -> None:
    """Put a declaration in force. ``paused`` counts the first time only: resuming it once is for good."""
    session.rows(
        "declare", {"key_base": key_base, "version": version, "schedule": schedule, "paused": paused}
    )


def row(session: Session, key_base: str) -> tuple[Any, ...] | None:
    """Return (paused_at, note, primer_version, schedule_digest) of a family, or None."""
    rows = session.run(
        "SELECT paused_at, note, primer_version, schedule_digest FROM kck_family WHERE key_base = %s",
        [key_base],
    )
    return rows[0] if rows else None
