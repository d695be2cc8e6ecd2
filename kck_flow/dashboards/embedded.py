"""Products in somebody else's page: what all its tags ask for is read at once, as its reader may see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from .. import clock, wording
from ..cache.facade import Cache
from ..dashboard import SHOWS as SHOWS
from ..drawing.charts import sparkline
from ..drawing.sheet import Sheet
from ..key import Key
from ..permission import VIEW, may
from ..registry import registry
from . import pieces, ranges, reading
from .ranges import Range
from .reading import Shown, Trend


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
    if by not in pieces.LETTER:
        raise ValueError(f"by is one of {', '.join(pieces.LETTER)}, not {by!r}.")
    named = f"{30 if last is None else last}{pieces.LETTER[by]}"
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
        return pieces.value_text(value, words, unit)

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
        """Return a panel as a dashboard has it: a number with its change and its picture, a chart with its sentence and
        table, a table alone, a value, a process's diagram, the coverage of a stream.

        Args:
            show: One of ``SHOWS``.
            options: ``title, goal, facet, theme``.

        Raises:
            ValueError: that does not show this kind of product, or it has no such facet.
        """
        shown = self.of(ask)
        if shown is None:
            return ""
        theme = str(options.get("theme") or "")
        own = {name: options[name] for name in ("title", "goal", "facet") if options.get(name) is not None}
        wrong = registry.wrong_panel(ask.key.key_base, show, own) if shown.caption.primer is not None else {}
        if wrong:
            raise ValueError(" ".join(wrong.values()))
        slug = self._id()
        piece = pieces.piece_of(
            pieces.Ask(ask.key, show, self.over(ask.over or over_of()), own),
            shown,
            self.trends.get(ask, Trend()),
            self.user,
            slug=slug,
            suffix=slug,
            theme=theme,
            phone=False,
            kept=False,
        )
        spark = self.spark(ask, theme) if piece.tile is not None else ""
        return render_to_string(
            "kck_flow/embedded.html", {"piece": piece, "tile": piece.tile, "spark": spark}
        )

    def _id(self) -> str:
        self.drawn += 1
        return f"kt{self.drawn}"


def key_of(text: Any) -> Key:
    """Return the key that a tag names. Raises InvalidKey."""
    return registry.key(text if isinstance(text, Key) else str(text))
