"""What a product is made of and what is made of it, as a picture: from left to right, each step a column.

The layers are those of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system
structures", 1981): the longest way from what needs nothing, a place in every column that an edge passes, and an order
by the middle of the neighbours, there and back, so that few edges cross.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from .palette import Theme, colors
from .sheet import same
from .svg import FONTS, NAMESPACE, element, escape, fit, number, text, text_width

HIGH, BETWEEN, APART = 46.0, 14.0, 64.0  # a box; boxes of a column; columns
LEAST, MOST = 96.0, 240.0  # how wide a column of boxes is
PASSES = 8
DASHES = {"stale": "6 4", "computing": "2 3", "failed": "9 3 2 3", "empty": "2 4"}


@dataclass(frozen=True, slots=True)
class Node:
    """A product as it is drawn.

    Attributes:
        name: Unique; edges name it.
        label: What it is called.
        detail: A second line: how old it is, or why there is none.
        spoken: Its name for those who hear it.
        href: Where it leads; None: nowhere.
        state: ``fresh``, ``stale``, ``computing``, ``failed`` or ``empty``.
        here: Whether it is the one that the picture is of.
    """

    name: str
    label: str
    detail: str = ""
    spoken: str = ""
    href: str | None = None
    state: str = "fresh"
    here: bool = False


# A node by its name; or where an edge passes a column: which edge, and which column.
Place = str | tuple[int, int]


class Placed(NamedTuple):
    """A node in its place: its upper left corner and its width."""

    node: Node
    x: float
    y: float
    width: float


class Drawing(NamedTuple):
    """Nodes and edges in their places; an edge is the points it passes, from left to right."""

    nodes: Sequence[Placed]
    edges: Sequence[Sequence[tuple[float, float]]]
    width: float
    height: float


def layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return in which column each name stands: one behind all that it needs. An edge that would close a circle counts
    for nothing.

    Args:
        edges: (needed, made of it) each.
    """
    after: dict[str, list[str]] = {name: [] for name in names}
    for upstream, downstream in edges:
        if upstream != downstream and upstream in after and downstream in after:
            after[upstream].append(downstream)
    order: list[str] = []  # what comes after a name stands before it
    seen: dict[str, bool] = {}  # whether it is finished
    back: set[tuple[str, str]] = set()
    for first in names:
        stack = [(first, iter(after[first]))] if first not in seen else []
        if stack:
            seen[first] = False
        while stack:
            name, ahead = stack[-1]
            following = next(ahead, None)
            if following is None:
                seen[name] = True
                order.append(name)
                stack.pop()
            elif following not in seen:
                seen[following] = False
                stack.append((following, iter(after[following])))
            elif not seen[following]:
                back.add((name, following))
    found = dict.fromkeys(names, 0)
    for name in reversed(order):
        for following in after[name]:
            if (name, following) not in back:
                found[following] = max(found[following], found[name] + 1)
    # What needs nothing stands next to the first that needs it, not at the far left.
    needs = {downstream for upstream, downstream in edges if (upstream, downstream) not in back}
    for name in order:
        ahead_of = [found[one] for one in after[name] if (name, one) not in back]
        if name not in needs and ahead_of:
            found[name] = min(ahead_of) - 1
    return found


def lay_out(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Return nodes and edges in their places.

    Args:
        edges: (needed, made of it) each, by name; those of others are left out.
    """
    by_name = {node.name: node for node in nodes}
    column = layers(list(by_name), edges)
    columns: list[list[Place]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in by_name:
        columns[column[name]].append(name)
    # A chain for each edge: its ends, and a place in each column between them.
    chains: list[list[Place]] = []
    for at, (upstream, downstream) in enumerate(dict.fromkeys(edges)):
        if upstream not in by_name or downstream not in by_name or upstream == downstream:
            continue
        left, right = sorted((upstream, downstream), key=lambda name: column[name])
        passed: list[Place] = [(at, one) for one in range(column[left] + 1, column[right])]
        for place in passed:
            assert isinstance(place, tuple)
            columns[place[1]].append(place)
        chains.append([left, *passed, right])
    _order(columns, chains)
    return _placed(columns, chains, by_name)


def _order(columns: list[list[Place]], chains: Sequence[Sequence[Place]]) -> None:
    """Order each column by the middle of its neighbours in the one before it, then in the one behind."""
    left: dict[Place, list[Place]] = {}
    right: dict[Place, list[Place]] = {}
    for chain in chains:
        for one, other in pairwise(chain):
            right.setdefault(one, []).append(other)
            left.setdefault(other, []).append(one)
    for turn in range(PASSES):
        beside = left if turn % 2 == 0 else right
        for those in columns if turn % 2 == 0 else reversed(columns):
            places = {one: at for each in columns for at, one in enumerate(each)}
            middle: dict[Place, float] = {}
            for one in those:
                around = [places[other] for other in beside.get(one, ())] or [places[one]]
                middle[one] = sum(around) / len(around)
            those.sort(key=middle.__getitem__)


def _placed(
    columns: Sequence[Sequence[Place]],
    chains: Sequence[Sequence[Place]],
    by_name: Mapping[str, Node],
) -> Drawing:
    heights = [
        sum(HIGH if isinstance(one, str) else BETWEEN for one in those) + BETWEEN * (len(those) - 1)
        for those in columns
    ]
    height = max(heights, default=0.0)
    spans: dict[Place, tuple[float, float, float]] = {}  # left, right, middle
    placed: list[Placed] = []
    x = 4.0
    for those, tall in zip(columns, heights, strict=True):
        own = [by_name[one] for one in those if isinstance(one, str)]
        width = min(
            max(
                [
                    LEAST,
                    *(text_width(one.label, 13, bold=True) + 25 for one in own),
                    *(text_width(one.detail) + 25 for one in own),
                ]
            ),
            MOST,
        )
        y = 4 + (height - tall) / 2
        for one in those:
            high = HIGH if isinstance(one, str) else BETWEEN
            spans[one] = x, x + width, y + high / 2
            if isinstance(one, str):
                placed.append(Placed(by_name[one], x, y, width))
            y += high + BETWEEN
        x += width + APART
    edges = []
    for chain in chains:
        points = [(spans[chain[0]][1], spans[chain[0]][2])]
        for place in chain[1:-1]:
            left, right, y = spans[place]
            points += [(left, y), (right, y)]
        points.append((spans[chain[-1]][0], spans[chain[-1]][2]))
        edges.append(points)
    return Drawing(placed, edges, max(x - APART + 4, 8.0), height + 8)


def lineage(
    nodes: Sequence[Node],
    edges: Sequence[tuple[str, str]],
    *,
    id: str,
    title: str,
    description: str = "",
    theme: Theme | None = None,
    translate: Callable[[str], str] = same,
) -> str:
    """Return what needs what as SVG, in its natural size: a page lets it scroll.

    Args:
        edges: (needed, made of it) each, by name.
        id: Unique on the page; the ids of what it is named by begin with it.
        title, description: What it shows, for those who hear it.
        theme: Stands alone, in the colours of this theme; None: within a page that has ``palette.css()``.
        translate: Of the words for states.
    """
    paint, laid = colors(theme), lay_out(nodes, edges)
    parts = [element("title", escape(title), id=f"{id}-title")]
    if description:
        parts.append(element("desc", escape(description), id=f"{id}-desc"))
    if theme is not None:
        parts.append(element("rect", width=laid.width, height=laid.height, fill=paint["surface"]))
    parts += [_edge(points, paint) for points in laid.edges]
    parts += [_node(one, paint, translate) for one in laid.nodes]
    return element(
        "svg",
        *parts,
        xmlns=NAMESPACE,
        viewBox=f"0 0 {number(laid.width)} {number(laid.height)}",
        width=number(laid.width),
        height=number(laid.height),
        role="group",
        id=id,
        class_="kck-diagram",
        aria_labelledby=f"{id}-title",
        aria_describedby=f"{id}-desc" if description else None,
        font_family=None if theme is None else FONTS,
        font_size=12,
    )


def _edge(points: Sequence[tuple[float, float]], paint: Mapping[str, str]) -> str:
    """Return a smooth line through the gaps between columns, level where it passes one; with a head at its end."""
    written = f"M{_xy(points[0])}"
    tip = points[-1]
    for before, (x, y) in pairwise(points):
        if before[1] == y:
            written += f"H{number(x - 7 if (x, y) == tip else x)}"
        else:
            x = x - 7 if (x, y) == tip else x
            middle = (before[0] + x) / 2
            written += (
                f"C{number(middle)} {number(before[1])} {number(middle)} {number(y)} {number(x)} {number(y)}"
            )
    head = f"M{number(tip[0] - 9)} {number(tip[1] - 4.5)}L{_xy(tip)}L{number(tip[0] - 9)} {number(tip[1] + 4.5)}Z"
    line = element("path", d=written, fill="none", stroke=paint["border"], stroke_width=1.5)
    return element("g", line, element("path", d=head, fill=paint["border"]), aria_hidden="true")


def _xy(point: tuple[float, float]) -> str:
    return f"{number(point[0])} {number(point[1])}"


def _node(placed: Placed, paint: Mapping[str, str], translate: Callable[[str], str]) -> str:
    node, x, y, width = placed
    spoken = node.spoken or node.label
    if node.state != "fresh":
        spoken = translate("{text} ({state})").format(text=spoken, state=translate(node.state))
    ink = "bad" if node.state == "failed" else "focus" if node.here else "border"
    parts = [
        element("title", escape(spoken)),
        element(
            "rect",
            x=x,
            y=y,
            width=width,
            height=HIGH,
            rx=7,
            fill=paint["raised"],
            stroke=paint[ink],
            stroke_width=2.5 if node.here else 1.5,
            stroke_dasharray=DASHES.get(node.state),
        ),
        text(
            x + 12,
            y + (20 if node.detail else 28),
            fit(node.label, width - 24, 13, bold=True),
            fill=paint["ink"],
            size=13,
            bold=True,
        ),
    ]
    if node.detail:
        detail = paint["bad" if node.state == "failed" else "muted"]
        parts.append(text(x + 12, y + 36, fit(node.detail, width - 24), fill=detail, size=12))
    classes = f"kck-stock kck-{node.state}"
    if node.href is None:
        return element("g", *parts, class_=classes, role="img", aria_label=spoken)
    here = "page" if node.here else None
    return element("a", *parts, href=node.href, class_=classes, aria_label=spoken, aria_current=here)
