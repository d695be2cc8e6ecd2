"""What counted families hold: levels, and the deltas that are not in them yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from .deltas import UNTOLD
from .session import Session, loads, statement, text_of


@dataclass(frozen=True, slots=True)
class Held:
    """What one key holds, as one snapshot saw it. Instants are POSIX seconds.

    Attributes:
        primed_at: When its family was counted last; None where it never was.
        captured: What captured its table then.
        void: Whether something has happened since that no delta tells.
        waiting: Deltas that are not in its levels yet.
        rows: (facet, facet value, number, sum) each; facet 0 is the total. What is not there is zero.
    """

    primed_at: float | None
    captured: str
    token: int | None
    void: bool
    waiting: int
    now: float
    rows: list[tuple[int, Any, int, Decimal | None]]

    def holds(self, captured: str) -> bool:
        """Whether this is what the rows add up to. ``captured``: what captures the table now; empty, not whole."""
        return bool(captured) and self.primed_at is not None and not self.void and self.captured == captured


# What one key of a family holds: its parameters, and its rows.
OfKey = tuple[dict[str, Any], list[tuple[int, Any, int, Decimal | None]]]

# The parameters of a key, and the beginning of the window that is meant, or None.
OfWindow = tuple[dict[str, Any], float | None]


def args_json(args: Mapping[str, Any]) -> str:
    """Return a key's parameters as JSON, decimals as numbers: ``kck_args`` gives them their one form."""

    def part(value: Any) -> str:
        return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value)

    return "{" + ", ".join(f"{json.dumps(name)}: {part(value)}" for name, value in args.items()) + "}"


def read(session: Session, generation: int, args: Mapping[str, Any], *, timed: bool = False) -> Held | None:
    """Return what one key holds; None where the definition is not in force in this database. ``timed``: what it holds
    is dated, and counts up to the instant of the read.
    """
    row = session.row("level", {"generation": generation, "args": args_json(args), "timed": timed})
    if row is None:
        return None
    return _held(row)


def read_many(session: Session, asked: Sequence[tuple[int, Mapping[str, Any], bool]]) -> list[Held | None]:
    """Return what many keys, (generation, parameters, timed) each, hold in one snapshot, in the order asked."""
    params = {
        "generations": [generation for generation, _, _ in asked],
        "args": [args_json(args) for _, args, _ in asked],
        "timed": [timed for _, _, timed in asked],
    }
    found: list[Held | None] = [None] * len(asked)
    for row in session.rows("level_many", params):
        found[row[0] - 1] = _held(row[1:])
    return found


def read_all(session: Session, generation: int, *, timed: bool = False) -> tuple[Held, list[OfKey]] | None:
    """Return how a family stands, and what each of its keys holds that holds anything, (parameters, rows) each, in one
    snapshot; None where the definition is not in force in this database.
    """
    found = session.rows("level_all", {"generation": generation, "timed": timed})
    if not found:
        return None
    keys = [(_exact(row[7]), _rows(row[6])) for row in found if row[7] is not None]
    return _held([*found[0][:6], None]), keys


def some_args(session: Session, generation: int) -> dict[str, Any] | None:
    """Return the parameters of one of the keys that a family holds; None where it holds none."""
    found = session.run(
        "SELECT args FROM kck_level WHERE generation = %s AND facet = 0 LIMIT 1", [generation]
    )
    return _exact(found[0][0]) if found else None


def _held(row: Sequence[Any]) -> Held:
    primed_at, captured, token, void, waiting, now, rows = row
    return Held(primed_at, captured, token, void, waiting, now, _rows(rows))


def _rows(found: Any) -> list[tuple[int, Any, int, Decimal | None]]:
    if found is None:
        return []
    return [(facet, value, int(n), amount) for facet, value, n, amount in _exact(found)]


def _exact(found: Any) -> Any:
    return json.loads(found, parse_float=Decimal) if isinstance(found, str) else found


def fold(session: Session, generations: Sequence[int], limit: int) -> int:
    """Add waiting deltas to their levels, at most ``limit`` of each family; returns how many were taken.

    The session must be READ COMMITTED: deltas that were taken by another meanwhile are left to it.
    """
    return _fold(session, generations, limit, "NULL")[0]


def fold_telling(session: Session, generation: int, limit: int) -> tuple[int, dict[str, list[OfWindow]]]:
    """Fold one family as ``fold`` does; returns how many deltas were taken, and which keys changed: by key base,
    (parameters, beginning of the window or None) each.
    """
    taken, found = _fold(session, [generation], limit, text_of("fold_changed"))
    changed: dict[str, list[OfWindow]] = {}
    for key_base, args, start in _exact(found) or ():
        changed.setdefault(key_base, []).append((args, float(start) if start is not None else None))
    return taken, changed


def _fold(session: Session, generations: Sequence[int], limit: int, changed: str) -> tuple[int, Any]:
    with session.transaction():
        params = {"generations": list(generations), "limit": limit}
        taken, emptied, told = session.rows("fold_levels", params, changed=changed)[0]
        if emptied:
            session.rows("drop_empty_levels", {"generations": emptied})
    return int(taken), told


@dataclass(frozen=True, slots=True)
class Summary:
    """How a family stands: whether it was ever counted, whether deltas wait, and a sum that equal levels share."""

    primed: bool
    waiting: bool
    sum: str


def summary(session: Session, generation: int) -> Summary:
    """Return how a family stands, as this snapshot sees it."""
    found = session.rows("level_summary", {"generation": generation})
    return Summary(*found[0]) if found else Summary(False, False, "")


def has_any(session: Session, generation: int) -> bool:
    """Whether a definition has ever counted anything."""
    text = (
        "SELECT EXISTS (SELECT 1 FROM kck_level WHERE generation = %s) "
        "OR EXISTS (SELECT 1 FROM kck_delta WHERE generation = %s)"
    )
    return bool(session.run(text, [generation, generation])[0][0])


def put(session: Session, generation: int, counted: str) -> int:
    """Store what a query counts (args, start_at, facet, facet_value, n, amount); returns how many levels that makes."""
    text = f"{statement('put_levels', recount=counted.replace('%', '%%'))} RETURNING 1"
    return len(session.run(text, {"generation": generation}))


def with_events(session: Session, key_base: str, generations: Sequence[int]) -> list[int]:
    """Return those definitions of a flow under which events were kept that are still there."""
    text = "SELECT DISTINCT generation FROM kck_event WHERE key_base = %s AND generation = ANY(%s)"
    return [row[0] for row in session.run(text, [key_base, list(generations)])] if generations else []


def voids(session: Session) -> list[tuple[str, int, int]]:
    """Return (key base, generation, mark) of the families that hold nothing of worth until they are counted anew."""
    return [(row[0], row[1], row[2]) for row in session.rows("voids", {})]


def settle(session: Session) -> int:
    """Gather what is dated and has come about, of families whose rows come and go with time; returns how many dates."""
    return settle_telling(session)[0]


def settle_telling(session: Session) -> tuple[int, dict[str, list[OfWindow]]]:
    """Gather as ``settle`` does; returns how many dates, and which keys' came about: by key base."""
    changed: dict[str, list[OfWindow]] = {}
    with session.transaction():
        rows = session.rows("settle", {})
        if rows and rows[0][3]:
            session.rows("drop_empty_levels", {"generations": rows[0][3]})
    for key_base, args, _, _ in rows:
        changed.setdefault(key_base, []).append((_exact(args), None))
    return sum(row[2] for row in rows), changed


def uncounted(session: Session) -> tuple[bool, bool]:
    """Return whether deltas wait, and whether some family is fenced."""
    waiting, fenced = session.rows("uncounted", {})[0]
    return bool(waiting), bool(fenced)


def foldable(session: Session, limit: int = 50_000) -> list[tuple[int, str]]:
    """Return the families that have deltas, (generation, key base) each, those with most first."""
    return [(row[0], row[1]) for row in session.rows("foldable", {"limit": limit})]


def drop_orphans(session: Session) -> None:
    """Delete deltas that belong to no definition."""
    session.rows("drop_orphans", {})


def publish(session: Session, generation: int, token: int | None, recount: str, captured: str) -> bool:
    """Store a count that is made here and now, in the transaction's snapshot; False where the lease is not ours.

    The transaction must be REPEATABLE READ (in a test, where nobody else writes, it may be the test's own).
    """
    params = {"generation": generation, "token": token, "captured": captured}
    session.rows("book_before", params, deltas="true")
    if not session.rows("recounted", params):
        session.run("DELETE FROM kck_opening WHERE generation = %s AND side = 3", [generation])
        return False
    text = statement("put_levels", recount=recount.replace("%", "%%"))
    session.run(text, params)
    session.rows("book_after", params)
    return True


def cut(session: Session, generation: int, token: int) -> bool:
    """Take what a recount's snapshot sees of the deltas, and let folds go on; False where the lease is not ours.

    The session's transaction must share the recount's snapshot.
    """
    params = {"generation": generation, "token": token}
    primed = session.rows("cut", params)
    if not primed:
        return False
    session.rows("cut_accounts", params)
    session.rows("cut_fold", params | {"primed": primed[0][0]})
    return True


def stage(session: Session, generation: int, token: int, recount: str) -> tuple[list[int], float]:
    """Count, in the transaction's snapshot, and keep what is found for a publish; returns what it needs to know: which
    marks of worthlessness the snapshot saw, and its instant.
    """
    params = {"generation": generation, "token": token}
    session.rows("drop_staged", params)
    at, voids = session.rows("cut_voids", params)[0]
    text = statement("stage", recount=recount.replace("%", "%%"))
    session.run(text, params)
    return voids or [], at


def publish_staged(
    session: Session, generation: int, token: int, captured: str, voids: Sequence[int], at: float
) -> bool:
    """Store what a long recount found, and what was folded since its cut; False where the lease is not ours.

    The transaction must be READ COMMITTED: each statement sees what was folded before the fence was locked.
    """
    params = {"generation": generation, "token": token, "captured": captured, "voids": list(voids), "at": at}
    if not session.rows("cut_publish", params):
        return False
    session.rows("cut_unvoid", params)
    session.rows("book_before", params, deltas="false")
    for name in ("cut_since", "drop_levels", "cut_levels", "drop_recounted", "book_after"):
        session.rows(name, params)
    return True


def rows_about(session: Session, relation: str) -> int:
    """Return about how many rows a table has."""
    return int(session.rows("rows_about", {"relation": relation})[0][0])


@dataclass(frozen=True, slots=True)
class Drift:
    """Where what is held differs from a recount: numbers of rows, and sums where the stock is one."""

    args: dict[str, Any]
    facet: int
    facet_value: Any
    held: int
    counted: int
    held_amount: Decimal
    counted_amount: Decimal


def drift(session: Session, generation: int, recount: str, limit: int, *, timed: bool = False) -> list[Drift]:
    """Compare what a family holds with a recount, in one statement; returns where they differ, at most ``limit``."""
    # Both sides as of one instant: a date that comes about while the rows are read is still to come.
    dated = recount.replace("{now}", "'-infinity'::timestamptz")
    text = statement("drift", recount=dated.replace("%", "%%"))
    rows = session.run(text, {"generation": generation, "limit": limit, "timed": timed})
    return [Drift(loads(row[0]), row[1], loads(row[2]), *row[3:]) for row in rows]


@dataclass(frozen=True, slots=True)
class Flowed:
    """What a flow has counted, as one snapshot saw it. Instants are POSIX seconds.

    Attributes:
        made_at: Since when it is captured.
        history_at: From when on its windows are known to be whole from history; None where they are not.
        waiting: Deltas that are not in its levels yet.
        rows: (facet, facet value, number, beginning of the step or None) each.
        untold: (number, beginning of the step or None) each, of changes whose states could not be told.
        gaps: (beginning, end or None) each, in which transitions were missed.
    """

    made_at: float
    history_at: float | None
    waiting: int
    now: float
    rows: list[tuple[int, Any, int, Any]]
    untold: list[tuple[int, Any]]
    gaps: list[tuple[float, float | None]]

    @property
    def since(self) -> float:
        """From when on what it counted is all there was, but for the gaps."""
        return self.made_at if self.history_at is None else min(self.made_at, self.history_at)

    def missed(self, start: float, end: float) -> bool:
        """Whether transitions were missed within ``[start, end)``."""
        return any(begin < end and (over is None or over > start) for begin, over in self.gaps)


def flowed(
    session: Session,
    generation: int,
    args: Mapping[str, Any],
    start: datetime,
    end: datetime,
    *,
    step: str,
    facet: int | None,
) -> Flowed | None:
    """Return what a flow counted over ``[start, end)`` by steps (SQL over ``start_at``), of one facet or all."""
    params = {"generation": generation, "args": args_json(args), "start": start, "end": end, "facet": facet}
    row = session.row("flow", params, step=step)
    return _flowed(row) if row is not None else None


def flowed_many(
    session: Session,
    asked: Sequence[tuple[int, Mapping[str, Any]]],
    start: datetime,
    end: datetime,
    *,
    step: str,
) -> list[Flowed | None]:
    """Return what several flows counted over ``[start, end)`` by steps (SQL over ``start_at``), in all, each of a
    generation at one key: one statement. None of one that is not captured here.
    """
    params = {
        "generations": [generation for generation, _ in asked],
        "args": [args_json(args) for _, args in asked],
        "start": start,
        "end": end,
    }
    found: list[Flowed | None] = [None] * len(asked)
    for place, *row in session.rows("flow_many", params, step=step):
        found[place - 1] = _flowed(row)
    return found


def _flowed(row: Sequence[Any]) -> Flowed:
    made_at, history_at, waiting, now, found, missed = row
    rows: list[tuple[int, Any, int, Any]] = []
    untold: list[tuple[int, Any]] = []
    for place, value, n, at in _rows(found):
        if place == UNTOLD:
            untold.append((n, at))
        else:
            rows.append((place, value, n, at))
    gaps = [(float(begin), None if over is None else float(over)) for begin, over in loads(missed) or ()]
    return Flowed(made_at, history_at, waiting, now, rows, untold, gaps)
