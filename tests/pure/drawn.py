"""What the tests of charts look at in a picture, and what they draw."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

from hypothesis import strategies as st

from kck_flow.drawing.board import box, overlap
from kck_flow.entry import Point

FIRST = datetime(2026, 6, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def points(
    values: list[Any], *, step: timedelta = timedelta(days=1), open: int = 1, first: datetime = FIRST
) -> list[Point]:
    """Return a point for each value, the last ``open`` in progress."""
    return [
        Point(first + at * step, first + (at + 1) * step, value, at < len(values) - open)
        for at, value in enumerate(values)
    ]


VALUES = st.one_of(
    st.none(),
    st.integers(-50, 5000),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.sampled_from([10**400, -(10**330), Decimal("1E-500"), "text", {"a": 1}, True, 5e-324, 1.7e308]),
)
INSTANTS = st.integers(-(10**9), 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
STEPS = st.sampled_from(
    [timedelta(seconds=15), timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=365)]
)


@st.composite
def any_points(draw: st.DrawFn, most: int = 16) -> list[Point]:
    """Points of any values, steps and marks; some at one instant, some out of order."""
    first = draw(INSTANTS)
    step = draw(STEPS)
    values = draw(st.lists(VALUES, max_size=most))
    places = list(range(len(values)))
    if draw(st.booleans()):
        places = draw(st.lists(st.integers(0, most), min_size=len(values), max_size=len(values)))
    found = []
    for place, value in zip(places, values, strict=True):
        start = first + place * step
        complete = draw(st.integers(0, 4)) > 0
        found.append(Point(start, start + step, value, complete, draw(st.sampled_from([None, None, 1, 2]))))
    return found


def parsed(svg: str) -> ET.Element:
    """Return a picture as a tree, having looked at what holds for every picture."""
    root = ET.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        assert element.tag.startswith(SVG)
        assert element.tag not in (f"{SVG}style", f"{SVG}script", f"{SVG}foreignObject")
        for name, value in element.attrib.items():
            assert name != "style"
            assert not name.startswith("on")
            if name not in ("id", "class", "aria-labelledby", "aria-describedby", "font-family"):
                assert not re.search(r"nan|inf", value, re.IGNORECASE), (name, value)
            if name in ("x", "y", "cx", "cy", "r", "rx", "width", "height") and value != "100%":
                assert abs(float(value)) < 1e5
                assert name not in ("r", "rx", "width", "height") or float(value) >= 0
        if element.get("tabindex"):
            assert element is root
        for referred in re.findall(r"url\(#([^)]*)\)", " ".join(element.attrib.values())):
            assert referred in ids
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") in ids
    return root


def text_boxes(root: ET.Element) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return what is written, and what each text covers at most."""
    return [
        (
            element.text or "",
            box(
                float(element.get("x", "0")),
                float(element.get("y", "0")),
                element.text or "",
                element.get("text-anchor", "start"),
                float(element.get("font-size", "12")),
                bold=element.get("font-weight") is not None,
            ),
        )
        for element in root.iter(f"{SVG}text")
    ]


def assert_readable(root: ET.Element) -> None:
    """Assert that no text lies on another, nor outside of the picture."""
    _, _, width, height = map(float, root.get("viewBox", "").split())
    boxes = text_boxes(root)
    for said, (left, top, right, bottom) in boxes:
        assert left >= -0.1, said
        assert right <= width + 0.1, said
        assert top >= -4, said  # above the letters of a first line is nothing
        assert bottom <= height + 0.1, said
    for (one, there), (other, here) in combinations(boxes, 2):
        shrunk = here[0] + 0.1, here[1] + 0.1, here[2] - 0.1, here[3] - 0.1
        assert not overlap(there, shrunk), (one, other)


def cursor_of(root: ET.Element) -> dict[str, Any]:
    """Return what the picture carries for a script."""
    found: dict[str, Any] = json.loads(root.findtext(f"{SVG}metadata") or "null")
    return found


def paths(root: ET.Element, *classes: str) -> Iterator[str]:
    """Yield the data of paths of these classes."""
    for element in root.iter(f"{SVG}path"):
        if element.get("class") in classes:
            yield element.get("d", "")


def corners(data: str) -> list[list[tuple[float, float]]]:
    """Return the lines of a path that has only M, L, V, H and h0, each as its corners."""
    found: list[list[tuple[float, float]]] = []
    x = y = 0.0
    for command, rest in re.findall(r"([MLVHh])([^MLVHhZ]*)", data):
        numbers = [float(each) for each in NUMBER.findall(rest)]
        if command in "ML":
            x, y = numbers
        elif command == "V":
            (y,) = numbers
        elif command == "H":
            (x,) = numbers
        if command == "M":
            found.append([])
        if command != "h":
            found[-1].append((x, y))
    return found
