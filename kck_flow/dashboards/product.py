"""One product's page: a metric's, a process's, or what there is to know of any cached thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import wording
from ..drawing.sheet import Annotation
from ..key import Key
from ..metric import Metric
from ..permission import may
from ..process import Process
from ..registry import registry
from ..timeframe import TimeFrame
from . import compared, frames, known, members, processes, reading, sliced, tiles
from .ages import aged
from .captions import Caption, caption
from .drawn import chart_of, failures_of, notes_of
from .faces import Refused
from .pages import Page, address, href, place_of, point_row
from .ranges import Range

POINTS = ("start", "end", "value", "complete")
# What of the context says more than the rows do: when it changes, the page has.
_FACTS = (
    "facets", "needs", "feeds", "around", "keeping", "cause", "cost", "runs", "why_next", "deeds",
    "value_text", "redefined", "statements",
)  # fmt: skip


def page(
    key: Key, user: Any, over: Range, place: str, split: str, asked: Mapping[str, Any] | None = None
) -> Page:
    """Return the page of a product.

    Args:
        place: Under which the address stands: ``processes, metrics, products, frames``.
        split: The facet by which a process is split; empty for none.
        asked: The parameters of the address: which facet value is asked for.

    Raises:
        BadParameter: it has no such facet.
        Refused: it is not what that place is about, or has nothing to give.
    """
    primer = registry.primers.get(key.key_base)
    one = sliced.asked_for(key, asked or {})
    if place == "processes":
        if not isinstance(primer, Process):
            raise Refused(404, "Not found", f"{str(key)!r} is no process. Its page is {href(caption(key))}.")
        return processes.page(key, primer, user, over, split)
    if place == "frames":
        if not isinstance(primer, TimeFrame):
            raise Refused(
                404, "Not found", f"{str(key)!r} is no time frame. Its page is {href(caption(key))}."
            )
        return frames.page(key, primer, over, user)
    if place == "metrics" and not isinstance(primer, Metric):
        raise Refused(404, "Not found", f"{str(key)!r} is no metric. Its page is {href(caption(key))}.")
    return series_page(key, user, over, "metric.html" if place == "metrics" else "product.html", one, asked)


def _ageless(told: Any) -> Any:
    """Return what is known without ages, which move on by themselves."""
    if isinstance(told, list):
        return [_ageless(one) for one in told]
    return {name: one for name, one in told.items() if name != "age"} if isinstance(told, dict) else told


# -- a series


def series_page(
    key: Key,
    user: Any,
    over: Range,
    template: str,
    one: sliced.Slice | None = None,
    asked: Mapping[str, Any] | None = None,
) -> Page:
    """Return a product over a range: its number, its chart, the table of the same numbers, and what is known of it; or
    one facet value of it.

    Args:
        asked: The parameters of the address: which two points of it are compared.

    Raises:
        BadParameter: there are no such points.
    """
    shown = reading.read([key])[key]
    if one is not None:
        shown = sliced.shown(shown, one)
    words = shown.caption
    if one is None:
        trend = reading.trends([key], over, {key: words}, {key: shown})[key]
    else:
        trend = sliced.trend(shown, one, over)
    here = {**over.given, **(one.given if one is not None else {})}
    tile = tiles.tile(shown, trend, over, href(words, here))
    notes = notes_of([key], over)
    failures = failures_of(key, over) if one is None else []
    chart = chart_of(words, trend, over, notes=notes, failures=failures)
    beside = compared.of(key, words, trend, over, asked or {})
    context: dict[str, Any] = {
        "shown": shown,
        "words": words,
        "tile": tile,
        "trend": trend,
        "chart": chart,
        "strip": strip(shown, detailed(user, key)),
        "deeds": known.deeds(key, user),
        "addresses": addresses(words, here),
        "members_href": members.rows_href(key, user, one.given if one is not None else {}),
        "members_why": members.why_none(key, user),
        "description": words.description,
        "notes": notes_text(notes, over),
        "compared": beside,
        "here": here,
    }
    if template == "product.html":
        context |= known.about(key, user, detailed(user, key), shown.value)
        context["strip"] = strip(shown, detailed(user, key), context.get("why_next", ""))
        context["slices"] = sliced.choices(context["facets"], one)
        _link_facets(context["facets"], words, over, bool(context["members_href"]))
    return Page(
        template,
        words.label,
        columns=POINTS,
        rows=[
            point_row(local(one.start, over), local(one.end, over), one.value, one.complete)
            for one in trend.points
        ],
        meta={
            "key": str(key),
            "label": words.label,
            "kind": words.kind,
            "unit": words.unit or None,
            "unit_plural": words.unit_plural or None,
            "goal": words.goal,
            "good": words.good,
            "state": shown.state,
            "version": shown.version,
            "computed_at": shown.computed_at if shown.version else None,
            "fresh_until": shown.soft_expires_at or shown.hard_expires_at,
            "value": tiles.headline(shown, trend, over),
            "before": trend.before,
            "compared": list(beside.values) if beside is not None and beside.values is not None else None,
            "facet": {one.name: one.text} if one is not None else None,
            **over.told(),
        },
        context=context,
        picture=lambda theme, width: (
            chart_of(words, trend, over, notes=notes, failures=failures, theme=theme, width=width).svg
        ),
        modified=shown.computed_at if shown.version else None,
        facts=[
            shown.state,
            shown.version,
            shown.value,
            shown.error,
            trend.before,
            [words.unit, words.unit_plural, words.good, words.goal, words.precision, words.description],
            notes_text(notes, over),
            len(failures),
            failures[-1:],
            [beside.said, beside.lines] if beside is not None else [],
            {name: _ageless(context.get(name)) for name in _FACTS},
        ],
        layout={"show": "bars" if words.rollup == "sum" else "line", "goal": words.goal, "by": over.by},
        keys=[key],
    )


def _link_facets(facets: list[dict[str, Any]], words: Caption, over: Range, may_be_seen: bool) -> None:
    """Have each value of a facet lead to how it went, and the number of a stock's to the rows that it counts."""
    for facet in facets:
        for row in facet["rows"]:
            value = row.pop("is", None)
            if value is not None:
                asked = members.given(value)
                row["href"] = href(words, {**over.given, **asked})
                if may_be_seen:
                    row["rows_href"] = address("members", words.key, **asked)


def local(at: datetime, over: Range) -> datetime:
    """Return an instant with the offset of the range's zone."""
    return at.astimezone(over.zone)


def strip(shown: reading.Shown, detail: bool, why: str = "") -> list[tuple[str, str]]:
    """Return what is known of a product's freshness, (what, how it is) each.

    Args:
        detail: Whether what was raised is told.
        why: What the next refresh is wanted for, in words.
    """
    now = shown.now
    found = [(_("State"), str(wording.STATES[shown.state]))]
    if shown.computed_at is not None and shown.version:
        found.append(
            (
                _("Computed"),
                format_html("{} ({})", wording.instant(shown.computed_at, now), aged(shown.computed_at, now)),
            )
        )
    elif shown.computed_at is not None:
        found.append((_("Computed"), _("as you asked: it is kept current by each change")))
    for name, at in ((_("Fresh until"), shown.soft_expires_at), (_("Served until"), shown.hard_expires_at)):
        if at is not None:
            found.append((name, wording.instant(at, now)))
    if shown.due_at is not None:
        ahead = aged(shown.due_at, now, "ahead")
        told = format_html("{} ({})", wording.instant(shown.due_at, now), ahead)
        found.append((_("Next refresh"), format_html("{}, {}", told, why) if why else told))
    if shown.version:
        found.append((_("Version"), wording.number(shown.version)))
    if shown.bytes:
        found.append((_("Size"), wording.bytes_text(shown.bytes)))
    if shown.error:
        times = ngettext("failed once", "failed %(count)s times in a row", shown.attempts) % {
            "count": shown.attempts
        }
        found.append((_("Failing"), f"{times}: {shown.error}" if detail else times))
    return found


def notes_text(notes: Sequence[Annotation], over: Range) -> list[tuple[str, str]]:
    """Return what was noted, (when, what) each."""
    found = []
    for one in notes:
        when = wording.day(one.at.astimezone(over.zone))
        if one.end is not None:
            when = f"{when} – {wording.day(one.end.astimezone(over.zone))}"
        found.append((when, one.text))
    return found


def addresses(words: Caption, here: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return where else a product is to be had, (what, text to copy) each."""
    place = place_of(words)
    key = str(words.key)
    return [
        ("JSON", address(place, key, "json", **here)),
        ("CSV", address(place, key, "csv", **here)),
        ("SVG", address(place, key, "svg", **here)),
        (_("Template"), f'{{% load kck_flow %}}{{% kck_value "{key}" %}}'),
        ("Python", f"Cache.get_instance().get({key!r})"),
        (_("Command line"), f"manage.py kck get {key}"),
    ]


def detailed(user: Any, key: Key) -> bool:
    """Whether a user is told what was raised and where: it may name what others may not see."""
    return bool(getattr(user, "is_staff", False)) or may(user, "refresh", key)
