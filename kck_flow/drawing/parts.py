"""What a stock-and-flow diagram is made of: what is given, and what is in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

End = str | None

VALVE = 11  # half of it, along and across
CLOUD = 23, 15  # half of a cloud
ARROW = 11  # length of an arrowhead


@dataclass(frozen=True)
class Box:
    """A stock as it is drawn.

    Attributes:
        name: Unique among the stocks; pipes name it.
        label: What it is called.
        value_text: What it holds now, as people read it; a dash where that is not known.
        change_text: What has changed, likewise; may be empty.
        href: Where it leads.
        state: ``fresh``, ``stale``, ``computing``, ``failed`` or ``empty``.
    """

    name: str
    label: str
    value_text: str = "–"
    change_text: str = ""
    href: str | None = None
    state: str = "fresh"


@dataclass(frozen=True)
class Pipe:
    """A flow as it is drawn.

    Attributes:
        name: Unique among the flows.
        label, value_text, href, state: As of a ``Box``.
        count: How many it moved, for pipes as wide as they are strong; None where that is not known.
        sources, sinks: Names of the boxes that it leaves and enters; None is the outside.
    """

    name: str
    label: str
    value_text: str = "–"
    count: float | None = None
    sources: Sequence[End] = (None,)
    sinks: Sequence[End] = (None,)
    href: str | None = None
    state: str = "fresh"


class Rect(NamedTuple):
    """A rectangle: its corners."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Rect) -> bool:
        """Whether both share more than an edge."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1


Point = tuple[float, float]


class Line(NamedTuple):
    """A line of a text: its content, how it is set, and where its base line begins (or is centred)."""

    content: str
    size: float
    bold: bool
    x: float
    y: float


@dataclass(frozen=True)
class PlacedBox:
    """A stock in its place."""

    box: Box
    rect: Rect
    lines: tuple[Line, ...]  # name (one or two), value, change


@dataclass(frozen=True)
class Cloud:
    """The outside: its middle."""

    x: float
    y: float

    @property
    def rect(self) -> Rect:
        """What it covers."""
        return Rect(self.x - CLOUD[0], self.y - CLOUD[1], self.x + CLOUD[0], self.y + CLOUD[1])


@dataclass(frozen=True)
class PlacedPipe:
    """A flow in its place.

    Attributes:
        paths: Points of each of its lines, in the direction of the flow; where it has several, they touch.
        arrows: Tip and direction of each arrowhead.
        starts: Where it leaves each of its sources.
        clouds: Its outside ends.
        valve: Its middle, and whether the pipe runs through it from left to right (or right to left).
        label: What its text covers.
        lines: The text.
        anchor: ``start``, ``middle`` or ``end``.
        thick: How wide the pipe is.
    """

    pipe: Pipe
    paths: tuple[tuple[Point, ...], ...]
    arrows: tuple[tuple[Point, Point], ...]
    starts: tuple[Point, ...]
    clouds: tuple[Cloud, ...]
    valve: tuple[Point, bool]
    label: Rect
    lines: tuple[Line, ...]
    anchor: str
    thick: float

    @property
    def valve_rect(self) -> Rect:
        """What its valve covers."""
        (x, y), _ = self.valve
        return Rect(x - VALVE, y - VALVE, x + VALVE, y + VALVE)


class Crossing(NamedTuple):
    """Where a pipe that runs up or down passes over one that runs level."""

    x: float
    y: float
    over: int  # numbers of pipes
    under: int


@dataclass(frozen=True)
class Layout:
    """A whole diagram: everything in its place, within a sheet from (0, 0) to (width, height)."""

    boxes: tuple[PlacedBox, ...]
    pipes: tuple[PlacedPipe, ...]
    width: float
    height: float
    crossings: tuple[Crossing, ...]
    size: float  # of the labels


def crossings(pipes: Iterable[PlacedPipe]) -> list[Crossing]:
    """Return where pipes cross, each place once."""
    upright: list[tuple[float, float, float, int]] = []
    level: list[tuple[float, float, float, int]] = []
    for number, pipe in enumerate(pipes):
        for points in pipe.paths:
            for (x0, y0), (x1, y1) in pairwise(points):
                if abs(x0 - x1) < 1e-6:
                    upright.append((x0, min(y0, y1), max(y0, y1), number))
                else:
                    level.append((y0, min(x0, x1), max(x0, x1), number))
    found = {
        Crossing(x, y, over, under)
        for x, top, bottom, over in upright
        for y, left, right, under in level
        if over != under and left < x < right and top < y < bottom
    }
    return sorted(found)
