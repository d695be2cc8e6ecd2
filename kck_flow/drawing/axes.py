"""What stands around the data of a chart: axes, legend, goal, annotations; no text lies on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from .board import LINE, Board, Plot, box
from .palette import DASHES, MARKERS
from .scales import STEPS, Linear, Times, drawn, linear_between, time_ticks
from .sheet import Annotation, Goal, Series
from .svg import element, escape, fit, number, text_width
from .traces import Trace

BELOW = 25  # room for the axis of time
LANE = 16  # a line of annotations
MONTH = 28 * 86_400 - 7200  # seconds, at least
LEAST_PLOT = 56  # no plot is lower, whatever stands around it


# ---------------------------------------------------------------------------------------------------------------- axes


def value_scale(
    traces: Sequence[Trace], height: float, *, zero: bool, goal: Goal | None, more: Sequence[float] = ()
) -> Linear:
    """Return the domain of all values, with as many steps as have room."""
    limits = [limit for one in traces for limit in (one.low, one.high) if limit is not None]
    limits += more
    aim = drawn(goal.value) if goal else None
    if aim is not None:
        limits.append(aim)
    whole = all(float(limit).is_integer() and abs(limit) < 2**53 for limit in limits) and all(
        isinstance(value, int) or value is None or float(value).is_integer()
        for one in traces
        for value in one.values
    )
    low, high = (min(limits), max(limits)) if limits else (0.0, 0.0)
    return linear_between(
        float(low), float(high), whole=whole, zero=zero, count=max(1, min(6, int(height / 44)))
    )


def labelled(board: Board, values: Linear) -> list[tuple[float, str]]:
    """Return the ticks of values and what is written at them."""
    room = board.sheet.width * 0.3
    return [(float(tick), fit(board.sheet.number(tick), room)) for tick in values.ticks]


def draw_value_axis(board: Board, plot: Plot, ticks: list[tuple[float, str]]) -> None:
    """Draw a line across the plot for each tick, and its label left of it."""
    lines = "".join(f"M{number(plot.left)} {half(plot.y(tick))}H{number(plot.right)}" for tick, _ in ticks)
    board.add(element("path", d=lines, stroke=board.colors["grid"], stroke_width=1))
    for tick, label in ticks:
        board.write(plot.left - 8, plot.y(tick) + 4, label, anchor="end")


def half(place: float) -> str:
    """Return a place where a line one pixel wide is sharp."""
    return number(round(place - 0.5) + 0.5)


def draw_time_axis(
    board: Board,
    plot: Plot,
    *,
    least: float | None,
    label_at: Callable[[datetime], float] | None = None,
    only: datetime | None = None,
    within: bool = False,
) -> None:
    """Draw the line at the bottom, ticks, and as many labels as have room.

    Args:
        least: Seconds from one point to the next: no tick is finer; None: there is no point, and no tick.
        label_at: Where the label of a tick stands; at the tick.
        only: The instant of the only point, which is labelled whether or not it is round.
        within: Whether no tick is at the very end, since nothing begins there.
    """
    times = plot.times
    baseline = plot.zero
    edge = f"M{number(plot.left)} {half(plot.bottom)}H{number(plot.right)}"
    if baseline < plot.bottom - 1:
        edge += f"M{number(plot.left)} {half(baseline)}H{number(plot.right)}"
    found: list[tuple[float, float, str]] = []
    if least is not None and only is None:
        found = _time_labels(board, plot, least, label_at or times.x, within)
    elif least is not None and only is not None:
        unit = next((step.unit for step in reversed(STEPS) if step.seconds <= max(least, 1)), "second")
        found = _placed(board, [(only, unit)], label_at or times.x)
    marks = "".join(f"M{half(x)} {number(plot.bottom)}v4" for x, _, _ in found)
    board.add(element("path", d=edge + marks, stroke=board.colors["border"], stroke_width=1))
    for _, x, label in found:
        board.write(x, plot.bottom + 18, label, anchor="middle")
    for at, said in board.sheet.failures:
        _draw_failure(board, plot, (label_at or times.x)(at), said)


def _draw_failure(board: Board, plot: Plot, x: float, said: str) -> None:
    """Draw a cross on the axis: a form of its own, for whoever sees no red."""
    if not plot.left - 1 <= x <= plot.right + 1:
        return
    y = plot.bottom
    cross = f"M{number(x - 3.5)} {number(y - 3.5)}l7 7M{number(x - 3.5)} {number(y + 3.5)}l7 -7"
    # What lies beneath keeps it apart from a bar, or a line on zero.
    ground = element("path", d=cross, stroke=board.surface, stroke_width=5, stroke_linecap="round")
    line = element("path", d=cross, stroke=board.colors["bad"], stroke_width=2, stroke_linecap="round")
    board.add(element("g", element("title", escape(said)), ground, line, class_="kck-failure"))


def _time_labels(
    board: Board, plot: Plot, least: float, label_at: Callable[[datetime], float], within: bool
) -> list[tuple[float, float, str]]:
    """The finest ticks whose labels have room: where each is, where its label's middle is, what it says."""
    times, sheet = plot.times, board.sheet
    span = times.end - times.start
    best: list[tuple[float, float, str]] = []
    for step in STEPS:
        if step.seconds < least * 0.9 or span / step.seconds > (times.right - times.left) / 16:
            continue
        if least >= MONTH and step.unit == "week":
            continue  # a tick every fourth Monday would stand beside each month's point
        try:
            start, end = times.at(times.left), times.at(times.right)
            ticks = time_ticks(start, end, step, sheet.zone, sheet.week_start)
            if within and ticks and ticks[-1] >= end:
                ticks.pop()
        except OverflowError:
            continue
        found = _placed(board, [(tick, step.unit) for tick in ticks], label_at)
        if found and _apart(found):
            best = found
            break
    if not best:
        first = times.at(times.left).astimezone(sheet.zone)
        unit = next((step.unit for step in reversed(STEPS) if step.seconds <= max(least, 1)), "second")
        best = _placed(board, [(first, unit)], label_at)
    return best


def _placed(
    board: Board, ticks: Sequence[tuple[datetime, str]], label_at: Callable[[datetime], float]
) -> list[tuple[float, float, str]]:
    sheet = board.sheet
    found = []
    for at, unit in ticks:
        local = at.astimezone(sheet.zone)
        label = fit(sheet.tick(local, unit), sheet.width)
        x = label_at(at)
        wide = text_width(label) / 2
        found.append((x, min(max(x, wide), sheet.width - wide), label))
    return found


def _apart(found: list[tuple[float, float, str]]) -> bool:
    """Whether no label comes near the next."""
    ends = [(x - text_width(label) / 2, x + text_width(label) / 2) for _, x, label in found]
    return all(after[0] - before[1] >= 12 for before, after in pairwise(ends))


# -------------------------------------------------------------------------------------------------------------- legend


def marker(
    place: int, x: float, y: float, *, color: str, hollow: str | None = None, radius: float = 3.5
) -> str:
    """Return the marker of one of the eight series: filled, or hollow on a surface."""
    paint = {
        "fill": hollow or color,
        "stroke": color if hollow else None,
        "stroke_width": 1.75 if hollow else None,
    }
    kind = MARKERS[place]
    if kind == "circle":
        return element("circle", cx=x, cy=y, r=radius, **paint)
    r = radius * 1.1
    if kind == "square":
        d = f"M{number(x - r * 0.9)} {number(y - r * 0.9)}h{number(r * 1.8)}v{number(r * 1.8)}h{number(-r * 1.8)}z"
    elif kind == "triangle":
        d = f"M{number(x)} {number(y - r * 1.2)}l{number(r * 1.15)} {number(r * 2.05)}h{number(-r * 2.3)}z"
    else:
        r *= 1.3
        d = f"M{number(x)} {number(y - r)}l{number(r)} {number(r)}l{number(-r)} {number(r)}l{number(-r)} {number(-r)}z"
    return element("path", d=d, **paint)


def line_key(board: Board, series: Series, place: int, x: float, y: float) -> str:
    """Return a piece of a series' line, 18 pixels wide, with its marker: what stands before its name."""
    color = board.color(series, place)
    sample = element(
        "path",
        d=f"M{number(x)} {number(y)}h18",
        stroke=color,
        stroke_width=1.5 if series.compares else 2,
        stroke_dasharray=None if series.compares else DASHES[board.number(series, place)] or None,
    )
    return sample if series.compares else sample + marker(board.number(series, place), x + 9, y, color=color)


def block_key(color: str, x: float, y: float) -> str:
    """Return a block of a kind of bar."""
    return element("rect", x=float(x + 3), y=float(y - 6), width=12, height=12, rx=2, fill=color)


def legend_rows(board: Board, names: Sequence[str]) -> list[list[tuple[int, float, str]]]:
    """Return the rows of a legend: which name, where it begins, what is written of it."""
    rows: list[list[tuple[int, float, str]]] = []
    x = 0.0
    width = board.sheet.width
    for place, name in enumerate(names):
        said = fit(name, min(width - 26, 260))
        needed = 24 + text_width(said)
        if not rows or x + needed > width:
            rows.append([])
            x = 0.0
        rows[-1].append((place, x, said))
        x += needed + 18
    return rows


def draw_legend(
    board: Board,
    rows: list[list[tuple[int, float, str]]],
    key: Callable[[int, float, float], str],
    top: float = 0,
) -> None:
    """Draw a legend; ``key(place, x, y)`` draws what stands before a name."""
    for line, row in enumerate(rows):
        y = top + line * LINE + 12
        for place, x, said in row:
            board.add(key(place, x, y - 4))
            board.write(x + 24, y, said, fill="ink")


def spread(wanted: Sequence[float], gap: float, low: float, high: float, most: float) -> list[float] | None:
    """Return places that are ``gap`` apart or more, from ``low`` to ``high``, each at most ``most`` from where it is
    wanted, in the order given; None: there are no such.
    """
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    places = [0.0] * len(wanted)
    floor = low
    for at in order:
        places[at] = max(wanted[at], floor)
        floor = places[at] + gap
    ceiling = high
    for at in reversed(order):
        places[at] = min(places[at], ceiling)
        ceiling = places[at] - gap
    if wanted and (min(places) < low or any(abs(a - b) > most for a, b in zip(places, wanted, strict=True))):
        return None
    return places


# ------------------------------------------------------------------------------------------------- goals, annotations


def draw_goal(board: Board, plot: Plot, goal: Goal) -> None:
    """Draw a line at a goal, with its label where it finds room."""
    value = drawn(goal.value)
    if value is None:
        return
    y = plot.y(value)
    color = board.colors["goal"]
    board.add(
        element(
            "path",
            d=f"M{number(plot.left)} {number(y)}H{number(plot.right)}",
            stroke=color,
            stroke_width=1.5,
            stroke_dasharray="8 4",
            class_="kck-goal",
        )
    )
    label = fit(goal.label, (plot.right - plot.left) * 0.6)
    inside = plot.right - plot.left - 16
    places = [
        (
            plot.right - 8 - inside * share,
            y + aside,
            "end" if share < 0.5 else "middle" if share == 0.5 else "start",
        )
        for aside in (-6, 15)
        for share in (0.0, 1.0, 0.5, 0.25, 0.75)
    ]
    places.sort(key=lambda place: board.covered(box(place[0], place[1], label, place[2])))
    board.write_first_free(places, label, fill="goal")


def lanes_for(number_of_notes: int) -> int:
    """Return how many lines annotations are given above a plot."""
    return min(number_of_notes, 2)


def draw_ranges(board: Board, plot: Plot, annotations: Sequence[Annotation]) -> None:
    """Shade the ranges among annotations: beneath all else."""
    for one in annotations:
        if one.end is not None and _within(plot, one):
            left, right = _clipped(plot, one.at), _clipped(plot, one.end)
            board.add(
                element(
                    "g",
                    element("title", escape(one.text)),
                    element(
                        "rect",
                        x=left,
                        y=float(plot.top),
                        width=max(right - left, 1.0),
                        height=float(plot.bottom - plot.top),
                        fill=board.colors["shade"],
                    ),
                    class_="kck-annotation",
                )
            )


def draw_notes(
    board: Board,
    plot: Plot,
    annotations: Sequence[Annotation],
    breaks: Sequence[float],
    lanes: int,
) -> None:
    """Draw lines at annotations and breaks, with texts in the lanes above the plot where they find room."""
    color = board.colors["annotation"]
    notes = [(_clipped(plot, one.at), one.text, one) for one in annotations if _within(plot, one)]
    redefined = board.sheet.gettext("redefined")
    placed: list[tuple[float, str, Annotation | None]] = [*notes, *((x, redefined, None) for x in breaks)]
    for x, said, note in sorted(placed, key=lambda each: each[0]):
        top = plot.top
        label = fit(said, min(220, board.sheet.width * 0.5))
        for lane in range(lanes):
            y = plot.top - 7 - lane * LANE
            before = len(board.boxes)
            if board.write_first_free([(x + 5, y, "start"), (x - 5, y, "end")], label, fill="annotation"):
                top = board.boxes[before][1]
                break
        line = element(
            "path",
            d=f"M{half(x)} {number(top)}V{number(plot.bottom)}",
            stroke=color,
            stroke_width=1,
            stroke_dasharray="1.5 3" if note else "4 3",
        )
        if note is None:
            y = plot.bottom
            line += element(  # two strokes across the axis: it does not go on as it was
                "path",
                d=f"M{number(x - 5)} {number(y + 4)}l4 -8M{number(x + 1)} {number(y + 4)}l4 -8",
                stroke=board.colors["ink"],
                stroke_width=1.5,
            )
        board.add(
            element(
                "g", element("title", escape(said)), line, class_="kck-annotation" if note else "kck-break"
            )
        )


def _clipped(plot: Plot, at: datetime) -> float:
    return min(max(plot.times.x(at), plot.left), plot.right)


def _within(plot: Plot, one: Annotation) -> bool:
    return noted(one, (plot.times.start, plot.times.end))


def noted(one: Annotation, span: tuple[float, float]) -> bool:
    """Return whether an annotation has a part in a span of seconds."""
    return one.at.timestamp() <= span[1] and (one.end or one.at).timestamp() >= span[0]


def draw_span(board: Board, plot: Plot, least: float) -> None:
    """Write when the first and when the last point is, below a plot that is too small for an axis."""
    times, zone = plot.times, board.sheet.zone
    unit = next((step.unit for step in reversed(STEPS) if step.seconds <= max(least, 1)), "second")
    first, last = (board.sheet.tick(times.at(x).astimezone(zone), unit) for x in (times.left, times.right))
    room = (plot.right - plot.left) / 2 - 6
    board.write(plot.left, plot.bottom + 17, fit(first, room, 11), size=11)
    board.write(plot.right, plot.bottom + 17, fit(last, room, 11), anchor="end", size=11)


def plot_of(
    board: Board,
    traces: Sequence[Trace],
    spans: tuple[float, float],
    rows: Sequence[object],
    lanes: int,
    right: float,
    *,
    zero: bool,
    goal: Goal | None,
    more: Sequence[float] = (),
) -> Plot:
    """Return where the data will lie, so that what stands around it has room."""
    sheet = board.sheet
    top = len(rows) * LINE + (8 if rows else 0) + (lanes * LANE + 4 if lanes else 8)
    bottom = max(sheet.height - BELOW, top + LEAST_PLOT)
    values = value_scale(traces, bottom - top, zero=zero, goal=goal, more=more)
    left = 8 + max(text_width(label) for _, label in labelled(board, values))
    right = max(sheet.width - right, left + 1)
    return Plot(left, top, right, bottom, values, Times(*spans, left, right - left))
