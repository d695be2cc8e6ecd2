"""Panels as a page shows them: a number, a chart, a table, a value, a process's diagram, the coverage of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.utils.translation import gettext as _

from .. import wording
from ..codec import encode_plain
from ..dashboard import Panel, show_of
from ..drawing.bars import bars
from ..drawing.charts import lines
from ..drawing.sheet import Series
from ..drawing.table import Table, table
from ..key import Key
from ..process import Process
from ..registry import registry
from ..timeframe import TimeFrame
from . import frames, processes, ranges, reading, sliced, tiles
from .captions import Caption
from .drawn import HALF_HEIGHT, HALF_WIDTH, HEIGHT, NARROW_WIDTH, WIDTH, chart_of, narrowed, sheet_of
from .faces import Refused
from .pages import Page, href
from .ranges import BadParameter, Range
from .reading import Shown, Trend
from .tiles import Tile

LETTER: Final = {"hour": "h", "day": "d", "week": "w", "month": "m"}
LONGEST = 400  # characters of a value


@dataclass(slots=True)
class Piece:
    """A panel, ready to be shown.

    Attributes:
        show: How, see ``dashboard.show_of``.
        over: Its range; ``range_text`` says it where it is not the page's.
        slug: An id on its page.
        tile: Of a number.
        svg, narrow: The picture, and for a phone; of a line, bars, flows, a diagram, a coverage.
        sentence: What the picture or the table shows.
        table: The numbers; None where there are none to be told.
        value: Of a value, as it is read.
        note: Why there is nothing to show; empty where there is.
        ways: Of a diagram: its flows in a line each. ``books``: whether they balance, (state, in words).
        keys: The products whose change changes it.
        facts: What its picture depends on besides.
    """

    shown: Shown
    trend: Trend
    show: str
    over: Range
    slug: str
    label: str
    href: str = ""
    wide: bool = False
    range_text: str = ""
    tile: Tile | None = None
    svg: str = ""
    narrow: str = ""
    sentence: str = ""
    table: Table | None = None
    value: str = ""
    note: str = ""
    ways: Sequence[Mapping[str, str]] = ()
    books: tuple[str, str] | None = None
    keys: Sequence[Key] = ()
    facts: Any = None

    @property
    def key(self) -> Key:
        """Of its product."""
        return self.shown.key

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its chart on a desk, in pixels."""
        return (WIDTH, HEIGHT) if self.wide else (HALF_WIDTH, HALF_HEIGHT)

    @property
    def chip(self) -> str:
        """What is said of a product that is not fresh, as HTML."""
        return tiles.chip(self.shown)

    @property
    def is_tile(self) -> bool:
        """Whether it is small: several stand beside each other."""
        return self.tile is not None


@dataclass(frozen=True)
class Ask:
    """A panel that is to be shown.

    Attributes:
        show: As it is declared.
        over: Its range.
        options: As of a ``Panel``.
    """

    key: Key
    show: str
    over: Range
    options: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def asked(panel: Panel, key: Key, over: Range) -> Ask:
    """Return a panel of a dashboard as it is to be shown, in the page's range or its own."""
    try:
        return Ask(key, panel.show, range_of(panel.options, over), panel.options)
    except BadParameter as error:
        return Ask(key, panel.show, over, panel.options, str(error))


def range_of(options: Mapping[str, Any], over: Range) -> Range:
    """Return the range of a panel: the page's, but for what its options say.

    Raises:
        BadParameter: it would have too many steps.
    """
    by, last, compare = (options.get(name) for name in ("by", "last", "compare"))
    if by is None and last is None and compare in (None, over.compare):
        return over
    given = dict(over.given)
    if last is not None:
        by = by or "day"
        given = {name: text for name, text in given.items() if name not in ("range", "from", "to")}
        given["range"] = f"{last}{LETTER[by]}"
    elif over.named:
        given["range"] = over.named
    given |= {"by": by} if by is not None else {}
    given |= {"compare": compare} if compare is not None else {}
    return ranges.read(given, over.now)


def read(asks: Sequence[Ask], page: Range, user: Any, words: Mapping[Key, Caption]) -> list[Piece]:
    """Return panels, in their order: their products are read at once, their series for each range and kind at once.

    Args:
        page: The range of the page.
    """
    found = reading.read(list(dict.fromkeys(one.key for one in asks)), words)
    overs: list[Range] = []
    for one in asks:
        if one.over not in overs:
            overs.append(one.over)
    trends = []
    for over in overs:
        keys = list(dict.fromkeys(one.key for one in asks if one.over == over))
        trends.append(reading.trends(keys, over, words, found))
    shown: dict[Key, int] = {}
    made = []
    for number, one in enumerate(asks, 1):
        again = shown[one.key] = shown.get(one.key, 0) + 1
        trend = trends[overs.index(one.over)][one.key]
        suffix = f"x{again}" if again > 1 else ""
        piece = piece_of(one, found[one.key], trend, user, slug=f"kp{number}", suffix=suffix)
        if one.over != page:
            piece.range_text = one.over.text
        made.append(piece)
    return made


def piece_of(
    ask: Ask,
    shown: Shown,
    trend: Trend,
    user: Any,
    *,
    slug: str,
    suffix: str = "",
    theme: str = "",
    phone: bool = True,
    kept: bool = True,
) -> Piece:
    """Return a panel.

    Args:
        suffix: What keeps its pictures' ids apart from those of the same product elsewhere on the page.
        theme: ``light`` or ``dark`` where the picture has its own colours.
        phone: Whether there is to be a picture for a phone.
        kept: Whether its link keeps what the time bar says here.

    Raises:
        ValueError: that does not show this kind of product.
    """
    options, over = ask.options, ask.over
    shown = retitled(shown, options)
    words = shown.caption
    show = show_of(words.kind, ask.show)
    piece = Piece(
        shown,
        trend,
        show,
        over,
        slug,
        words.label,
        href(words, over.given if kept else {}),
        bool(options.get("wide")),
    )
    facet = sliced.facet_of(words.primer, options.get("facet"))
    primer = registry.primers.get(ask.key.key_base)
    if ask.problem:
        piece.note = ask.problem
    elif isinstance(primer, Process):
        _process(piece, primer, user, facet, theme)
    elif isinstance(primer, TimeFrame) and show == "coverage":
        _coverage(piece, primer, theme)
    elif show == "number":
        piece.tile = tiles.tile(shown, trend, over, piece.href, suffix)
        piece.tile.wide = piece.wide
    elif show == "value":
        piece.value = value_text(shown.value, words, True)[:LONGEST]
        piece.note = "" if shown.has_value else tiles.nothing_text(shown, None)
    elif facet is not None:
        _split(piece, facet, theme)
    elif not trend.points:
        piece.note = tiles.nothing_text(shown, trend)
    else:
        _series(piece, theme)
    if not phone:
        piece.narrow = ""
    if suffix:
        digest = ask.key.digest.hex[:10]
        piece.svg, piece.narrow = (
            svg.replace(digest, f"{digest}{suffix}") for svg in (piece.svg, piece.narrow)
        )
    return piece


def retitled(shown: Shown, options: Mapping[str, Any]) -> Shown:
    """Return a product as a panel's options call it and aim it."""
    changed: dict[str, Any] = {}
    if options.get("title"):
        changed["label"] = str(options["title"])
    if options.get("goal") is not None:
        changed["goal"] = options["goal"]
    return replace(shown, caption=replace(shown.caption, **changed)) if changed else shown


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


def _series(piece: Piece, theme: str) -> None:
    """Draw a product's series, as a line or as bars, whichever is asked for."""
    width, height = piece.size
    drawn = chart_of(
        piece.shown.caption,
        piece.trend,
        piece.over,
        theme=theme,
        width=width,
        height=height,
        show=piece.show,
    )
    piece.sentence, piece.table = drawn.sentence, drawn.table
    if piece.show != "table":
        piece.svg, piece.narrow = drawn.svg, drawn.narrow


def _split(piece: Piece, facet: sliced.Named, theme: str) -> None:
    """Draw a stock or a flow by the values of a facet: a line each, or bars on top of each other."""
    words, over = piece.shown.caption, piece.over
    piece.label = _("%(label)s by %(facet)s") % {"label": words.label, "facet": facet.label}
    parts = sliced.by_value(piece.shown, facet.name, over)
    if isinstance(parts, str):
        piece.note = parts
        return
    told = ", ".join(f"{one.text} {words.number(one.total)}" for one in parts)
    piece.sentence = f"{piece.label}, {over.text}: {told or wording.MISSING}"
    if piece.show == "table":
        whole = sum(wording.exact(one.total) for one in parts if one.total is not None)
        header = (facet.label, words.unit_plural or words.unit or _("Number"), _("Share"))
        rows = (
            (
                one.text,
                words.number(one.total),
                wording.number(wording.exact(one.total) / whole, "percent", 0)
                if whole > 0 and one.total is not None
                else wording.MISSING,
            )
            for one in parts
        )
        piece.table = Table(header, tuple(rows))
        return
    width, height = piece.size
    sheet = replace(
        sheet_of(words, over, f"c{words.key.digest.hex[:10]}", theme=theme, width=width, height=height),
        title=piece.label,
        description=piece.sentence,
    )
    series = [Series(one.text, one.points) for one in parts]
    piece.table = table(series, sheet)

    def draw(on: Any) -> str:
        return bars(series, on, stacked=True) if piece.show == "bars" else lines(series, on)

    piece.svg = draw(sheet)
    piece.narrow = draw(narrowed(sheet)) if not theme else ""


def _process(piece: Piece, process: Process, user: Any, facet: sliced.Named | None, theme: str) -> None:
    """Draw a process: its diagram, or what came into its main stock and went."""
    name = facet.name if facet is not None and piece.show == "diagram" else ""
    key, over, size = piece.key, piece.over, piece.size
    page = _page(piece, lambda: processes.page(key, process, user, over, name, size, alone=False))
    if page is None:
        return
    told = page.context
    piece.keys = page.keys
    if piece.show != "diagram":
        chart = told["chart"]
        if chart is None:
            piece.note = _("Nothing was counted in this range.")
            return
        piece.label = f"{piece.label}: {told['chart_title']}"
        piece.sentence, piece.table = chart.sentence, chart.table
        if piece.show == "flows":
            piece.svg, piece.narrow = chart.svg, chart.narrow
        return
    drawn = page.picture
    assert drawn is not None
    piece.svg = drawn(theme, WIDTH) if theme else told["diagram"]
    piece.narrow = "" if theme else told["diagram_narrow"]
    piece.wide, piece.facts = True, told["diagram"]
    piece.ways = told["sentences"]
    state = {True: "fresh", False: "failed", None: "empty"}[told["balanced"]]
    piece.books = state, told["books_text"]
    split = told["by_facet"]
    if facet is not None and split is not None:
        which = "stock" if split["stock_rows"] else "flow"
        header = (facet.label, *(one["label"] for one in split[f"{which}s"]))
        rows = split[f"{which}_rows"]
        piece.table = Table(
            header, tuple((row["value"], *(cell["number"] for cell in row["cells"])) for row in rows)
        )


def _coverage(piece: Piece, primer: TimeFrame, theme: str) -> None:
    """Draw which windows of a stream are there."""
    page = _page(piece, lambda: frames.page(piece.key, primer, piece.over))
    if page is None:
        return
    drawn = page.picture
    assert drawn is not None
    # The picture itself goes on with the time, by the tenth of a pixel.
    piece.wide, piece.sentence, piece.facts = True, page.context["sentence"], page.rows
    piece.svg = drawn(theme, WIDTH) if theme else page.context["coverage"]
    piece.narrow = "" if theme else drawn("", NARROW_WIDTH)


def _page(piece: Piece, build: Callable[[], Page]) -> Page | None:
    """Return what a product's own page has; None, with a note, where it has none."""
    try:
        return build()
    except Refused as refused:
        piece.note = refused.detail
    except BadParameter as error:
        piece.note = str(error)
    return None
