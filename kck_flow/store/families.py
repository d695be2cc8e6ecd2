"""What is known of a primer as a whole: paused or not, and which declaration is in force."""

from __future__ import annotations

from typing import Any

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


def known(session: Session) -> dict[str, tuple[int, str]]:
    """Return the declarations in force: key base to (primer version, schedule digest)."""
    return {
        row[0]: (row[1], row[2])
        for row in session.run("SELECT key_base, primer_version, schedule_digest FROM kck_family")
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
