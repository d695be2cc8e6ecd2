"""The stock-and-flow diagram of a process, in the notation of system dynamics, as SVG.

Stocks are boxes, flows are pipes with a valve, the outside is a cloud. Both are links where they have an address, each
with one name for those who hear it ("Convert: 418 from Trial to Active"); ``sentences`` says the same as a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .layout import NARROW_WIDTH, lay_out
from .palette import Theme, colors
from .parts import ARROW, Box, Cloud, Crossing, Layout, Line, Pipe, PlacedBox, PlacedPipe, Point
from .svg import FONTS, NAMESPACE, element, escape, number, text

__all__ = [
    "NARROW_WIDTH",
    "TEMPLATES",
    "Box",
    "Pipe",
    "Sentence",
    "diagram",
    "draw",
    "lay_out",
    "parts_of",
    "same",
    "sentences",
]

Translate = Callable[[str], str]

DASHES = {"stale": "6 4", "computing": "2 3", "failed": "9 3 2 3"}
# Lobes of a cloud, clockwise from its lower left: radius, and where each ends.
_CLOUD = (
    "M-13.2 13A8.4 8.4 0 0 1-14.7-3.7A10.6 10.6 0 0 1 3.9-9.4A8.6 8.6 0 0 1 16.8-2.3A7.8 7.8 0 0 1 14.6 13Z"
)
_VALVE_LEVEL, _VALVE_UPRIGHT = "M-8-10H8L-8 10H8Z", "M-10-8V8L10-8V8Z"


class Sentence(NamedTuple):
    """One flow in words.

    Attributes:
        name: The flow's.
        text: ``Trial → Active: 418``.
        spoken: ``Convert: 418 from Trial to Active``, its name for those who hear it.
        href, state: As of its ``Pipe``.
    """

    name: str
    text: str
    spoken: str
    href: str | None
    state: str


def same(text: str) -> str:
    """Return a text as it is: the translation into English."""
    return text


def sentences(boxes: Sequence[Box], pipes: Sequence[Pipe], translate: Translate = same) -> list[Sentence]:
    """Return each flow in words, in declared order.

    Args:
        translate: Returns the translation of a template, such as ``gettext``; see ``TEMPLATES``.
    """
    labels = {box.name: box.label for box in boxes}
    found = []
    for pipe in pipes:
        sources, sinks = (
            [labels[end] for end in ends if end is not None] for ends in (pipe.sources, pipe.sinks)
        )
        outside = [translate("outside")]
        told = translate("{sources} → {sinks}: {value}").format(
            sources=", ".join(sources + outside * (None in pipe.sources or not sources)),
            sinks=", ".join(sinks + outside * (None in pipe.sinks or not sinks)),
            value=pipe.value_text,
        )
        shape = (
            "{flow}: {value} from {sources} to {sinks}"
            if sources and sinks
            else "{flow}: {value} out of {sources}"
            if sources
            else "{flow}: {value} into {sinks}"
            if sinks
            else "{flow}: {value}"
        )
        if sources and sinks:
            sources, sinks = (
                sources + outside * (None in pipe.sources),
                sinks + outside * (None in pipe.sinks),
            )
        spoken = translate(shape).format(
            flow=pipe.label,
            value=pipe.value_text,
            sources=_listed(sources, translate),
            sinks=_listed(sinks, translate),
        )
        found.append(
            Sentence(pipe.name, told, _with_state(spoken, pipe.state, translate), pipe.href, pipe.state)
        )
    return found


#: What ``translate`` is given.
TEMPLATES = (
    "outside",
    "{sources} → {sinks}: {value}",
    "{flow}: {value} from {sources} to {sinks}",
    "{flow}: {value} out of {sources}",
    "{flow}: {value} into {sinks}",
    "{flow}: {value}",
    "{stock}: {value}",
    "{stock}: {value}, {change}",
    "{text} ({state})",
    "{some} and {last}",
    "Stocks: {stocks}. Flows: {flows}.",
    "stale",
    "computing",
    "failed",
    "empty",
)


def diagram(
    boxes: Sequence[Box],
    pipes: Sequence[Pipe],
    *,
    id: str,
    title: str,
    narrow: bool = False,
    proportional: bool = False,
    theme: Theme | None = None,
    translate: Translate = same,
) -> str:
    """Return a process as SVG, in its natural size: a page lets it shrink (``max-width``) or scroll.

    Args:
        id: Unique on the page; the ids of what it is named by begin with it.
        title: What it shows.
        narrow: The main line runs down, for a phone; what does not fit ``NARROW_WIDTH`` is wider (see ``lay_out``), and
            better told in ``sentences`` there.
        proportional: Pipes are as wide as they are strong.
        theme: Stands alone, in the colours of this theme; None: within a page that has ``palette.css()``.
        translate: See ``sentences``.

    Raises:
        ValueError: two boxes have one name, or a pipe names none of them.
    """
    return draw(
        lay_out(boxes, pipes, narrow=narrow, proportional=proportional),
        id=id,
        title=title,
        theme=theme,
        translate=translate,
    )


def draw(
    layout: Layout, *, id: str, title: str, theme: Theme | None = None, translate: Translate = same
) -> str:
    """Return a diagram that is laid out already; see ``diagram``."""
    paint = colors(theme)
    told = sentences([one.box for one in layout.boxes], [one.pipe for one in layout.pipes], translate)
    summary = translate("Stocks: {stocks}. Flows: {flows}.").format(
        stocks=len(layout.boxes), flows=len(layout.pipes)
    )
    parts = [
        element("title", escape(title), id=f"{id}-title"),
        element("desc", escape(summary), id=f"{id}-desc"),
    ]
    width, height = number(layout.width), number(layout.height)
    if theme is not None:
        parts.append(element("rect", width=layout.width, height=layout.height, fill=paint["surface"]))
    parts += [_pipe(one, said, paint) for one, said in zip(layout.pipes, told, strict=True)]
    parts += [_bridge(one, layout.pipes, paint) for one in layout.crossings]
    parts += [_box(one, paint, translate) for one in layout.boxes]
    return element(
        "svg",
        *parts,
        xmlns=NAMESPACE,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="group",
        id=id,
        class_="kck-diagram",
        aria_labelledby=f"{id}-title",
        aria_describedby=f"{id}-desc",
        font_family=None if theme is None else FONTS,
        font_size=12,
    )


def parts_of(
    value: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    hrefs: Mapping[str, str] | None = None,
    number: Callable[[int], str] = "{:,}".format,
) -> tuple[list[Box], list[Pipe]]:
    """Return what a process is drawn of.

    Args:
        value: Of a process, as ``Cache.picture`` returns it.
        labels, hrefs: What its stocks and flows are called, and where they lead, by name; their names, and nowhere,
            where not given.
        number: How a number is written.

    Returns:
        Its stocks, with what they won or lost where their opening is known, and its flows. What a flow reaches beyond
        the process is outside.
    """
    labels, hrefs = labels or {}, hrefs or {}
    boxes = []
    for name, one in value["stocks"].items():
        count, opening = one["count"], one["opening"]
        change = ""
        if count is not None and opening is not None:
            won = count - opening
            change = f"{'+' if won > 0 else '−' if won < 0 else '±'}{number(abs(won))}"
        shown, state = ("–", "empty") if count is None else (number(count), "fresh")
        boxes.append(Box(name, labels.get(name, name), shown, change, hrefs.get(name), state))
    pipes = []
    for name, one in value["flows"].items():
        sources, sinks = (
            tuple(dict.fromkeys(end if end in value["stocks"] else None for end in one[side]))
            for side in ("sources", "sinks")
        )
        count = one["count"]
        shown, state = ("–", "empty") if count is None else (number(count), "fresh")
        pipes.append(Pipe(name, labels.get(name, name), shown, count, sources, sinks, hrefs.get(name), state))
    return boxes, pipes


# -- parts ------------------------------------------------------------------------------------------------------------


def _linked(href: str | None, name: str, kind: str, state: str, *children: str) -> str:
    shown = element("title", escape(name))
    classes = f"kck-{kind} kck-{state}"
    if href is None:
        return element("g", shown, *children, class_=classes, role="img", aria_label=name)
    return element("a", shown, *children, href=href, class_=classes, aria_label=name)


def _box(placed: PlacedBox, paint: Mapping[str, str], translate: Translate) -> str:
    box, rect = placed.box, placed.rect
    shape = "{stock}: {value}, {change}" if box.change_text else "{stock}: {value}"
    name = translate(shape).format(stock=box.label, value=box.value_text, change=box.change_text)
    known = box.state != "empty"
    parts = [
        element(
            "rect",
            x=rect.x0,
            y=rect.y0,
            width=rect.x1 - rect.x0,
            height=rect.y1 - rect.y0,
            rx=7,
            fill=paint["raised"],
            stroke=paint["bad" if box.state == "failed" else "ink" if known else "border"],
            stroke_width=1.75,
            stroke_dasharray=DASHES.get(box.state),
        )
    ]
    value = next(at for at, line in enumerate(placed.lines) if not line.bold)
    for at, line in enumerate(placed.lines):
        parts.append(_line(line, paint["muted" if at > value or not known else "ink"], "start"))
    if box.state == "failed":
        x, y = rect.x1 - 17, rect.y0 + 17
        parts.append(element("circle", cx=x, cy=y, r=8, fill=paint["bad"]))
        parts.append(text(x, y + 4.2, "!", fill=paint["raised"], anchor="middle", bold=True))
    return _linked(box.href, _with_state(name, box.state, translate), "stock", box.state, *parts)


def _pipe(placed: PlacedPipe, said: Sentence, paint: Mapping[str, str]) -> str:
    state, known = placed.pipe.state, placed.pipe.state != "empty"
    ink = paint["bad" if state == "failed" else "ink" if known else "border"]
    tips = {tip for tip, _ in placed.arrows}
    data = "".join(_route(points, tips) for points in placed.paths)
    parts = [element("path", d=data, fill="none", stroke="transparent", stroke_width=18)]
    parts += _strokes(data, placed.thick, ink, paint["shade"], DASHES.get(state))
    parts += [_arrow(tip, along, placed.thick, ink) for tip, along in placed.arrows]
    parts += [_cloud(cloud, ink, paint["surface"]) for cloud in placed.clouds]
    (x, y), level = placed.valve
    parts.append(
        element(
            "path",
            d=_VALVE_LEVEL if level else _VALVE_UPRIGHT,
            transform=f"translate({number(x)} {number(y)})",
            fill=paint["surface"],
            stroke=ink,
            stroke_width=1.75,
            stroke_linejoin="round",
            class_="kck-valve",
        )
    )
    last = len(placed.lines) - 1
    for at, line in enumerate(placed.lines):
        parts.append(_line(line, paint["muted" if at == last and not known else "ink"], placed.anchor))
    return _linked(placed.pipe.href, said.spoken, "flow", state, *parts)


def _strokes(data: str, thick: float, ink: str, inside: str, dash: str | None = None) -> list[str]:
    """Return a double line: a wide one, and a narrower one of the colour within upon it."""
    return [
        element("path", d=data, fill="none", stroke=ink, stroke_width=float(thick), stroke_dasharray=dash),
        element("path", d=data, fill="none", stroke=inside, stroke_width=float(thick - 3.2)),
    ]


def _route(points: Sequence[Point], tips: set[Point]) -> str:
    """Return a path with rounded corners, that ends where its arrowhead begins."""
    points = list(points)
    (x0, y0), (x1, y1) = points[-2:]
    if points[-1] in tips:
        far = abs(x1 - x0) + abs(y1 - y0)
        points[-1] = x1 - (x1 - x0) / far * (ARROW - 2), y1 - (y1 - y0) / far * (ARROW - 2)
    written = f"M{number(points[0][0])} {number(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        first, second = _length(before, corner), _length(corner, after)
        radius = min(14, first / 2, second / 2)
        enter = _towards(corner, before, radius / first)
        leave = _towards(corner, after, radius / second)
        written += f"L{_xy(enter)}Q{_xy(corner)} {_xy(leave)}"
    return f"{written}L{_xy(points[-1])}"


def _length(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1]) or 1.0


def _towards(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _xy(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"


def _arrow(tip: Point, along: Point, thick: float, ink: str) -> str:
    (x, y), (dx, dy) = tip, along
    half = thick / 2 + 3.5
    back = x - dx * ARROW, y - dy * ARROW
    one, other = (back[0] - dy * half, back[1] + dx * half), (back[0] + dy * half, back[1] - dx * half)
    return element("path", d=f"M{_xy(tip)}L{_xy(one)}L{_xy(other)}Z", fill=ink)


def _cloud(cloud: Cloud, ink: str, inside: str) -> str:
    return element(
        "path",
        d=_CLOUD,
        transform=f"translate({number(cloud.x)} {number(cloud.y)})",
        fill=inside,
        stroke=ink,
        stroke_width=1.6,
        stroke_linejoin="round",
        class_="kck-outside",
    )


def _bridge(crossing: Crossing, pipes: Sequence[PlacedPipe], paint: Mapping[str, str]) -> str:
    """Return a short piece of the pipe above, with a gap left and right of it in the one below."""
    over, under = pipes[crossing.over], pipes[crossing.under]
    x, y, half = crossing.x, crossing.y, under.thick / 2 + 1
    ink = paint["bad" if over.pipe.state == "failed" else "ink" if over.pipe.state != "empty" else "border"]
    data = f"M{number(x)} {number(y - half)}V{number(y + half)}"
    return element(
        "g",
        element("path", d=data, fill="none", stroke=paint["surface"], stroke_width=float(over.thick + 7)),
        *_strokes(data, over.thick, ink, paint["shade"]),
        class_="kck-bridge",
        pointer_events="none",
        aria_hidden="true",
    )


def _line(line: Line, fill: str, anchor: str) -> str:
    return text(line.x, line.y, line.content, fill=fill, size=line.size, anchor=anchor, bold=line.bold)


def _listed(names: Sequence[str], translate: Translate) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return translate("{some} and {last}").format(some=", ".join(names[:-1]), last=names[-1])


def _with_state(said: str, state: str, translate: Translate) -> str:
    return (
        said if state == "fresh" else translate("{text} ({state})").format(text=said, state=translate(state))
    )
