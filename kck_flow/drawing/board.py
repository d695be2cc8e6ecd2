"""A picture in the making: what is drawn, where texts stand, and where data lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .palette import colors
from .scales import Linear, Times
from .sheet import Series, Sheet
from .svg import picture, text, text_width

SIZE = 12  # of texts
LINE = 18  # from a line of text to the next
Box = tuple[float, float, float, float]


def box(
    x: float, y: float, content: str, anchor: str = "start", size: float = SIZE, *, bold: bool = False
) -> Box:
    """Return what a line of text covers at most: left, top, right, bottom."""
    width = text_width(content, size, bold=bold)
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, y - 0.85 * size, left + width, y + 0.25 * size


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share a place."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@dataclass(slots=True)
class Plot:
    """Where data lies: from values and instants to places."""

    left: float
    top: float
    right: float
    bottom: float
    values: Linear
    times: Times

    def y(self, value: float) -> float:
        """Return where a value lies, within the plot."""
        place = self.bottom - self.values.share(value) * (self.bottom - self.top)
        return place if self.top <= place <= self.bottom else self.top if place < self.top else self.bottom

    def ys(self, values: Iterable[float]) -> list[float]:
        """Return where values lie, as ``y`` does for each."""
        bottom, top, low = self.bottom, self.top, self.values.low
        height, spread = bottom - top, self.values.high - low
        places = [bottom - (value - low) / spread * height for value in values]
        return [place if top <= place <= bottom else top if place < top else bottom for place in places]

    @property
    def zero(self) -> float:
        """Where zero lies, or what of the domain is nearest to it."""
        return self.y(0)


class Board:
    """A picture in the making: its parts in the order of drawing, and where texts stand."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.colors: Mapping[str, str] = colors(sheet.theme)
        self.surface = self.colors[sheet.surface]
        self.parts: list[str] = []
        self.texts: list[str] = []  # drawn last, above all lines
        self.boxes: list[Box] = []  # where texts are, and marks that no text may hide
        self.lines: list[list[tuple[float, float]]] = []  # where data is, which texts rather keep off

    def color(self, series: Series, place: int) -> str:
        """Return what paints a series."""
        if series.compares:
            return self.colors["border"]
        return self.colors[f"series-{self.number(series, place) + 1}"]

    def number(self, series: Series, place: int) -> int:
        """Return which of the eight a series is: 0 to 7."""
        return ((series.color or place + 1) - 1) % 8

    def add(self, *parts: str) -> None:
        """Draw."""
        self.parts.extend(parts)

    def write(
        self,
        x: float,
        y: float,
        content: str,
        *,
        fill: str = "muted",
        anchor: str = "start",
        size: float = SIZE,
        bold: bool = False,
        halo: bool = False,
    ) -> None:
        """Write a line of text, whatever stands there."""
        if content:
            self.boxes.append(box(x, y, content, anchor, size, bold=bold))
            self.texts.append(
                text(
                    x,
                    y,
                    content,
                    fill=self.colors[fill],
                    size=size,
                    anchor=anchor,
                    bold=bold,
                    halo=self.surface if halo else None,
                )
            )

    def free(self, wanted: Box, width: float) -> bool:
        """Return whether a box lies within the picture and on no text."""
        return (
            wanted[0] >= 0
            and wanted[2] <= width
            and wanted[1] >= 0
            and not any(overlap(wanted, other) for other in self.boxes)
        )

    def write_first_free(
        self,
        places: Iterable[tuple[float, float, str]],
        content: str,
        *,
        fill: str = "muted",
        halo: bool = True,
    ) -> bool:
        """Write a line of text at the first place (x, y, anchor) that is free; return whether there is one."""
        for x, y, anchor in places:
            if content and self.free(box(x, y, content, anchor), self.sheet.width):
                self.write(x, y, content, fill=fill, anchor=anchor, halo=halo)
                return True
        return False

    def covered(self, wanted: Box) -> int:
        """Return how many pieces of lines a box would cover."""
        return sum(_crosses(one, other, wanted) for line in self.lines for one, other in pairwise(line))

    def picture(self, height: float, data: dict[str, Any] | None, kind: str = "chart") -> str:
        """Return all that was drawn, as one picture."""
        sheet = self.sheet
        return picture(
            (*self.parts, *self.texts),
            width=sheet.width,
            height=height,
            id=sheet.id,
            title=sheet.title,
            description=sheet.description,
            theme=sheet.theme,
            surface=sheet.surface,
            tab_stop=sheet.tab_stop,
            data=data,
            kind=kind,
            named=sheet.named,
        )


def _crosses(one: tuple[float, float], other: tuple[float, float], wanted: Box) -> bool:
    (left, begin), (right, end) = one, other
    if right < wanted[0] or left > wanted[2]:
        return False
    slope = (end - begin) / (right - left) if right > left else 0.0
    low = begin + (max(left, wanted[0]) - left) * slope
    high = end if right <= left else begin + (min(right, wanted[2]) - left) * slope
    return min(low, high) <= wanted[3] and max(low, high) >= wanted[1]
