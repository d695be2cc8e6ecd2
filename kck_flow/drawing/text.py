"""The stock-and-flow diagram of a process in the characters of a terminal.

Stocks stand in one line with the flows between neighbours; below it, lane by lane, run losses, returns and whatever
skips a stock. A terminal that is too narrow for that gets a line for each flow instead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import ranks
from .parts import Box, Pipe

# What stands for what, one sign for one: box drawing, then ASCII.
SIGNS = "─│└┘┴┼▶▲☁→…"
ASCII = "-|`'++>^~>."
MOST_LANES = 24
WIDER = 0, 8, 16, 32  # what stocks are moved apart by where a text has no room otherwise


def picture(boxes: Sequence[Box], pipes: Sequence[Pipe], *, width: int = 80, ascii: bool = False) -> str:
    """Return a process as lines of text, without a line's end after the last.

    Args:
        width: Cells that the terminal has in a line.
        ascii: Only ASCII for what is drawn; names stay as they are.

    Raises:
        ValueError: a pipe names none of the boxes.
    """
    known = {box.name for box in boxes}
    for pipe in pipes:
        for end in (*pipe.sources, *pipe.sinks):
            if end is not None and end not in known:
                raise ValueError(f"{pipe.name!r} names {end!r}, which is none of the stocks.")
    drawn = _Picture(boxes, pipes)
    found = None
    for more in WIDER if boxes else ():
        found = drawn.lines(more)
        if found is not None:
            break
    if found is None or max(map(_cells, found)) > width:
        found = _listed(boxes, pipes)
    lines = [line.rstrip() for line in found]
    if ascii:
        table = str.maketrans(SIGNS, ASCII)
        lines = [line.translate(table) for line in lines]
    return "\n".join(lines)


def _cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def _said(part: Box | Pipe) -> str:
    return f"{part.label} {part.value_text}".strip()


def _listed(boxes: Sequence[Box], pipes: Sequence[Pipe]) -> list[str]:
    """Return a line for each stock that no flow touches, and one for each flow."""
    labels = {box.name: f"[{_said(box)}]" for box in boxes}
    touched = {end for pipe in pipes for end in (*pipe.sources, *pipe.sinks)}
    rows = [
        (
            _said(pipe),
            ", ".join("☁" if end is None else labels[end] for end in pipe.sources or (None,)),
            ", ".join("☁" if end is None else labels[end] for end in pipe.sinks or (None,)),
        )
        for pipe in pipes
    ]
    wide = max((_cells(said) for said, _, _ in rows), default=0)
    lines = [f"{said}{' ' * (wide - _cells(said))}  {sources} → {sinks}" for said, sources, sinks in rows]
    return lines + [labels[box.name] for box in boxes if box.name not in touched]


@dataclass
class _Lane:
    """A flow below the line of stocks.

    Attributes:
        sources, sinks: Places of its stocks in the line.
        text: What stands on it.
        tail: What it ends in, at its right.
        head: What it begins in, at its left.
    """

    pipe: Pipe
    sources: list[int]
    sinks: list[int]
    text: str
    head: str = ""
    tail: str = ""
    columns: list[tuple[int, bool]] = field(default_factory=list)  # of its ends, and whether it is a sink


class _Picture:
    """One picture while it is being drawn."""

    def __init__(self, boxes: Sequence[Box], pipes: Sequence[Pipe]) -> None:
        number = {box.name: at for at, box in enumerate(boxes)}
        flows = tuple(
            (
                tuple(dict.fromkeys(number[end] for end in pipe.sources if end is not None)),
                tuple(dict.fromkeys(number[end] for end in pipe.sinks if end is not None)),
            )
            for pipe in pipes
        )
        self.boxes = boxes
        grid = ranks.arrange(len(boxes), flows)
        uses = [sum(stock in (*sources, *sinks) for sources, sinks in flows) for stock in range(len(boxes))]
        # A stock that one flow enters, and none leaves, stands at the end of its lane.
        self.leaves: dict[int, int] = {}
        for at, (sources, sinks) in enumerate(flows):
            only = len(sources) == len(sinks) == 1 and None not in (*pipes[at].sources, *pipes[at].sinks)
            if only and uses[sinks[0]] == 1 and grid.cells[sinks[0]][1] and sources != sinks:
                self.leaves[sinks[0]] = at
        line = [stock for stock in range(len(boxes)) if stock not in self.leaves]
        line.sort(key=lambda stock: (_part(stock, flows), grid.cells[stock][1], grid.cells[stock][0], stock))
        self.line = line
        place = {stock: at for at, stock in enumerate(line)}
        self.between: dict[int, Pipe] = {}  # inline, before a place
        self.lanes: list[_Lane] = []
        for pipe, (sources, sinks) in zip(pipes, flows, strict=True):
            outs, intos = None in pipe.sources or not sources, None in pipe.sinks or not sinks
            outs, intos = outs and bool(sinks or not sources), intos and bool(sources)
            if sinks and sinks[0] in self.leaves:
                tail = f"▶ [{_said(boxes[sinks[0]])}]"
                self.lanes.append(_Lane(pipe, [place[sources[0]]], [], _said(pipe), tail=tail))
                continue
            before = place[sinks[0]] if len(sinks) == 1 and not intos else -1
            after = place[sources[0]] + 1 if len(sources) == 1 and not outs else -1 if sources else 0
            if before == after >= 0 and before not in self.between:
                self.between[before] = pipe
                continue
            self.lanes.append(
                _Lane(
                    pipe,
                    [place[one] for one in sources],
                    [place[one] for one in sinks],
                    _said(pipe),
                    head="☁" if outs else "",
                    tail="▶ ☁" if intos or not sinks else "",
                )
            )

    def lines(self, more: int) -> list[str] | None:
        """Return the picture, or None where it cannot be drawn; with ``more`` cells for each stock."""
        names = [f"[{_said(self.boxes[stock])}]" for stock in self.line]
        if any(not lane.sources and not lane.sinks for lane in self.lanes) or len(self.lanes) > MOST_LANES:
            return None
        # Short ones first; of those that lead to the right of all, the rightmost.
        self.lanes.sort(key=lambda lane: (self._reach(lane), -max(*lane.sources, *lane.sinks, -1)))
        ends: list[list[tuple[int, _Lane, bool]]] = [[] for _ in self.line]
        for depth, lane in enumerate(self.lanes):
            lane.columns.clear()
            for places, sink in ((lane.sources, False), (lane.sinks, True)):
                for at in places:
                    ends[at].append((depth, lane, sink))
        # Room for what comes from outside into the first stock, besides the flow in its line.
        room = [_cells(lane.text) + 6 for lane in self.lanes if lane.head and min(lane.sinks, default=1) == 0]
        starts, top = [], " " * max(room, default=0) if 0 not in self.between else ""
        for at, name in enumerate(names):
            if at in self.between:
                first = "☁ " if at == 0 else " "
                top += f"{first}──{_said(self.between[at])}──▶ "
            elif at:
                top += "   "
            starts.append(_cells(top))
            wide = 2 * len(ends[at]) + 1 + (more and _cells(name) + more)
            top += name[:-1] + " " * max(0, wide - _cells(name)) + "]"
        for at, own in enumerate(ends):
            wide = max(_cells(names[at]), 2 * len(own) + 1)
            loops = any(lane.sources == lane.sinks == [at] for _, lane, _ in own)
            self._spread(at, own, starts[at], wide + (more if loops else 0))
        rows: list[list[str]] = []
        for depth, lane in enumerate(self.lanes):
            later = {column: sink for other in self.lanes[depth + 1 :] for column, sink in other.columns}
            if not self._draw(lane, rows, later):
                return None
        return [top, *("".join(row) for row in rows)]

    def _reach(self, lane: _Lane) -> int:
        ends = [*lane.sources, *lane.sinks]
        return max(ends) - min(ends)

    def _spread(self, at: int, own: Sequence[tuple[int, _Lane, bool]], start: int, wide: int) -> None:
        """Give each end below a stock its column: what goes left stands left, short lanes stand outside."""

        def side(lane: _Lane) -> int:
            others = [one for one in (*lane.sources, *lane.sinks) if one != at]
            if not others:
                return -1 if lane.head and not lane.tail else 1
            return -1 if max(others) < at else 1

        left = [one for one in own if side(one[1]) < 0]
        right = [one for one in own if side(one[1]) > 0]
        order = [*sorted(left, key=lambda one: one[0]), *sorted(right, key=lambda one: -one[0])]
        for number, (_, lane, sink) in enumerate(order):
            column = start + round((number + 1) * (wide - 1) / (len(order) + 1))
            lane.columns.append((column, sink))

    def _draw(self, lane: _Lane, rows: list[list[str]], later: dict[int, bool]) -> bool:
        """Write a lane into the first row that has room for it, and the stretches from its ends up to the stocks."""
        ends = [column for column, _ in lane.columns]
        text = _cells(lane.text)
        low, high = min(ends), max(ends)
        least = high
        if lane.tail or lane.head:
            least = high + (text + 4 if lane.tail else 0)
        for more in range(60):
            left, right = low, high
            if lane.tail:
                right = least + more
                spot_low, spot_high = (low + 3, right - 2)
            elif lane.head:
                left = (
                    low - text - 4 - more if len(set(ends)) == 1 or high - low < text + 6 else low - 3 - more
                )
                spot_low, spot_high = left + 3, high - 2
            else:
                spot_low, spot_high = low + 2, high - 2
            if left < 0:
                return False
            blocked = {*later, *ends}
            spots = [
                at for at in range(spot_low, spot_high - text + 2)
                if not any(at - 1 <= column <= at + text for column in blocked)
            ]  # fmt: skip
            tail = range(right + 1, right + 1 + _cells(lane.tail))
            clear = not any(column in later for column in tail) and left not in later
            if spots and clear:
                middle = (spot_low + spot_high - text + 1) / 2
                spot = min(spots, key=lambda at: (abs(at - middle), at))
                # Where a later one has its arrowhead, none may pass.
                first = int(any(sink for column, sink in later.items() if left <= column <= right))
                return self._write(lane, rows, left, right, spot, first)
            if not lane.tail and not lane.head:
                return False
        return False

    def _write(
        self, lane: _Lane, rows: list[list[str]], left: int, right: int, spot: int, first: int
    ) -> bool:
        reach = right + _cells(lane.tail)
        ends = dict(lane.columns)
        for number in range(MOST_LANES + 1):
            while len(rows) <= number:
                rows.append([])
            row = rows[number]
            row += [" "] * (reach + 2 - len(row))
            if (
                number >= first
                and all(row[at] in " │" for at in range(max(left - 1, 0), reach + 2))
                and all(
                    rows[above][end] in " ─" if end < len(rows[above]) else True
                    for above in range(number)
                    for end in ends
                )
            ):
                break
        else:
            return False
        for at in range(left, right + 1):
            row[at] = "┼" if row[at] == "│" else "─"
        for end, sink in ends.items():
            inside = left < end < right
            corner = "┴" if inside else "└" if end == left else "┘"
            row[end] = "▲" if sink and number == 0 else corner
            for above in range(number):
                upper = rows[above]
                upper += [" "] * (end + 1 - len(upper))
                sign = "▲" if sink and above == 0 else "│"
                upper[end] = "┼" if upper[end] == "─" and sign == "│" else sign
        if lane.head:
            row[left] = lane.head
        cells = _cells(lane.text)
        row[spot : spot + cells] = [*lane.text, *[""] * (cells - len(lane.text))]
        row[right + 1 : right + 1 + _cells(lane.tail)] = [
            *lane.tail,
            *[""] * (_cells(lane.tail) - len(lane.tail)),
        ]
        return True


def _part(stock: int, flows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> int:
    """Return the first stock that one hangs together with."""
    reached, grew = {stock}, True
    while grew:
        grew = False
        for ends in flows:
            both = {one for side in ends for one in side}
            if both & reached and not both <= reached:
                reached |= both
                grew = True
    return min(reached)
