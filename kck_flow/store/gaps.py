"""Gaps of flows: times in which their capture was not whole, and transitions were missed for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .session import Session, text_of

TRUNCATE = "truncate"


class Seen(NamedTuple):
    """How a flow is captured.

    Attributes:
        captured: What captured it when it was last seen whole; empty where that is not known.
        begun: Whether its capture has been in place.
        is_open: Whether a gap is known that has not ended.
        print: What captures it now; empty, not whole.
    """

    generation: int
    key_base: str
    captured: str
    begun: bool
    is_open: bool
    print: str

    @property
    def is_as_known(self) -> bool:
        """Whether there is nothing new to note."""
        if not self.print:
            return self.is_open or not self.begun
        return self.begun and not self.is_open and self.print == self.captured


class Missed(NamedTuple):
    """A gap. Instants are POSIX seconds; ``end`` is None while it lasts."""

    key_base: str
    start: float
    end: float | None
    cause: str


def prints(session: Session, generations: Sequence[int] | None = None) -> list[Seen]:
    """Return how the flows in force are captured, those of triggers; all, or some."""
    print_of = text_of("capture_print")
    for name, column in (("relation", "f.relation"), ("generation", "f.generation"), ("flow", "true")):
        print_of = print_of.replace(f"%({name})s", column)
    given = list(generations) if generations is not None else None
    return [Seen(*row) for row in session.rows("prints", {"generations": given}, print=print_of)]


def oldest_writer(session: Session) -> float:
    """Return when the oldest running transaction began, or now: whatever is missed from now on counts as of then, at
    the earliest. To be asked before what is seen whole is looked at.
    """
    return float(session.rows("oldest_writer", {})[0][0])


def seen_whole(session: Session, seen: Sequence[Seen], at: float) -> None:
    """Note up to when some flows' capture is known to have been whole."""
    params = {
        "generations": [one.generation for one in seen],
        "prints": [one.print for one in seen],
        "at": at,
    }
    session.rows("seen_whole", params)


def hold(session: Session, generation: int) -> bool:
    """Lock a definition until the transaction ends; False where somebody else has it, or it is not in force."""
    text = "SELECT 1 FROM kck_generation WHERE generation = %s AND live FOR UPDATE SKIP LOCKED"
    return bool(session.run(text, [generation]))


def witness(session: Session, generation: int, print_: str, at: float) -> bool:
    """Note what captures a flow now; returns whether transitions were missed that nobody knew of. In a transaction.

    Args:
        print_: What captures it; empty, not whole: a gap begins where it was last seen whole.
        at: From when on it is known to be whole; see ``oldest_writer``.
    """
    text = (
        "SELECT captured, whole_at IS NOT NULL FROM kck_generation WHERE generation = %s AND live FOR UPDATE"
    )
    found = session.run(text, [generation])
    if not found:
        return False
    captured, begun = found[0]
    params = {"generation": generation, "print": print_, "at": at}
    if not print_:
        return begun and bool(session.rows("gap_begins", params))
    ended = session.rows("gap_ends", params)
    missed = begun and not ended and captured not in ("", print_)
    if missed:
        session.rows("gap_was", params)
    session.rows("is_whole", params)
    return missed


def forget(session: Session, generation: int) -> None:
    """Delete the gaps of a definition that is put in force: it counts from now on."""
    session.run("DELETE FROM kck_gap WHERE generation = %s", [generation])


def inherit(session: Session, generation: int, before: int) -> None:
    """Give a flow that started from the events of another definition the gaps of that."""
    session.run(
        "INSERT INTO kck_gap (generation, start_at, end_at, cause) "
        "SELECT %s, start_at, end_at, cause FROM kck_gap WHERE generation = %s AND end_at IS NOT NULL",
        [generation, before],
    )


def known(session: Session, generations: Sequence[int] | None = None) -> list[Missed]:
    """Return the gaps of the flows in force, or of some, the oldest first."""
    given = list(generations) if generations is not None else None
    return [Missed(*row) for row in session.rows("gaps", {"generations": given})]


def truncated(schema: str, generations: Sequence[int]) -> str:
    """Return the statement by which a TRUNCATE notes that rows left some flows' sources, and were not counted."""
    rows = ", ".join(f"({generation}::bigint)" for generation in generations)
    return (
        f"INSERT INTO {schema}kck_gap (generation, start_at, end_at, cause) "
        f"SELECT g, transaction_timestamp(), transaction_timestamp() + interval '1 microsecond', '{TRUNCATE}' "
        f"FROM (VALUES {rows}) AS v (g)"
    )
