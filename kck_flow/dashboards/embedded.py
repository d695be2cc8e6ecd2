"""Products in somebody else's page: what all its tags ask for is read at once, as its reader may see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.template.loader import render_to_string
from django.urls import NoReverseMatch
from django.utils.safestring import SafeString, mark_safe

from .. import clock, wording
from ..cache.facade import Cache
from ..codec import encode_plain
from ..drawing.bars import bars
from ..drawing.charts import sparkline
from ..drawing.lines import lines
from ..drawing.sheet import Series, Sheet
from ..key import Key
from ..permission import VIEW, may
from ..registry import registry
from . import drawn, ranges, reading, tiles
from .pages import href
from .ranges import Range
from .reading import Shown, Trend

SHOWS: Final = ("auto", "number", "line", "bars", "table", "value")
_LETTER: Final = {"hour": "h", "day": "d", "week": "w", "month": "m"}


@dataclass(frozen=True)
class Ask:
    """What one tag shows.

    Attributes:
        key: Of the product.
        over: The range of its series, as an address names it (``30d``), its step and what it is compared with; None
            where only its value is wanted.
    """

    key: Key
    over: tuple[str, str, str] | None = None


def over_of(last: Any = None, by: str = "", compare: str = "none") -> tuple[str, str, str]:
    """Return the range of a tag: how many steps, which, and what it is compared with.

    Raises:
        ValueError: there is no such range.
    """
    by = by or "day"
    if by not in _LETTER:
        raise ValueError(f"by is one of {', '.join(_LETTER)}, not {by!r}.")
    named = f"{30 if last is None else last}{_LETTER[by]}"
    _range(named, by, compare)
    return named, by, compare


def _range(named: str, by: str, compare: str) -> Range:
    return ranges.read({"range": named, "by": by, "compare": compare}, clock.now())


@dataclass
class Reads:
    """What the tags of one page have read, for one reader.

    Attributes:
        user: The reader; None is somebody unknown.
        shown, trends: What was read, by product, and by product and range.
    """

    user: Any
    shown: dict[Key, Shown] = field(default_factory=dict)
    trends: dict[Ask, Trend] = field(default_factory=dict)
    ranges: dict[tuple[str, str, str], Range] = field(default_factory=dict)
    drawn: int = 0

    def take(self, asks: Iterable[Ask]) -> None:
        """Read what is asked for and was not read yet: values in one statement for all that are stored, series in one
        for each kind and range. What the reader may not see is not read.
        """
        wanted = [ask for ask in dict.fromkeys(asks) if may(self.user, VIEW, ask.key)]
        keys = [key for key in dict.fromkeys(ask.key for ask in wanted) if key not in self.shown]
        if keys:
            self.shown.update(reading.read(keys))
        groups: dict[tuple[str, str, str], list[Ask]] = {}
        for ask in wanted:
            if ask.over is not None and ask not in self.trends:
                groups.setdefault(ask.over, []).append(ask)
        for over, those in groups.items():
            words = {ask.key: self.shown[ask.key].caption for ask in those}
            found = reading.trends([ask.key for ask in those], self.over(over), words, self.shown)
            self.trends.update((ask, found[ask.key]) for ask in those)

    def over(self, named: tuple[str, str, str]) -> Range:
        """Return a range, the same for all tags of a page."""
        if named not in self.ranges:
            self.ranges[named] = _range(*named)
        return self.ranges[named]

    def of(self, ask: Ask) -> Shown | None:
        """Return a product; None where the reader may not see it."""
        if ask.key not in self.shown or (ask.over is not None and ask not in self.trends):
            self.take([ask])
        return self.shown.get(ask.key)

    def value(self, ask: Ask, *, prime: bool = False) -> tuple[str, Any]:
        """Return (state, value) of a product; what the reader may not see is ``("", None)``.

        Args:
            prime: Whether it is computed here and now, where nothing can be served.
        """
        shown = self.of(ask)
        if shown is None:
            return "", None
        if not shown.has_value and prime:
            entry = Cache.get_instance().get_entry(ask.key, None)
            self.shown.pop(ask.key)
            return entry.state, entry.value
        if shown.value is None and shown.bytes and shown.has_value:  # too long to come along with the others
            entry = Cache.get_instance().get_entry(ask.key, None, prime_on_cache_miss=False)
            shown.value = entry.value
        return shown.state, shown.value if shown.has_value else None

    def text(self, ask: Ask, *, prime: bool = False, unit: bool = False) -> str:
        """Return a value as people read it; of one that is missing, its state in words; empty of what the reader may
        not see.
        """
        state, value = self.value(ask, prime=prime)
        if not state:
            return ""
        shown = self.shown.get(ask.key)
        words = shown.caption if shown is not None else None
        if shown is not None and not shown.has_value:
            return str(wording.STATES[shown.state])
        return value_text(value, words, unit)

    def spark(self, ask: Ask, theme: str = "") -> SafeString:
        """Return how a product went, as a small picture; empty where there is nothing to be drawn."""
        shown = self.of(ask)
        trend = self.trends.get(ask)
        if shown is None or trend is None or sum(one.value is not None for one in trend.points) < 2:
            return mark_safe("")
        sheet = Sheet(
            id=self._id(),
            title=shown.caption.label,
            width=168,
            height=40,
            theme=theme or None,  # type: ignore[arg-type]
            cursor=False,
            number=shown.caption.number,
        )
        return mark_safe(f'<span class="kck-spark">{sparkline(trend.points, sheet)}</span>')

    def panel(self, ask: Ask, show: str, options: Mapping[str, Any]) -> str:
        """Return a panel: a number with its change and its picture, a chart with its sentence and table, a table alone,
        or a value.

        Args:
            show: One of ``SHOWS``.
            options: ``title, goal, theme``.
        """
        shown = self.of(ask)
        if shown is None:
            return ""
        if options.get("title") or options.get("goal") is not None:
            goal = options.get("goal", shown.caption.goal)
            shown = replace(
                shown,
                caption=replace(shown.caption, label=options.get("title") or shown.caption.label, goal=goal),
            )
        trend = self.trends.get(ask, Trend())
        over = self.over(ask.over or over_of())
        context: dict[str, Any] = {
            "shown": shown,
            "label": shown.caption.label,
            "href": _href(shown),
            "state": shown.state,
            "chip": tiles.state_text(shown),
            "show": show,
        }
        if show in ("auto", "number"):
            context["tile"] = tiles.tile(shown, trend, over, "")
            context["spark"] = self.spark(ask, str(options.get("theme", "")))
        elif show == "value":
            context["value"] = self.text(ask, unit=True)
        else:
            chart = drawn.chart_of(shown.caption, trend, over, theme=str(options.get("theme", "")))
            context["table"] = chart.table
            context["sentence"] = chart.sentence
            context["note"] = tiles.nothing_text(shown, trend) if not trend.points else ""
            if show != "table":
                context["svg"] = self._redrawn(
                    shown, trend, over, show, chart.svg, str(options.get("theme", ""))
                )
        return render_to_string("kck_flow/embedded.html", context)

    def _redrawn(self, shown: Shown, trend: Trend, over: Range, show: str, svg: str, theme: str) -> str:
        """Return a chart as bars or a line, whichever is asked for."""
        if show == ("bars" if shown.caption.rollup == "sum" else "line"):
            return svg
        sheet = drawn.sheet_of(shown.caption, over, self._id(), theme=theme)
        series = [Series(shown.caption.label, trend.points)]
        return bars(series, sheet) if show == "bars" else lines(series, sheet)

    def _id(self) -> str:
        self.drawn += 1
        return f"kt{self.drawn}"


def value_text(value: Any, words: Any, unit: bool) -> str:
    """Return a value as people read it: numbers as their product has them, texts as they are, the rest as JSON."""
    if isinstance(value, Mapping) and reading.number_of(value) is not None:
        value = reading.number_of(value)
    if value is None:
        return wording.MISSING
    if words is not None and reading.number_of(value) is not None:
        return str(words.with_unit(value) if unit else words.number(value))
    if isinstance(value, str):
        return value
    return encode_plain(value)


def key_of(text: Any) -> Key:
    """Return the key that a tag names. Raises InvalidKey."""
    return registry.key(text if isinstance(text, Key) else str(text))


def _href(shown: Shown) -> str:
    try:
        return href(shown.caption)
    except NoReverseMatch:
        return ""
