"""A tile: one product's number, how it changed, and how it went, as a link with one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from .. import wording
from ..drawing.charts import sparkline
from ..drawing.coverage import goal_bar
from ..drawing.sheet import Sheet
from ..key import Key
from ..memo import Memo, Same
from ..metric import rolled
from ..windows import UNITS
from .ages import aged, with_age
from .captions import Caption
from .pages import short
from .ranges import Range
from .reading import Shown, Trend, comparable

TEMPLATE = "kck_flow/_tile_and_rows.html"
ARROWS: Mapping[str, str] = {"up": "▲", "down": "▼", "same": "=", "": ""}


@dataclass(slots=True)
class Tile:
    """What a tile says, in words that need no further thought.

    Attributes:
        name: Its one accessible name.
        number, unit: The number and its unit, or a dash.
        state, state_text: The state; what the chip says, empty where the product is fresh; ``chip`` as HTML.
        direction, arrow, change, share, tone: How it has changed against the older range; empty where not known.
        against: What that is.
        note: A sentence where there is nothing to show.
        spark: The picture, as SVG; empty where there is none.
        goal: The bar of the goal, as SVG, empty where there is none; ``goal_text`` in words.
        rows_href: Where the rows behind the number are; empty where it has none, or the user may not see them.
    """

    key: Key
    label: str
    name: str
    number: str
    unit: str
    state: str
    state_text: str
    direction: str = ""
    arrow: str = ""
    change: str = ""
    share: str = ""
    tone: str = ""
    against: str = ""
    note: str = ""
    spark: str = ""
    goal: str = ""
    goal_text: str = ""
    href: str = ""
    rows_href: str = ""
    wide: bool = False
    chip: str = ""
    suffix: str = ""

    @property
    def slug(self) -> str:
        """An id for the page's own use."""
        return f"k{self.key.digest.hex[:12]}{self.suffix}"

    def as_html(self) -> str:
        """Return it as HTML, with the link to its rows."""
        if settings.DEBUG:  # whoever is at work on a template of his own sees it
            return render_to_string(TEMPLATE, {"tile": self})
        told = tuple(getattr(self, one.name) for one in fields(self))
        name = self.key, self.suffix, self.href, get_language()
        return _shown.get(name, told, lambda: render_to_string(TEMPLATE, {"tile": self}))


# What was said of a product last. One that is fresh is the same as long as its number and its points are.
_known: Memo[Tile] = Memo(1024)
_shown: Memo[str] = Memo(1024)


def tile(shown: Shown, trend: Trend | None, over: Range, href: str, suffix: str = "") -> Tile:
    """Return the tile of a product.

    Args:
        suffix: What tells it from another tile of the same product on its page.
    """
    if shown.state != "fresh":  # it says how old it is, or when it will be there
        return _tile(shown, trend, over, href, suffix)
    told = shown.version, shown.computed_at if shown.version else None, shown.missing, shown.bytes
    numbers = (shown.value, shown.number, *((trend.number, trend.before) if trend is not None else ()))
    made_of = Same(shown.caption), trend, over.signature, told, repr(numbers)  # 1 and 1.0 read differently
    name = shown.key, suffix, href, get_language()
    return copy(_known.get(name, made_of, lambda: _tile(shown, trend, over, href, suffix)))


def _tile(shown: Shown, trend: Trend | None, over: Range, href: str, suffix: str) -> Tile:
    words = shown.caption
    number = headline(shown, trend, over)
    made = Tile(
        shown.key,
        words.label,
        "",
        words.number(number) if number is not None or not _has_other(shown) else _other(shown),
        unit_text(words, number, over, trend),
        shown.state,
        state_text(shown),
        href=href,
        chip=chip(shown),
        suffix=suffix,
    )
    before = trend.before if trend is not None else None
    now = comparable(words, trend, over) if trend is not None and words.rollup != "last" else number
    if trend is not None and before is not None and now is not None:
        made.direction, made.change, made.share = wording.change(now, before, words.form, words.precision)
        made.arrow, made.tone = ARROWS[made.direction], words.tone(made.direction)
        made.against = over.compared_text
    if number is None and not _has_other(shown):
        made.note = nothing_text(shown, trend)
    if trend is not None and sum(one.value is not None for one in trend.points) > 1:
        made.spark = sparkline(trend.points, Sheet(named=False, width=168, height=40, cursor=False))
    reached = towards_goal(words, number, trend, over)
    if words.goal is not None and words.good == "down":
        made.goal_text = _("goal: at most %(goal)s") % {"goal": words.with_unit(words.goal)}
    elif words.goal is not None and reached is not None:
        made.goal = goal_bar(reached, words.goal, Sheet(id=f"{made.slug}g", width=168, height=6))
        share = wording.exact(reached) / wording.exact(words.goal) if words.goal else 1
        made.goal_text = str(_of_goal(words)) % {
            "share": wording.number(share, "percent", 0),
            "goal": words.with_unit(words.goal),
        }
    made.name = _name(made)
    return made


def _of_goal(words: Caption) -> Any:
    """Return how it is said how near a goal is: of what is added up, it is that of one period."""
    per = {
        "hour": _("%(share)s of the goal: %(goal)s per hour"),
        "day": _("%(share)s of the goal: %(goal)s per day"),
        "week": _("%(share)s of the goal: %(goal)s per week"),
        "month": _("%(share)s of the goal: %(goal)s per month"),
    }
    period = getattr(words.primer, "period", None)
    plain = _("%(share)s of the goal, %(goal)s")
    return per.get(period, plain) if words.rollup == "sum" and isinstance(period, str) else plain


def headline(shown: Shown, trend: Trend | None, over: Range) -> Any:
    """Return the number that stands for a product: of what is added up, and of a range that is over, that of the range;
    else what it is now.
    """
    if trend is not None and (shown.caption.rollup != "last" or over.end <= over.now):
        return trend.number
    if shown.number is None and trend is not None and shown.state in ("failed", "stale", "computing"):
        return trend.number  # the last good one
    return shown.number


def towards_goal(words: Caption, number: Any, trend: Trend | None, over: Range) -> Any:
    """Return what is compared with a goal: the number; of what is added up, whose goal is one of a period, the average
    of those that are over. None where that is not known, or the steps are other periods.
    """
    if words.rollup != "sum":
        return number
    period = getattr(words.primer, "period", getattr(words.primer, "window", None))
    if trend is None or period != over.by:
        return None
    return rolled([one.value for one in trend.points if over.is_over(one.end)], "mean")


def unit_text(words: Caption, number: Any, over: Range, trend: Trend | None = None) -> str:
    """Return what stands below a number: its unit, and over which periods it is added up."""
    unit = words.unit_of(number)
    if words.rollup == "last":
        return unit
    how = {"mean": _("on average"), "min": _("at least"), "max": _("at most")}.get(words.rollup, "")
    by, steps = over.by, over.steps
    period = getattr(words.primer, "period", by)
    if trend is not None and period in UNITS and UNITS.index(period) > UNITS.index(by):
        by, steps = period, len(trend.points)  # its own periods are longer than the steps of the range
    return " ".join(part for part in (unit, how, _span_text(by, steps, over.end > over.now)) if part)


def _span_text(by: str, steps: int, lasts: bool) -> str:
    """Return how many periods, in words; the one that lasts by its own name."""
    if steps == 1 and lasts:
        return {
            "hour": _("this hour"), "day": _("today"), "week": _("this week"), "month": _("this month"),
        }[by]  # fmt: skip
    if by == "hour":
        return wording.count(steps, "in %(count)s hour", "in %(count)s hours")
    if by == "day":
        return wording.count(steps, "in %(count)s day", "in %(count)s days")
    if by == "week":
        return wording.count(steps, "in %(count)s week", "in %(count)s weeks")
    return wording.count(steps, "in %(count)s month", "in %(count)s months")


def state_text(shown: Shown) -> str:
    """Return what the chip says: nothing of a fresh product."""
    if shown.state == "fresh":
        return ""
    text = str(wording.STATES[shown.state])
    return (
        f"{text} · {wording.span(shown.age)}"
        if shown.age is not None and shown.state != "computing"
        else text
    )


def chip(shown: Shown) -> str:
    """Return what the chip says, as HTML whose age stays true: nothing of a fresh product."""
    if shown.state in ("fresh", "computing") or shown.computed_at is None:
        return state_text(shown)
    state = str(wording.STATES[shown.state])
    return format_html("{} · {}", state, aged(shown.computed_at, shown.now, "span"))


def nothing_text(shown: Shown, trend: Trend | None) -> str:
    """Return why there is no number, and what will change that."""
    if shown.state == "failed":
        return _("It could not be computed.")
    if shown.state == "computing":
        return _("It is being computed.")
    if trend is not None and trend.problem:
        return trend.problem
    if shown.state == "empty" and shown.missing and shown.missing != "never computed":
        return shown.missing
    if shown.due_in is not None:
        return _("Never computed; it will be %(when)s.") % {"when": wording.ahead(shown.due_in)}
    if shown.state == "empty":
        return _("Never computed; it is now asked for.")
    return _("No value then.")


def _has_other(shown: Shown) -> bool:
    return (
        shown.caption.rollup == "last"
        and shown.number is None
        and shown.has_value
        and (shown.value is not None or shown.bytes is not None)
    )


def _other(shown: Shown) -> str:
    value = shown.value
    if isinstance(value, str) and len(value) <= 40:
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return ngettext("%(count)s item", "%(count)s items", len(value)) % {
            "count": wording.number(len(value))
        }
    if isinstance(value, Mapping):
        return ngettext("%(count)s entry", "%(count)s entries", len(value)) % {
            "count": wording.number(len(value))
        }
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return wording.bytes_text(shown.bytes) if shown.bytes is not None else wording.MISSING


def _name(made: Tile) -> str:
    """Return the one name of the link: label, number, unit, change, state."""
    parts = [
        f"{made.label} {made.number} {made.unit}".strip() if not made.note else f"{made.label}: {made.note}"
    ]
    if made.direction:
        parts.append(change_text(made.direction, made.share or made.change, made.against))
    parts.append(made.state_text or str(wording.STATES["fresh"]))
    return ", ".join(parts)


def change_text(direction: str, amount: str, against: str) -> str:
    """Return a change in words: ``up 6.8 % against the 30 days before``."""
    amount = amount.lstrip("+").lstrip(wording.MINUS)
    if direction == "up":
        return _("up %(amount)s against %(before)s") % {"amount": amount, "before": against}
    if direction == "down":
        return _("down %(amount)s against %(before)s") % {"amount": amount, "before": against}
    return _("as much as in %(before)s") % {"before": against}


def freshness(shown: Sequence[Shown]) -> tuple[str, str]:
    """Return (the worst state, a sentence as HTML): how many of a page's products are fresh, which are not, what comes
    next.
    """
    if not shown:
        return "empty", _("There is nothing here yet.")
    fresh = sum(one.state == "fresh" for one in shown)
    parts: list[str] = [
        ngettext("%(fresh)s of %(count)s is fresh", "%(fresh)s of %(count)s are fresh", len(shown))
        % {"fresh": wording.number(fresh), "count": wording.number(len(shown))}
    ]
    worst = "fresh"
    for state in ("computing", "empty", "stale", "failed"):
        those = [one for one in shown if one.state == state]
        if those:
            worst = state
            first = those[0]
            text = f"{wording.number(len(those))} {wording.STATES[state]}"
            if len(those) == 1 and first.computed_at is not None:
                age = aged(first.computed_at, first.now, "span")
                parts.append(format_html("{} ({}, {})", text, first.caption.label, age))
            else:
                parts.append(f"{text} ({first.caption.label})" if len(those) == 1 else text)
    due = [one.due_at for one in shown if one.due_at is not None]
    if due:
        when = aged(min(due), shown[0].now, "ahead")
        parts.append(with_age(_("next refresh %(when)s"), when=when))
    return worst, format_html_join(" · ", "{}", ((part,) for part in parts))


# -- as JSON and CSV have it

ROW = (
    "section", "key", "label", "kind", "value", "unit", "state", "computed_at", "before", "change", "direction", "tone",
    "goal",
)  # fmt: skip


def row(section: str, made: Tile, shown: tuple[Shown, Tile, Trend], over: Range) -> dict[str, Any]:
    """Return a tile as JSON and CSV have it."""
    one, _tile, trend = shown
    value = headline(one, trend, over)
    known = trend.before is not None and value is not None
    return {
        "section": section,
        "key": short(one.key),
        "label": made.label,
        "kind": one.caption.kind,
        "value": value,
        "unit": one.caption.unit_of(value),
        "state": one.state,
        "computed_at": one.computed_at.isoformat() if one.computed_at and one.version else None,
        "before": trend.before if known else None,
        "change": made.change or None,
        "direction": made.direction or None,
        "tone": made.tone or None,
        "goal": one.caption.goal,
    }
