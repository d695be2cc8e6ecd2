"""A product's series becomes a chart, its sentence and its table, in the active language and zone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import spread, wording
from ..conf import conf
from ..drawing.bars import bars, gains_and_losses
from ..drawing.charts import lines
from ..drawing.sheet import Annotation, Goal, Series, Sheet
from ..drawing.summary import Bucket, summary
from ..drawing.table import Table, table
from ..key import Key
from ..registry import registry
from ..store import runs
from ..store.annotations import within
from ..store.session import caller
from ..windows import week_start
from . import zooming
from .captions import Caption
from .ranges import Range
from .reading import Trend

WIDTH, HEIGHT = 960, 300
NARROW_WIDTH, NARROW_HEIGHT = 360, 240
HALF_WIDTH, HALF_HEIGHT = 560, 260  # where two stand beside each other


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, as it is for a desk and for a phone, its one sentence, the table of the same numbers, and what zooming
    into it takes.
    """

    svg: str
    narrow: str
    sentence: str
    table: Table
    points: str = ""


def sheet_of(
    words: Caption,
    over: Range,
    id: str,
    *,
    theme: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
    title: str = "",
) -> Sheet:
    """Return what a product's chart is drawn on."""
    return Sheet(
        id=id,
        title=title or words.label,
        width=width,
        height=height,
        theme=theme or None,  # type: ignore[arg-type]
        tab_stop=not theme,
        zone=over.zone,
        week_start=week_start(),
        number=words.number,
        tick=_tick,
        moment=lambda start, end: moment(start, end, over.by),
        gettext=_,
    )


def chart_of(
    words: Caption,
    trend: Trend,
    over: Range,
    *,
    notes: Sequence[Annotation] = (),
    failures: Sequence[datetime] = (),
    theme: str = "",
    width: int = WIDTH,
    height: int = HEIGHT,
    show: str = "",
) -> Chart:
    """Return the chart of one product over a range: bars of what is added up, a line of what is held.

    Args:
        failures: When it could not be computed.
        show: ``bars`` or ``line``, whatever it is.
    """
    as_bars = show == "bars" or (show != "line" and words.rollup == "sum")
    sheet = sheet_of(words, over, f"c{words.key.digest.hex[:10]}", theme=theme, width=width, height=height)
    series = [Series(words.label, trend.points)]
    if trend.older:
        series.append(Series(over.compared_text, trend.older, compares=True))
    sentence = sentence_of(words, trend.points, over)
    if failures:
        told = ngettext(
            "Of the refreshes that are remembered, %(count)s failed.",
            "Of the refreshes that are remembered, %(count)s failed.",
            len(failures),
        ) % {"count": wording.number(len(failures))}
        sentence = f"{sentence} {told}"
    sheet = replace(sheet, description=sentence, failures=_ticks(failures, over))
    period = getattr(words.primer, "period", getattr(words.primer, "window", None))
    aimed = words.goal is not None and (
        words.rollup != "sum" or period == over.by
    )  # a day's goal is none of a month
    goal = Goal(words.goal, _("goal %(goal)s") % {"goal": words.number(words.goal)}) if aimed else None

    def draw(on: Sheet) -> str:
        if as_bars:
            # An older range beside each bar would be a picture of neither.
            return bars(series[:1], on, goal=goal, annotations=notes)
        return lines(
            series,
            on,
            goal=goal,
            annotations=notes,
            zero=words.form != "percent" and _is_near_zero(trend.points),
        )

    if theme:
        return Chart(draw(sheet), "", sentence, table(series, sheet))
    kind = zooming.BAR if as_bars else zooming.LINE
    shown = [(zooming.OLDER if one.compares else kind, one) for one in series]
    points = zooming.points(shown, over, form=words.form, goal=goal, notes=notes)
    return Chart(draw(sheet), draw(narrowed(sheet)), sentence, table(series, sheet), points)


def _failed(count: int) -> str:
    return ngettext("It could not be computed once.", "It could not be computed %(count)s times.", count) % {
        "count": wording.number(count)
    }


def _ticks(failures: Sequence[datetime], over: Range) -> list[tuple[datetime, str]]:
    """Return a tick for each step in which something failed, (its beginning, what it says) each."""
    found: list[tuple[datetime, str]] = []
    begins = sorted(Counter(over.window.start_of(at) for at in failures).items())
    for start, count in begins:
        end = over.window.after(start)
        when = moment(start.astimezone(over.zone), end.astimezone(over.zone), over.by)
        found.append((start, f"{when}: {_failed(count)}"))
    return found


def narrowed(sheet: Sheet) -> Sheet:
    """Return what the same chart is drawn on for a phone."""
    return replace(sheet, id=f"{sheet.id}n", width=NARROW_WIDTH, height=NARROW_HEIGHT)


def flows_chart(
    gains: Sequence[tuple[str, Sequence[Any]]],
    losses: Sequence[tuple[str, Sequence[Any]]],
    net: tuple[str, Sequence[Any]] | None,
    sheet: Sheet,
    over: Range,
    notes: Sequence[Annotation] = (),
) -> Chart:
    """Return flows over time, gains above the axis and losses below."""
    ups = [Series(name, points) for name, points in gains]
    downs = [Series(name, points) for name, points in losses]
    line = Series(net[0], net[1]) if net is not None else None
    svg = gains_and_losses(ups, downs, line, sheet, annotations=notes)
    kinds = [*((zooming.UP, one) for one in ups), *((zooming.DOWN, one) for one in downs)]
    kinds += [(zooming.NET, line)] if line is not None else []
    points = zooming.points(kinds, over, notes=notes)
    return Chart(
        svg,
        gains_and_losses(ups, downs, line, narrowed(sheet), annotations=notes),
        sheet.description,
        table([one for _kind, one in kinds], sheet),
        points,
    )


def _is_near_zero(points: Sequence[Any]) -> bool:
    """Whether a line is seen well from zero: what moves within a tenth of its height is not."""
    values = [wording.exact(one.value) for one in points if one.value is not None]
    if not values:
        return True
    low, high = min(values), max(values)
    return low <= 0 or (high - low) > high / 10


def sentence_of(words: Caption, points: Sequence[Any], over: Range) -> str:
    """Return a series in one sentence."""
    per = {
        "hour": _("%(label)s per hour"),
        "day": _("%(label)s per day"),
        "week": _("%(label)s per week"),
        "month": _("%(label)s per month"),
    }[over.by]
    name = per % {"label": words.label} if words.rollup == "sum" else words.label
    return summary(
        name,
        points,
        zone=over.zone,
        bucket=over.by,  # type: ignore[arg-type]
        number=words.number,
        period=_period,
        when=_when,
        gettext=_,
        ngettext=ngettext,
    )


def _period(first: datetime, last: datetime) -> str:
    one, other = (
        str(formats.date_format(at, "DATE_FORMAT" if first.year != last.year else "MONTH_DAY_FORMAT"))
        for at in (first, last)
    )
    return one if first.date() == last.date() else _("%(first)s to %(last)s") % {"first": one, "last": other}


def _when(start: datetime, bucket: Bucket) -> str:
    if bucket == "year":
        return str(start.year)
    if bucket == "month":
        return str(formats.date_format(start, "YEAR_MONTH_FORMAT"))
    day = str(formats.date_format(start, "MONTH_DAY_FORMAT"))
    return day if bucket in ("day", "week") else f"{day}, {start:%H:%M}"


def moment(start: datetime, end: datetime, by: str) -> str:
    """Return which step of a series is meant: a day, the days of a week, a month, an hour."""
    if by == "month":
        return str(formats.date_format(start, "YEAR_MONTH_FORMAT"))
    day = str(formats.date_format(start, "D j M"))
    if by == "day" or (end - start >= timedelta(hours=23) and by != "week"):
        return day
    if by == "week":
        return f"{formats.date_format(start, 'j M')} – {formats.date_format(end - timedelta(microseconds=1), 'j M')}"
    return f"{day}, {start:%H:%M}"


def _tick(at: datetime, unit: str) -> str:
    """Say a tick of the axis of time by the unit that ticks are apart."""
    if unit == "year":
        return str(at.year)
    if unit == "month":
        return str(formats.date_format(at, "M Y" if at.month == 1 else "M"))
    if unit in ("day", "week"):
        return str(formats.date_format(at, "j M"))
    if (at.hour, at.minute) == (0, 0):
        return str(formats.date_format(at, "j M"))
    return f"{at:%H:%M}"


def failures_of(key: Key, over: Range) -> list[datetime]:
    """Return when a product could not be computed, within a range."""
    session = caller(spread.alias_of(registry.primers.get(key.key_base)))
    return runs.failures(session, key.digest, over.start, over.end)


def notes_of(keys: Sequence[Key], over: Range) -> list[Annotation]:
    """Return what people have noted about a range, of some products."""
    found = within(conf.DATABASES[0], keys, over.start, over.end)
    return [Annotation(start, text, end) for start, end, text in found]
