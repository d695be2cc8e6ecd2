"""A process's page: the picture of its stocks and flows over a range, its books, its flows over time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import wording
from ..drawing.diagram import diagram
from ..drawing.parts import Box, Pipe
from ..entry import Point
from ..errors import NotPrimed
from ..key import Key
from ..permission import VIEW, may
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from . import reading
from .captions import Caption, captions
from .drawn import HEIGHT, WIDTH, flows_chart, notes_of, sheet_of
from .faces import Refused
from .pages import Page, href, point_row
from .ranges import BadParameter, Range

COLUMNS = ("start", "end", "complete")
NARROW = 480  # from here on a picture runs down
_Lines = Sequence[tuple[str, Sequence[Point]]]
MOST_VALUES = 8  # of a facet: the rest is "other"


def page(
    key: Key, process: Process, user: Any, over: Range, split: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Page:
    """Return a process over a range.

    Args:
        split: By which facet; empty for none.
        size: Width and height of its chart on a desk.

    Raises:
        Refused: not all of it is captured, or the range does not fit its windows.
    """
    facet = split or None
    try:
        told = reading.picture(key, process, over, facet)
    except NotPrimed as error:
        raise Refused(503, _("Not captured"), str(error), key=str(key)) from None
    except ValueError as error:
        raise BadParameter("split" if facet and "facet" in str(error) else "by", str(error)) from None
    stocks, flows = registry.parts(process)
    parts = {one.name: _key_of(one, key) for one in [*stocks, *flows]}
    words = _words(parts)
    hidden = sum(not may(user, VIEW, part) for part in parts.values())
    mine = captions([key])[key]
    balances = [balance(words[one.name], told["stocks"][one.name]) for one in stocks]
    main = main_of(stocks, told)
    sentence = _sentence(main, told, words, over)
    into = _("Into and out of %(label)s") % {"label": words[main].label}
    sheet = replace(
        sheet_of(
            mine,
            over,
            f"f{key.digest.hex[:10]}",
            width=size[0],
            height=size[1],
            title=f"{mine.label}: {into}",
        ),
        description=sentence,
    )
    id = f"d{key.digest.hex[:10]}"
    boxes, pipes = drawn_parts(stocks, flows, told, words, over)
    gains, losses = _sides(main, told, words, over)
    net = _net(gains, losses)
    notes = notes_of([key, *parts.values()], over)
    moved = bool(told.get("steps")) and bool(gains or losses)
    chart = flows_chart(gains, losses, net, sheet, over, notes) if moved else None
    columns = [*COLUMNS, *(one.name for one in flows), *(f"{one.name}.count" for one in stocks)]
    rows = _rows(told, over, [one.name for one in flows], [one.name for one in stocks])

    def draw(theme: str, width: int) -> str:
        chosen: Any = theme or "light"
        narrow = width < NARROW
        return diagram(boxes, pipes, id=f"{id}s", title=mine.label, theme=chosen, narrow=narrow, translate=_)

    return Page(
        "process.html",
        mine.label,
        columns=columns,
        rows=rows,
        meta={
            "key": str(key),
            "label": mine.label,
            "kind": "process",
            "balanced": told["balanced"],
            "stocks": told["stocks"],
            "flows": told["flows"],
            **over.told(),
        },
        context={
            "mine": mine,
            "description": mine.description,
            "told": told,
            "stocks": [
                {
                    "name": one.name,
                    "label": words[one.name].label,
                    "count": words[one.name].number(told["stocks"][one.name]["count"]),
                    "change": stock_change(words[one.name], told["stocks"][one.name]),
                    "href": href(words[one.name], over.given),
                }
                for one in stocks
            ],
            "diagram": diagram(boxes, pipes, id=id, title=mine.label, translate=_),
            "diagram_narrow": diagram(boxes, pipes, id=f"{id}n", title=mine.label, narrow=True, translate=_),
            "sentences": [flow_sentence(words, one, told["flows"][one.name], over) for one in flows],
            "rates": [row for one in flows if (row := rates(words[one.name], told["flows"][one.name]))],
            "balances": balances,
            "balanced": told["balanced"],
            "chart": chart,
            "chart_title": into,
            "facets": facet_names(stocks, flows),
            "facet": facet,
            "facet_rows": facet_rows(stocks, told, words, facet) if facet else [],
            "hidden": hidden,
        },
        picture=draw,
        facts=[told["balanced"], told["stocks"], told["flows"], [one.text for one in notes]],
        keys=list(parts.values()),
        guard=lambda user: may(user, VIEW, key),
    )


def _words(parts: Mapping[str, Key]) -> dict[str, Caption]:
    found = captions(parts.values())
    return {name: found[key] for name, key in parts.items()}


def _key_of(part: Primer, key: Key) -> Key:
    own = {one.name: key.params[one.name] for one in part.parameters if one.name in key.params}
    return part.build_key(**own)


def stock_change(words: Caption, told: Mapping[str, Any]) -> str:
    """Return how a stock has changed over the range; empty where that is not known."""
    if told["count"] is None or told["opening"] is None:
        return ""
    return _("%(change)s in this range") % {
        "change": words.number(told["count"] - told["opening"], sign=True)
    }


def balance(words: Caption, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of a stock's book: opening + in − out = closing, and whether that holds."""
    opening, came, went, count = (told[name] for name in ("opening", "in", "out", "count"))
    corrected, rest = told.get("corrected"), told.get("uncounted")
    if None in (opening, came, went, count):
        why = (
            _("not known: its book was opened after this range begins")
            if told.get("since")
            else _("not known")
        )
        return {"label": words.label, "text": why, "ok": None, "off": 0, "href": href(words)}
    text = f"{words.number(opening)} + {words.number(came)} {wording.MINUS} {words.number(went)}"
    if corrected:
        text += f" {'+' if corrected > 0 else wording.MINUS} {words.number(abs(corrected))} " + _(
            "(recounted)"
        )
    off = rest or 0
    if off:
        text += f" {'+' if off > 0 else wording.MINUS} {words.number(abs(off))} " + _("(counted by no flow)")
    return {
        "label": words.label,
        "text": f"{text} = {words.number(count)}",
        "ok": not off,
        "off": off,
        "href": href(words),
    }


def flow_sentence(
    words: Mapping[str, Caption], flow: Flow, told: Mapping[str, Any], over: Range
) -> dict[str, str]:
    """Return a flow in a line: ``Trial → Active: 418``."""
    outside = _("outside")
    ends = [
        ", ".join(words[name].label if name in words else (name or outside) for name in told[side])
        for side in ("sources", "sinks")
    ]
    own = words[flow.name]
    return {
        "label": own.label,
        "ends": f"{ends[0]} → {ends[1]}",
        "count": own.number(told["count"]),
        "href": href(own, over.given),
        "complete": "" if told["complete"] else _("some were missed"),
    }


def rates(words: Caption, told: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the shares that a flow is of its sources; None where it is none of any.

    What runs through many times a range is no share of what was there: then that one is a dash.
    """
    shares = [
        wording.number(told[name], "percent")
        if told.get(name) is not None and told[name] <= 1
        else wording.MISSING
        for name in ("rate", "conversion")
    ]
    if shares == [wording.MISSING] * 2:
        return None
    return {"label": words.label, "href": href(words), "held": shares[0], "came": shares[1]}


def drawn_parts(
    stocks: Sequence[Primer],
    flows: Sequence[Primer],
    told: Mapping[str, Any],
    words: Mapping[str, Caption],
    over: Range,
) -> tuple[list[Box], list[Pipe]]:
    """Return the stocks and flows of a process as they are drawn."""
    boxes = [
        Box(
            one.name,
            words[one.name].label,
            words[one.name].number(told["stocks"][one.name]["count"]),
            stock_change(words[one.name], told["stocks"][one.name]),
            href(words[one.name], over.given),
            "fresh" if told["stocks"][one.name]["count"] is not None else "empty",
        )
        for one in stocks
    ]
    names = {one.name for one in stocks}
    pipes = [
        Pipe(
            one.name,
            words[one.name].label,
            words[one.name].number(told["flows"][one.name]["count"]),
            told["flows"][one.name]["count"],
            _ends(told["flows"][one.name]["sources"], names),
            _ends(told["flows"][one.name]["sinks"], names),
            href(words[one.name], over.given),
            "fresh" if told["flows"][one.name]["complete"] else "stale",
        )
        for one in flows
    ]
    return boxes, pipes


def _ends(named: Sequence[str | None], stocks: Collection[str]) -> list[str | None]:
    """Return the ends of a flow within its process: what is in none of its stocks is the outside."""
    return list(dict.fromkeys(name if name in stocks else None for name in named))


def main_of(stocks: Sequence[Stock], told: Mapping[str, Any]) -> str:
    """Return the name of the stock that a process is about: the one that most flows touch, of equals the first."""
    ends = [{*row["sources"], *row["sinks"]} for row in told["flows"].values()]
    return max((one.name for one in stocks), key=lambda name: sum(name in touched for touched in ends))


def _sides(
    main: str, told: Mapping[str, Any], words: Mapping[str, Caption], over: Range
) -> tuple[_Lines, _Lines]:
    """Return what came into a stock by which flow and what went, step by step: of a flow with several sources or sinks
    only what moved this one.
    """
    gains: list[tuple[str, Sequence[Point]]] = []
    losses: list[tuple[str, Sequence[Point]]] = []
    for name, row in told["flows"].items():
        comes, goes = main in row["sinks"], main in row["sources"]
        if comes == goes:
            continue
        points = []
        for step in told.get("steps", ()):
            is_over = over.is_over(step["end"])
            if over.complete and not is_over:
                continue
            moved = step["stocks"][main]["by_flow"].get(name)
            value = moved if comes or moved is None else -moved
            points.append(Point(step["start"], step["end"], value, is_over))
        (gains if comes else losses).append((words[name].label, points))
    return gains, losses


def _net(gains: _Lines, losses: _Lines) -> tuple[str, list[Point]] | None:
    if not gains or not losses:
        return None
    points = []
    for steps in zip(*(found for _name, found in (*gains, *losses)), strict=False):
        values = [one.value for one in steps]
        known = None not in values
        total = sum(values[: len(gains)]) - sum(values[len(gains) :]) if known else None
        points.append(Point(steps[0].start, steps[0].end, total, steps[0].complete))
    return _("Net"), points


def _rows(
    told: Mapping[str, Any], over: Range, flows: Sequence[str], stocks: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for step in told.get("steps", ()):
        complete = over.is_over(step["end"])
        if over.complete and not complete:
            continue
        row = point_row(
            step["start"].astimezone(over.zone), step["end"].astimezone(over.zone), None, complete
        )
        del row["value"]
        row |= {name: step["flows"][name]["count"] for name in flows}
        row |= {f"{name}.count": step["stocks"][name]["count"] for name in stocks}
        rows.append(row)
    return rows


def facet_names(stocks: Sequence[Stock], flows: Sequence[Flow]) -> list[str]:
    """Return the facets that a process can be split by, in declared order."""
    return list(
        dict.fromkeys(facet.name for one in (*stocks, *flows) for facet in getattr(one, "facets", ()) or ())
    )


def facet_rows(
    stocks: Sequence[Stock], told: Mapping[str, Any], words: Mapping[str, Caption], facet: str
) -> list[dict[str, Any]]:
    """Return how many of each stock have which value of a facet, the largest first, the rest together."""
    totals: dict[Any, int] = {}
    held: dict[str, dict[Any, int]] = {}
    for stock in stocks:
        for value, row in (told["stocks"][stock.name].get("facets") or {}).items():
            held.setdefault(stock.name, {})[value] = row["count"] or 0
            totals[value] = totals.get(value, 0) + (row["count"] or 0)
    ranked = sorted(totals, key=lambda value: (-totals[value], str(value)))
    rows = []
    for value in ranked[:MOST_VALUES]:
        cells = [words[one.name].number(held.get(one.name, {}).get(value, 0)) for one in stocks]
        rows.append({"value": wording.MISSING if value is None else str(value), "cells": cells})
    others = ranked[MOST_VALUES:]
    if others:
        cells = [
            words[one.name].number(sum(held.get(one.name, {}).get(value, 0) for value in others))
            for one in stocks
        ]
        label = ngettext("%(count)s other", "%(count)s others", len(others)) % {"count": len(others)}
        rows.append({"value": label, "cells": cells})
    return rows


def _sentence(main: str, told: Mapping[str, Any], words: Mapping[str, Caption], over: Range) -> str:
    """Return what came into the main stock and what went, in words."""
    row, own = told["stocks"][main], words[main]
    if row["in"] is None or row["out"] is None:
        return _("%(label)s, %(range)s: what came and went is not known.") % {
            "label": own.label,
            "range": over.text,
        }
    return _("%(label)s, %(range)s: %(came)s came, %(went)s went, %(net)s net.") % {
        "label": own.label,
        "range": over.text,
        "came": own.number(row["in"]),
        "went": own.number(row["out"]),
        "net": own.number(row["in"] - row["out"], sign=True),
    }
