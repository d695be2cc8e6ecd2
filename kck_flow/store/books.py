"""Books of stocks: what each held, and what its flows had counted, at its opening; the balance struck since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from .levels import args_json
from .session import Session, loads


class Link(NamedTuple):
    """How a flow's counts reach a stock.

    Attributes:
        flow: Its generation.
        side: 1 into the stock, -1 out of it.
        theirs: Which of the flow's facets tells, 0 for its total.
        ours: Which of the stock's facets that is, 0 for the total.
        only: The one facet value that is meant (the stock's name among several sources or sinks), or None for all.
    """

    flow: int
    side: int
    theirs: int
    ours: int
    only: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a book: rows at the opening, in and out since, corrected by recounts, and now."""

    opening: int
    ins: int
    outs: int
    corrected: int
    closing: int

    @property
    def rest(self) -> int:
        """What the flows do not account for."""
        return self.closing - self.opening - self.ins + self.outs - self.corrected


@dataclass(frozen=True, slots=True)
class Balance:
    """A stock's balance, as one snapshot saw it. Instants are POSIX seconds.

    Attributes:
        flows: The generations of the flows that its opening knows.
        facets: A line for the total (0) and for each facet, summed over all its values and keys.
        keys: (arguments, line) of keys whose total leaves a rest, the largest first.
    """

    flows: frozenset[int]
    opened_at: float
    corrected_at: float | None
    facets: dict[int, Line]
    keys: list[tuple[dict[str, Any], Line]]


def begin(session: Session, generation: int, key_base: str, links: Sequence[Link]) -> bool:
    """Open a stock's book where there is none that knows these flows; returns whether it did. In a transaction, READ
    COMMITTED.
    """
    flows = sorted({link.flow for link in links})
    params = {"generation": generation, "key_base": key_base, "flows": json.dumps(flows)}
    if not session.rows("book_ready", params) or not session.rows("book_begin", params):
        return False
    session.run("DELETE FROM kck_opening WHERE generation = %s", [generation])
    session.rows("book_open", {"generation": generation} | _columns(links))
    return True


def known(session: Session, generation: int) -> frozenset[int] | None:
    """Return the flows that a stock's book knows; None where it has none."""
    rows = session.run("SELECT flows FROM kck_book WHERE generation = %s", [generation])
    return frozenset(loads(rows[0][0])) if rows else None


def balance(session: Session, generation: int, links: Sequence[Link], limit: int) -> Balance | None:
    """Strike a stock's balance, in one statement; None where its book has not been opened."""
    row = session.row("balance", {"generation": generation, "limit": limit} | _columns(links))
    if row is None:
        return None
    flows, opened, corrected, facets, keys = row
    return Balance(
        frozenset(loads(flows)),
        opened,
        corrected,
        {0: Line(0, 0, 0, 0, 0)} | {one[0]: Line(*map(int, one[1:])) for one in loads(facets) or ()},
        [(one[0], Line(*map(int, one[1:]))) for one in loads(keys) or ()],
    )


class Told(NamedTuple):
    """One row of a process's picture; see ``sql/picture.sql``."""

    what: str
    stock: int
    flow: int
    side: int
    split: bool
    value: Any
    at: float | None
    n: int
    place: int


def picture(
    session: Session,
    args: Mapping[str, Any],
    stocks: Mapping[int, int],
    links: Iterable[tuple[int, Link]],
    start: datetime,
    end: datetime,
    *,
    step: str,
) -> list[Told]:
    """Return what is known of a process at one key, in one statement.

    Args:
        stocks: Generation to the facet that it is split by; -1 for none.
        links: (stock's generation, link) each; stock 0 for what a flow counted by itself.
        start, end: The period.
        step: SQL over ``start_at`` of the step that a window is in.
    """
    listed = list(links)
    params = {
        "args": args_json(args),
        "stocks": list(stocks),
        "split": list(stocks.values()),
        "holders": [stock for stock, _ in listed],
        "start": start,
        "end": end,
    } | _columns([link for _, link in listed])
    found = session.rows("picture", params, step=step)
    return [
        Told(what, stock, flow, side, split, loads(value), at, n, place)
        for what, stock, flow, side, split, value, at, n, place in found
    ]


class Within(NamedTuple):
    """A window of a flow that an instant lies within; ``place``: which of the instants asked for."""

    place: int
    flow: int
    key_base: str
    at: datetime
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Traced:
    """What a key of a stock holds and how it came to that, as one snapshot saw it. Instants are POSIX seconds.

    Attributes:
        captured, primed, void: How its family stands; see ``levels.Held``.
        flows, opened_at, corrected_at: Of its book; ``opened_at`` is None where it has none.
        held, rest: Rows now, and those that came since the opening and that no flow has counted.
        moved: (how many of the instants lie at or before it, rows that came less those that went) each.
        flows_since: Of each flow: from when on it counts, and when it last missed something, or None.
        within: By place and flow: transitions in the window, how many of them are kept as events, and what those say
            that moved from the instant on, net.
    """

    captured: str
    primed: bool
    void: bool
    now: float
    flows: frozenset[int]
    opened_at: float | None
    corrected_at: float | None
    held: int
    rest: int
    moved: list[tuple[int, int]]
    flows_since: dict[int, tuple[float, float | None]]
    within: dict[tuple[int, int], tuple[int, int, int]]


class Trace(NamedTuple):
    """What is asked of one key of a stock.

    Attributes:
        generation, key_base, args: Of its definition, its name, its parameters.
        links: What moves it.
        instants: Aware, rising.
        within: The windows that these lie within.
    """

    generation: int
    key_base: str
    args: Mapping[str, Any]
    links: Sequence[Link]
    instants: Sequence[datetime]
    within: Sequence[Within]

    def told(self) -> dict[str, Any]:
        columns = _columns([link for link in self.links if link.ours == 0])
        return {name: columns[name] for name in ("flows", "sides", "theirs", "meant")} | {
            "generation": self.generation,
            "key_base": self.key_base,
            "args": args_json(self.args),
            "upto": [at.isoformat() for at in self.instants],
            "places": [one.place for one in self.within],
            "within": [one.flow for one in self.within],
            "bases": [one.key_base for one in self.within],
            "instants": [one.at.isoformat() for one in self.within],
            "starts": [one.start.isoformat() for one in self.within],
            "ends": [one.end.isoformat() for one in self.within],
        }


def traced(session: Session, asked: Sequence[Trace]) -> list[Traced | None]:
    """Return what keys of stocks hold, and what their flows moved since some instants, in one statement; None for one
    whose definition is not in force.
    """
    found: list[Traced | None] = [None] * len(asked)
    for row in session.rows("traced", {"asked": json.dumps([one.told() for one in asked])}):
        place, captured, primed, void, now, flows, opened, corrected, held, rest, moved, since, inside = row
        found[place - 1] = Traced(
            captured,
            primed,
            void,
            now,
            frozenset(loads(flows) or ()),
            opened,
            corrected,
            held,
            rest,
            [(int(at), int(n)) for at, n in loads(moved) or ()],
            {
                int(flow): (float(at), float(missed) if missed is not None else None)
                for flow, at, missed in loads(since) or ()
            },
            {
                (where, int(flow)): (int(n), int(kept), int(net))
                for where, flow, n, kept, net in loads(inside) or ()
            },
        )
    return found


def crowded(session: Session, rows: str, limit: int) -> tuple[int, list[str]]:
    """Return how many rows are in more than one stock, and the identities of some."""
    found = session.rows("crowded", {"limit": limit}, rows=rows.replace("%", "%%"))
    return (found[0][0] if found else 0), [row[1] for row in found]


def _columns(links: Sequence[Link]) -> dict[str, Any]:
    return {
        "flows": [link.flow for link in links],
        "sides": [link.side for link in links],
        "theirs": [link.theirs for link in links],
        "ours": [link.ours for link in links],
        "meant": [link.only for link in links],
    }
