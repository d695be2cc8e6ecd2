"""A time frame's page: which of its windows are there, which are missing and why, what is done about what is late."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import spread, wording
from ..cache import horizon
from ..drawing.coverage import Coverage, Span, State, coverage
from ..drawing.sheet import Sheet
from ..key import Key
from ..permission import may
from ..streams import frames
from ..timeframe import TimeFrame
from ..windows import week_start
from .captions import caption
from .drawn import NARROW_WIDTH, moment
from .pages import Page, address, deed_address
from .ranges import Range

logger = logging.getLogger("kck_flow")

COLUMNS = (
    "key",
    "start",
    "end",
    "state",
    "items",
    "late",
    "revision",
    "complete",
    "closed_at",
    "reason",
    "error",
)
MOST_FRAMES = 5000
NEVER_PLANNED = "never planned"
_WORDS: Mapping[str, Any] = {
    "closed": gettext_lazy("closed"),
    "planned": gettext_lazy("planned"),
    "computing": gettext_lazy("being computed"),
    "failed": gettext_lazy("failed"),
    "parked": gettext_lazy("parked"),
    "skipped": gettext_lazy("skipped"),
    "gap": gettext_lazy("gap"),
}
MOST_PRODUCTS = 40
MOST_ROWS = 500


def page(key: Key, primer: TimeFrame, over: Range, user: Any = None) -> Page:
    """Return the frames of a product, of one size, or of all products of a family, over a range; what is missing, too,
    and for who may have it computed, where.
    """
    words = caption(key)
    size = _size(primer, key)
    chosen = _chosen(primer, key)
    spans: list[Coverage] = []
    rows: list[dict[str, Any]] = []
    for params in chosen[:MOST_PRODUCTS]:
        series = primer.series_key(params, size)
        found = frames.listed(str(series), over.start, over.end, limit=MOST_FRAMES)
        name = ", ".join(str(value) for value in params.values()) or words.label
        stretches = list(_spans(primer, params, size, found, over))
        spans.append(Coverage(name, stretches))
        there = {row["start"] for row in found}
        missing = [one for one in stretches if one.state == "gap" and one.start not in there]
        rows += [*found, *(_gap(primer.key_at(params, size, one.start), one) for one in missing)]
    rows.sort(key=lambda row: (row["start"], row["key"]), reverse=True)
    gaps = sum(span.state == "gap" for one in spans for span in one.spans)
    process = may(user, "refresh", key)
    told = [_row(row, over) for row in rows]
    id = f"w{key.digest.hex[:10]}"
    sentence = _sentence(words.label, rows, gaps)

    def draw(theme: str, width: int) -> str:
        sheet = Sheet(
            id=f"{id}n" if width == NARROW_WIDTH else id,
            title=words.label,
            description=sentence,
            width=width,
            theme=theme or None,  # type: ignore[arg-type]
            zone=over.zone,
            week_start=week_start(),
            moment=lambda start, end: moment(start, end, "hour"),
            gettext=_,
        )
        return coverage(spans, sheet, start=over.start, end=over.until)

    return Page(
        "frames.html",
        words.label,
        columns=COLUMNS,
        rows=told,
        meta={"key": str(key), "label": words.label, "kind": "frame", **over.told()},
        context={
            "words": words,
            "description": words.description,
            "coverage": draw("", 960),
            "coverage_narrow": draw("", NARROW_WIDTH),
            "sentence": sentence,
            "may_process": process,
            "policy": policy(primer),
            "frames": [_shown(row, over, process) for row in rows[:MOST_ROWS]],
            "left_out": max(len(rows) - MOST_ROWS, 0),
            "products_left_out": max(len(chosen) - MOST_PRODUCTS, 0),
            "sizes": [
                (name, address("frames", primer.series_key(chosen[0], name))) for name in primer.sizes if name
            ]
            if chosen
            else [],
            "size": size,
        },
        picture=draw,
        modified=max((row["closed_at"] for row in rows if row["closed_at"]), default=None),
        facts=[gaps, process, over.until.isoformat() if not rows else ""],
        keys=[key],
    )


def _size(primer: TimeFrame, key: Key) -> str:
    return str(key.params.get("size") or next(iter(primer.sizes)))


def _chosen(primer: TimeFrame, key: Key) -> list[Mapping[str, Any]]:
    """Return the own parameters of the products that a key means: its own, or those of all."""
    own = {one.name: key.params.get(one.name) for one in primer.own_parameters}
    if not primer.own_parameters:
        return [{}]
    return [own] if None not in own.values() else list(primer.products())


@dataclass(frozen=True)
class _Reach:
    """Of which windows of a product there ought to be frames: those from ``first`` on that end by ``due``."""

    first: datetime | None
    due: datetime | None


def _reach(
    primer: TimeFrame, params: Mapping[str, Any], size: str, found: Sequence[Mapping[str, Any]]
) -> _Reach:
    """Return how far a product's frames ought to be: as far as its stream is, where that is in one of the project's
    databases; else as far as they are (a page asks no other program).
    """
    own = dict(params)
    try:
        stream = (horizon.base_of(primer) or primer).stream_of(own)
        if stream.database is not None:
            seen = horizon.look(primer, own, spread.alias_of(primer))
            return _Reach(seen.first, seen.due)
    except Exception as error:  # the project's own code: what is there is shown all the same
        logger.warning("page.unreadable key=%s error=%r", primer.name, error)
    newest = frames.listed(str(primer.series_key(params, size)), limit=1)
    return _Reach(min((row["start"] for row in found), default=None), newest[0]["end"] if newest else None)


def _spans(
    primer: TimeFrame,
    params: Mapping[str, Any],
    size: str,
    found: Sequence[Mapping[str, Any]],
    over: Range,
) -> Iterator[Span]:
    """Yield the stretches of a product's time: its frames, and the windows that have none though they ought to."""
    reach: _Reach | None = None
    bounds = [
        one.until for one in (primer, horizon.base_of(primer)) if one is not None and one.until is not None
    ]
    by_start = {row["start"]: row for row in found}
    start = primer.sizes[size].start_of(over.start)
    walked = 0
    while start < over.until and walked < MOST_FRAMES:
        end, walked = primer.end_of(size, start), walked + 1
        row = by_start.get(start)
        if row is not None:
            yield Span(start, end, _state(row))
        elif bounds and end > min(bounds):
            pass  # nobody wants it
        elif end > over.now - primer.lateness:
            yield Span(start, min(end, over.now), "in progress")
        else:
            reach = reach or _reach(primer, params, size, found)  # asked for where something is missing
            if reach.first is not None and start >= reach.first:
                awaited = reach.due is None or end > reach.due
                yield Span(start, min(end, over.now), "in progress" if awaited else "gap")
        start = primer.sizes[size].after(start)


def _gap(key: Key, span: Span) -> dict[str, Any]:
    """Return what is told of a window that was never planned, as of a frame."""
    row: dict[str, Any] = dict.fromkeys(frames.NAMES)
    return row | {
        "key": str(key),
        "start": span.start,
        "end": span.end,
        "state": "gap",
        "complete": False,
        "late": 0,
        "attempts": 0,
        "reason": NEVER_PLANNED,
    }


def _state(row: Mapping[str, Any]) -> State:
    if row["state"] == "closed":
        if row["again"]:
            return "late"
        return "complete" if row["complete"] else "gap"
    if row["state"] == "planned":
        return "in progress"
    return "back-filling" if row["state"] == "computing" else "gap"


def policy(primer: TimeFrame) -> str:
    """Return in words what is done about items that come late."""
    if primer.lateness:
        accepts = _("A window waits %(span)s after its end for items that come late.") % {
            "span": wording.span(primer.lateness.total_seconds())
        }
    else:
        accepts = _("A window is closed as it ends.")
    after = (
        _("What comes later than that makes another revision of it.")
        if primer.late == "revise"
        else _("What comes later than that is counted, and changes nothing.")
    )
    return f"{accepts} {after}"


def _sentence(label: str, rows: Sequence[Mapping[str, Any]], missing: int) -> str:
    closed = sum(row["state"] == "closed" for row in rows)
    late = sum(row["late"] for row in rows)
    failed = sum(row["state"] in ("failed", "parked") for row in rows)
    parts = [
        wording.count(closed, "%(count)s frame is closed", "%(count)s frames are closed"),
        wording.count(failed, "%(count)s fails", "%(count)s fail") if failed else "",
        wording.count(missing, "%(count)s gap", "%(count)s gaps") if missing else "",
        wording.count(late, "%(count)s item came late", "%(count)s items came late") if late else "",
    ]
    return f"{label}: {', '.join(filter(None, parts))}."


def _row(row: Mapping[str, Any], over: Range) -> dict[str, Any]:
    return {
        "key": row["key"],
        "start": row["start"].astimezone(over.zone).isoformat(),
        "end": row["end"].astimezone(over.zone).isoformat(),
        "state": row["state"],
        "items": row["items"],
        "late": row["late"],
        "revision": row["revision"],
        "complete": row["complete"],
        "closed_at": row["closed_at"].isoformat() if row["closed_at"] else None,
        "reason": row["reason"] or row["parked_why"] or None,
        "error": row["last_error"].partition("\n")[0] if row["attempts"] else None,
    }


def _shown(row: Mapping[str, Any], over: Range, process: bool) -> dict[str, Any]:
    start, end = row["start"].astimezone(over.zone), row["end"].astimezone(over.zone)
    length = end - start
    by = "hour" if length < timedelta(hours=23) else "day" if length < timedelta(days=2) else "week"
    why = (
        row["reason"]
        or row["parked_why"]
        or (row["last_error"].partition("\n")[0] if row["attempts"] else "")
    )
    never = row["reason"] == NEVER_PLANNED
    return {
        "window": moment(start, end, by),
        "key": row["key"],
        "state": str(_WORDS.get(row["state"], row["state"])),
        "process": deed_address(row["key"], "refresh") if process and _may_be_processed(row) else "",
        "incomplete": row["state"] == "closed" and not row["complete"],
        "items": wording.number(row["items"]),
        "late": wording.number(row["late"]) if row["late"] else "",
        "revision": wording.number(row["revision"]),
        "took": wording.span(row["compute_ms"] / 1000) if row["compute_ms"] is not None else wording.MISSING,
        "why": _("It was never planned: has a worker run meanwhile?") if never else why,
        "href": address("products", row["key"]),
    }


def _may_be_processed(row: Mapping[str, Any]) -> bool:
    """Whether somebody may want a frame computed: it is missing, failed, given up or not complete."""
    if row["state"] == "planned":
        return bool(row["attempts"])
    return row["state"] != "computing" and not (row["state"] == "closed" and row["complete"])
