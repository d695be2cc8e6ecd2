"""A product over time, page by page: what it held, what it counted, what it measured.

A page begins where the one before ended, by the instant of its last row, and all pages of a walk end where the first
one saw the end: rows that are added meanwhile are neither seen nor push others aside.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.http import HttpRequest

from .. import clock, spread
from ..cache.facade import Cache
from ..cache.measured import metric_of
from ..dashboards import faces, ranges, reading, sliced
from ..dashboards.faces import Refused
from ..dashboards.pages import Page, address, point_row
from ..entry import Point
from ..errors import DeclarationError, NotPrimed
from ..key import Key
from ..metric import Metric
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import records
from ..store.records import EPOCH
from ..store.session import caller
from ..timeframe import TimeFrame
from ..topic import Topic
from ..windows import UNITS, Window
from . import values

COLUMNS: Final = ("start", "end", "value", "complete")
# Any of them asks for a series, and so does a facet value; without them an address gives the value.
ASKING: Final = ("range", "from", "to", "by", "complete", "limit", "next", "order")
ORDERS: Final = ("asc", "desc")
LIMIT, MOST = 1000, 10_000
_STEP: Final = timedelta(microseconds=1)
# Rows that are read at a time where all of them are streamed.
_BATCH: Final = 2000


@dataclass(frozen=True)
class Asked:
    """What of a series is asked for.

    Attributes:
        start, end: Aware; what begins in ``[start, end)``.
        by: The step, or None for the product's own.
        after: Where the page before ended: ascending, from there on; descending, what lies before. None at the outset.
        bound: The largest id of a record that counts.
        until_now: Whether it ends now, rather than at an instant that was asked for or that a page before saw.
        facet: The facet value that it is of, or None for all.
    """

    start: datetime
    end: datetime
    by: str | None
    zone: ZoneInfo
    complete: bool
    newest_first: bool
    limit: int | None
    bound: int = 0
    after: datetime | None = None
    until_now: bool = False
    facet: sliced.Slice | None = None


def is_asked_for(request: HttpRequest) -> bool:
    """Whether a request wants a series, rather than a value."""
    return any(name in request.GET for name in ASKING) or bool(sliced.given(request.GET))


def refuse_elsewhere(request: HttpRequest, face: str) -> None:
    """Raise Refused where pages of rows are asked for of a face that has none."""
    for name in ("limit", "next", "order"):
        if name in request.GET:
            raise Refused(
                400,
                "Bad parameter",
                f"{name} is for .json and .csv; the face {face} has no pages.",
                parameter=name,
            )


def page(request: HttpRequest, key: Key, face: str) -> Page:
    """Return a part of a product's series as a page with the faces JSON and CSV.

    Raises:
        Refused: it has no series, or a parameter is wrong.
        BadParameter: a parameter is wrong.
    """
    primer = registry.primers.get(key.key_base)
    _refuse_without_series(key, primer)
    assert primer is not None
    asked = read(request, primer, key)
    shown = reading.read([key])[key]
    if asked.facet is not None:
        shown = sliced.shown(shown, asked.facet)
    words = shown.caption
    made = Page(
        "product.html",
        words.label,
        columns=COLUMNS,
        meta={
            "key": str(key),
            "label": words.label,
            "kind": words.kind,
            **({"facet": {asked.facet.name: asked.facet.text}} if asked.facet is not None else {}),
            "unit": words.unit or None,
            "unit_plural": words.unit_plural or None,
            "state": shown.state,
            "version": shown.version,
            "computed_at": shown.computed_at if shown.version else None,
            "fresh_until": shown.soft_expires_at or shown.hard_expires_at,
            "from": asked.start.astimezone(asked.zone) if asked.start > EPOCH else None,
            "to": asked.end.astimezone(asked.zone),
            "by": asked.by,
            "order": "desc" if asked.newest_first else "asc",
            "zone": asked.zone.key,
            "unstable": True,
        },
        modified=shown.computed_at if shown.version else None,
        facts=[shown.state, shown.version, shown.computed_at if shown.version else None],
        layout={
            "show": "bars" if words.rollup == "sum" else "line",
            "goal": words.goal,
            "good": words.good,
            "by": asked.by,
            "columns": COLUMNS,
        },
        public=values.is_public(primer),
    )
    if face == "csv" and asked.limit is None and _has_records(primer, asked):
        made.facts = [asked.bound, *made.facts, *_ends(key, primer, asked)]
        made.csv_rows = lambda: _streamed(key, primer, asked)
        return made
    limit = asked.limit or (MOST if face == "csv" else LIMIT)
    try:
        points, after = _some(key, primer, asked, limit)
    except NotPrimed as error:
        raise Refused(503, "Not computed", str(error), headers={"Retry-After": "60"}, key=str(key)) from None
    except (ValueError, DeclarationError) as error:
        raise Refused(400, "Bad parameter", str(error), parameter="by") from None
    points = [reading.lasting(one, shown) if _lasts(one, asked, shown.now) else one for one in points]
    made.rows = [_row(one, asked.zone) for one in points if one.complete or not asked.complete]
    made.next = _token(replace(asked, after=after)) if after is not None else None
    return made


def _refuse_without_series(key: Key, primer: Primer | None) -> None:
    if isinstance(primer, Process):
        where = address("processes", key, "json")
        raise Refused(404, "No series", f"{str(key)!r} is a process; its series are at {where}.")
    timed = isinstance(primer, (Metric, Flow, Stock, TimeFrame)) or (
        isinstance(primer, Topic) and primer.sizes
    )
    if not timed and (primer is None or not primer.keep_history):
        raise Refused(
            404, "No series", f"Nothing is kept of what {str(key)!r} was. Its primer says so: keep_history."
        )


def _lasts(point: Point, asked: Asked, now: datetime) -> bool:
    """Whether a point is of the step that now is in, or of the record that holds now."""
    if point.complete or point.end is None:
        return False
    return reading.is_in_progress(point, now) or (asked.until_now and point.end == asked.end)


def _row(point: Point, zone: ZoneInfo) -> dict[str, Any]:
    row = point_row(point.start.astimezone(zone), point.start, point.value, point.complete)
    row["end"] = point.end.astimezone(zone).isoformat() if point.end is not None else None
    return row


# -- what is asked for


def read(request: HttpRequest, primer: Primer, key: Key) -> Asked:
    """Return what of a series a request asks for.

    Raises:
        Refused, BadParameter: a parameter is wrong.
    """
    given = {name: str(value) for name, value in request.GET.items()}
    zone = ranges.zone_of(given.get("tz", ""))
    order = given.get("order") or "asc"
    if order not in ORDERS:
        raise Refused(400, "Bad parameter", f"order is asc or desc, not {order!r}.", parameter="order")
    limit = faces.number(request, "limit", None, 1, MOST)
    asked = Asked(
        EPOCH,
        clock.now(),
        given.get("by") or None,
        zone,
        ranges.flag(given.get("complete", "")),
        order == "desc",
        limit,
        facet=sliced.asked_for(key, given),
    )
    _refuse_by(primer, asked.by)
    if given.get("next"):
        return _continued(asked, given["next"])
    return _outset(asked, given, primer, key)


def _refuse_by(primer: Primer, by: str | None) -> None:
    own = list(primer.sizes) if isinstance(primer, (TimeFrame, Topic)) else UNITS
    if by is not None and by not in own and by not in UNITS:
        names = [name for name in own if name]
        raise ranges.BadParameter(
            "by", f"by is one of {', '.join(names)}, not {by!r}.{ranges.near(by, names)}"
        )


def _outset(asked: Asked, given: dict[str, str], primer: Primer, key: Key) -> Asked:
    now = asked.end
    if given.get("from") or given.get("to"):
        end = ranges.instant("to", given["to"], asked.zone, last=True) if given.get("to") else now
        start = ranges.instant("from", given["from"], asked.zone) if given.get("from") else None
    else:
        end, start = now, None
        if given.get("range"):
            start = ranges.read({"range": given["range"], "tz": given.get("tz", "")}, now).start
    end = min(end, now)  # what is yet to come belongs to a later walk
    if start is None:
        start = EPOCH if _is_kept(primer) and not asked.by else end - timedelta(days=30)
    if start >= end:
        raise ranges.BadParameter(
            "from", f"from ({start.isoformat()}) must lie before to ({end.isoformat()})."
        )
    bound = records.newest_id(caller(spread.alias_of(primer)))
    return replace(asked, start=start, end=end, bound=bound, until_now=end == now)


def _is_kept(primer: Primer) -> bool:
    """Whether its series are the records that there are, rather than steps."""
    return not isinstance(primer, (Metric, Flow, TimeFrame, Topic))


def _token(asked: Asked) -> str:
    assert asked.after is not None
    told = [*map(_micros, (asked.start, asked.end, asked.after)), asked.bound, asked.newest_first, asked.by]
    return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")


def _continued(asked: Asked, token: str) -> Asked:
    try:
        told = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        start, end, after = (EPOCH + timedelta(microseconds=one) for one in told[:3])
        bound, newest_first, by = told[3:]
        if not (isinstance(bound, int) and 0 <= bound < 2**63 and start < end and start <= after <= end):
            raise ValueError
        if start.year < 1900 or end.year > 2200:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise Refused(
            400, "Bad parameter", f"next is what the page before said, not {token!r}.", parameter="next"
        ) from None
    if (newest_first, by) != (asked.newest_first, asked.by):
        raise Refused(
            400,
            "Bad parameter",
            "next belongs to another order or by: follow the link as it is.",
            parameter="next",
        )
    return replace(asked, start=start, end=end, after=after, bound=bound)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // _STEP


# -- its rows


def _some(key: Key, primer: Primer, asked: Asked, limit: int) -> tuple[Sequence[Point], datetime | None]:
    """Return a page of points, and where the next one begins; None where there is none."""
    if _has_records(primer, asked):
        return _recorded(key, primer, asked, limit)
    window = _window(key, primer, asked.by)
    if window is None:
        return _loose(key, asked, limit)
    return _stepped(key, asked, window, limit)


def _has_records(primer: Primer, asked: Asked) -> bool:
    return asked.by is None and not isinstance(primer, (Metric, Flow, Stock, TimeFrame, Topic))


def _recorded(key: Key, primer: Primer, asked: Asked, limit: int) -> tuple[list[Point], datetime | None]:
    """Read records: each holds until the next, of whichever range that is."""
    session = caller(spread.alias_of(primer))
    start, end = asked.start, asked.end
    if asked.after is not None:
        start, end = (start, asked.after) if asked.newest_first else (asked.after, end)

    def some(start: datetime, end: datetime, limit: int, newest_first: bool) -> list[Any]:
        return records.page(
            session, key, start, end, newest_first=newest_first, bound=asked.bound, limit=limit
        )

    found = some(start, end, limit + 1, asked.newest_first)
    more, found = len(found) > limit, found[: limit + 1] if not asked.newest_first else found[:limit]
    if not found:
        return [], None
    if asked.newest_first:
        beyond = some(found[0][0] + _STEP, _FAR, 1, False)
        ends = [beyond[0][0] if beyond else None, *(at for at, _text in found)]
        kept = found
        after = found[-1][0] if more else None
    else:
        kept = found[:limit]
        beyond = [] if more else some(kept[-1][0] + _STEP, _FAR, 1, False)
        ends = [*(at for at, _text in found[1:]), beyond[0][0] if beyond else None][: len(kept)]
        after = found[limit][0] if more else None
    points = []
    for (at, text), until in zip(kept, ends, strict=False):
        value = primer.codec.decode(text) if text is not None else None
        points.append(Point(at, until, value, until is not None))
    return points, after


_FAR: Final = datetime(9000, 1, 1, tzinfo=EPOCH.tzinfo)


def _ends(key: Key, primer: Primer, asked: Asked) -> list[Any]:
    """Return the first and the last record of a range: with the bound they tell whether it is as it was."""
    session = caller(spread.alias_of(primer))
    found = [
        records.page(session, key, asked.start, asked.end, newest_first=last, bound=asked.bound, limit=1)
        for last in (False, True)
    ]
    return [[str(at) for at, _text in one] for one in found]


def _streamed(key: Key, primer: Primer, asked: Asked) -> Iterator[Sequence[Any]]:
    """Yield all rows of a CSV, a batch at a time in memory."""
    yield COLUMNS
    at: datetime | None = asked.after
    while True:
        points, at = _recorded(key, primer, replace(asked, after=at), _BATCH)
        for one in points:
            if one.complete or not asked.complete:
                yield tuple(_row(one, asked.zone).values())
        if at is None:
            return


def _window(key: Key, primer: Primer, by: str | None) -> Window | None:
    """Return the steps of a series; None where they are none."""
    if isinstance(primer, Metric):
        metric = metric_of(key)
        assert metric is not None
        return metric.windows if by in (None, metric.period) else Window(str(by), metric.tz)
    if isinstance(primer, Flow):
        return primer.windows if by is None else Window(by, primer.tz if by != "hour" else None)
    if isinstance(primer, (TimeFrame, Topic)):
        names = primer.sizes
        if by is None:
            return names[str(key.params.get("size") or next(iter(names)))]
        return names[by] if by in names else Window(by, primer.tz)
    return Window(by) if by is not None else None


def _read(key: Key, start: datetime, end: datetime, asked: Asked) -> list[Point]:
    """Read what a product was in a part of a range, or one of its facet values."""
    cache = Cache.get_instance()
    if asked.facet is None:
        return cache.series(str(key), start, end, asked.by)
    return sliced.points(cache.series(str(key), start, end, asked.by, asked.facet.name), asked.facet)


def _stepped(key: Key, asked: Asked, window: Window, limit: int) -> tuple[list[Point], datetime | None]:
    """Read as many steps as a page has."""
    low = window.start_of(asked.start)
    if asked.newest_first:
        high = asked.after or window.after(window.start_of(asked.end - _STEP))
        start = high
        for _number in range(limit):
            if start <= low:
                break
            start = window.start_of(start - _STEP)
        points = _read(key, start, min(high, asked.end), asked)
        return list(reversed(points)), start if start > low else None
    start = asked.after or low
    high = start
    for _number in range(limit):
        if high >= asked.end:
            break
        high = window.after(high)
    if start >= asked.end:
        return [], None
    return _read(key, start, min(high, asked.end), asked), high if high < asked.end else None


def _loose(key: Key, asked: Asked, limit: int) -> tuple[list[Point], datetime | None]:
    """Read what a stock held: a point for each of its records."""
    points = _read(key, asked.start, asked.end, replace(asked, by=None))
    points = [one for one in points if asked.start <= one.start < asked.end]
    if asked.newest_first:
        points = [one for one in reversed(points) if asked.after is None or one.start < asked.after]
        return points[:limit], points[limit - 1].start if len(points) > limit else None
    points = [one for one in points if asked.after is None or one.start >= asked.after]
    return points[:limit], points[limit].start if len(points) > limit else None
