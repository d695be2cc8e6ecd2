"""The places of primers that bound how many of their refreshes run at once, over all workers."""

from __future__ import annotations

from .session import Session


def take(session: Session, key_base: str, places: int, *, slot: int, token: int, lease: float) -> bool:
    """Take one of a family's places under a lease; False when all are held."""
    return bool(
        session.rows(
            "take_permit",
            {"key_base": key_base, "places": places, "slot": slot, "token": token, "lease": lease},
        )
    )


def give_back(session: Session, slot: int, token: int) -> None:
    """Give back the place that a refresh holds."""
    session.rows("give_permit", {"slot": slot, "token": token})


def free(session: Session, key_base: str, places: int) -> int:
    """Return how many of so many places are free now."""
    held = session.row("held_permits", {"key_bases": [key_base]})
    return max(places - (held[1] if held else 0), 0)


def full(session: Session, families: dict[str, int]) -> list[str]:
    """Return those families all of whose places are held now."""
    if not families:
        return []
    held = {row[0]: row[1] for row in session.rows("held_permits", {"key_bases": list(families)})}
    return [name for name, places in families.items() if held.get(name, 0) >= places]


def beat(session: Session, slots: list[int], tokens: list[int], leases: list[float]) -> None:
    """Extend the places held by running refreshes."""
    session.rows("beat_permits", {"slots": slots, "tokens": tokens, "leases": leases})
