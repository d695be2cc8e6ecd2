"""Where the stocks of a process stand: columns along its main line, rows for its branches.

Columns follow the flows. Where a cycle leaves no order in which all of them run forward, as few as possible run back,
and rather those that the order of the declaration makes run back already: an order that is declared means something.
Numbers have no say, so that a diagram stays as it is when they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

# What it costs that a flow runs back, and that it runs otherwise than its stocks are declared.
BACK, AGAINST = 5, 2
MOST_EXACT = 8  # so many stocks in one knot are ordered by trying all; 2 ** n steps
ISOLATED_A_ROW = 4

Ends = tuple[int, ...]


class Grid(NamedTuple):
    """Cells of stocks, in the order in which they were given.

    Attributes:
        cells: Column and row of each.
        columns, rows: How many there are.
        outside: Rows kept free for flows that touch no stock at all, by the flow's number.
    """

    cells: tuple[tuple[int, int], ...]
    columns: int
    rows: int
    outside: dict[int, int]


@lru_cache(512)
def arrange(stocks: int, flows: tuple[tuple[Ends, Ends], ...], most: int | None = None) -> Grid:
    """Return where each stock stands.

    Args:
        stocks: How many there are; they are numbered in declared order.
        flows: The stocks that each flow leaves and enters, without the outside.
        most: Columns at most, where the main line may be folded.
    """
    loose = [number for number, (sources, sinks) in enumerate(flows) if not sources and not sinks]
    pairs = [(s, t) for sources, sinks in flows for s in sources for t in sinks if s != t]
    touched = {stock for ends in flows for side in ends for stock in side}
    place = _line(stocks, pairs)
    forward = sorted({pair for pair in pairs if place[pair[0]] < place[pair[1]]}, key=lambda p: place[p[0]])
    column = _columns(place, forward)
    found: list[tuple[int, int]] = [(0, 0)] * stocks
    columns = max([column[stock] for stock in touched], default=0) + 1
    abreast = min(columns, most or columns)
    top = 0
    for part in _parts(stocks, flows):
        if len(part) == 1 and part[0] not in touched:
            continue
        rows = _rows(part, place, forward, column)
        for line in sorted({column[stock] // abreast for stock in part}):
            own = [stock for stock in part if column[stock] // abreast == line]
            for stock in own:
                found[stock] = column[stock] % abreast, top + rows[stock]
            top += 1 + max(rows[stock] for stock in own)
    columns = abreast
    alone = [stock for stock in range(stocks) if stock not in touched]
    # Rows as long as each other, rather than a last one of one stock.
    lines = -(-len(alone) // max(columns, ISOLATED_A_ROW))
    wide = max(columns, -(-len(alone) // lines) if lines else 0)
    for number, stock in enumerate(alone):
        found[stock] = number % wide, top + number // wide
    top += -(-len(alone) // wide)
    outside = {flow: top + number for number, flow in enumerate(loose)}
    return Grid(tuple(found), wide, max(top + len(loose), 1), outside)


def _line(stocks: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return the place of each stock in one line, in which what runs back costs least."""
    after: list[set[int]] = [set() for _ in range(stocks)]
    for source, sink in pairs:
        after[source].add(sink)
    knots = _knots(after)
    line: list[int] = []
    left = set(range(stocks))
    belongs = {stock: number for number, knot in enumerate(knots) for stock in knot}
    waits = [
        {belongs[s] for s, t in pairs if belongs[t] == number} - {number} for number in range(len(knots))
    ]
    open_ = set(range(len(knots)))
    while left:  # the next is the first declared among those for whom nothing is to wait
        ready = [number for number in open_ if not waits[number] & open_]
        chosen = min(ready, key=lambda number: knots[number][0])
        open_.remove(chosen)
        line += _within(knots[chosen], pairs)
        left -= set(knots[chosen])
    place = [0] * stocks
    for number, stock in enumerate(line):
        place[stock] = number
    return place


def _knots(after: Sequence[set[int]]) -> list[list[int]]:
    """Return the stocks that can reach each other, each knot in declared order."""
    reach = [set(direct) | {number} for number, direct in enumerate(after)]
    for middle in range(len(after)):
        for one in reach:
            if middle in one:
                one |= reach[middle]
    seen: set[int] = set()
    knots = []
    for stock in range(len(after)):
        if stock not in seen:
            knot = [other for other in reach[stock] if stock in reach[other]]
            seen.update(knot)
            knots.append(sorted(knot))
    return knots


def _within(knot: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return a knot in its cheapest order; the first by declaration where several are."""
    size = len(knot)
    if size == 1:
        return list(knot)
    number = {stock: i for i, stock in enumerate(knot)}
    # What it costs that one stands before the other.
    cost = [[0] * size for _ in knot]
    for source, sink in pairs:
        if source in number and sink in number:
            a, b = number[source], number[sink]
            cost[b][a] += BACK + (AGAINST if a < b else 0)
            cost[a][b] += AGAINST if a > b else 0
    if size > MOST_EXACT:
        return [knot[i] for i in _improved(cost)]
    full = (1 << size) - 1
    sums = [[0] * (full + 1) for _ in knot]
    for own, row in zip(sums, cost, strict=True):
        for rest in range(1, full + 1):
            own[rest] = own[rest & (rest - 1)] + row[(rest & -rest).bit_length() - 1]
    best = [0] * (full + 1)
    first = [0] * (full + 1)
    for rest in range(1, full + 1):  # of those that are left, who comes first?
        best[rest], first[rest] = min(
            (sums[i][rest & ~(1 << i)] + best[rest & ~(1 << i)], i) for i in range(size) if rest >> i & 1
        )
    order, rest = [], full
    while rest:
        order.append(knot[first[rest]])
        rest &= ~(1 << first[rest])
    return order


def _improved(cost: Sequence[Sequence[int]]) -> list[int]:
    """Return a cheap order of a large knot: one stock after the other goes where it costs least, until none gains."""
    order = list(range(len(cost)))
    for _ in range(len(cost)):
        changed = False
        for stock in list(order):
            at = order.index(stock)
            rest = order[:at] + order[at + 1 :]
            here = sum(cost[stock][other] for other in rest)
            prices = [here]
            for other in rest:
                here += cost[other][stock] - cost[stock][other]
                prices.append(here)
            if min(prices) < prices[at]:
                rest.insert(prices.index(min(prices)), stock)
                order, changed = rest, True
        if not changed:
            break
    return order


def _columns(place: Sequence[int], forward: Sequence[tuple[int, int]]) -> list[int]:
    """Return each stock's column: the longest way to it; what nothing leads to stands close to what it leads to."""
    column = [0] * len(place)
    for source, sink in forward:  # in the order of the line: a source's column is known before it is used
        column[sink] = max(column[sink], column[source] + 1)
    entered = {sink for _, sink in forward}
    for stock in range(len(place)):
        leads = [column[sink] for source, sink in forward if source == stock]
        if stock not in entered and leads:
            column[stock] = min(leads) - 1
    return column


def _parts(stocks: int, flows: Sequence[tuple[Ends, Ends]]) -> list[list[int]]:
    """Return the stocks that hang together."""
    part = list(range(stocks))
    for ends in flows:
        together = {part[stock] for side in ends for stock in side}
        if len(together) > 1:
            low = min(together)
            part = [low if one in together else one for one in part]
    return [[stock for stock in range(stocks) if part[stock] == low] for low in sorted(set(part))]


def _rows(
    part: Sequence[int], place: Sequence[int], forward: Sequence[tuple[int, int]], column: Sequence[int]
) -> dict[int, int]:
    """Return each stock's row: 0 on the main line, which is the longest, below it for what branches off."""
    own = set(part)
    edges = [(s, t) for s, t in forward if s in own]
    length = dict.fromkeys(part, 1)
    onward: dict[int, int] = {}
    for source, sink in sorted(edges, key=lambda edge: (-place[edge[0]], edge[1])):
        if column[sink] == column[source] + 1 and length[sink] + 1 > length[source]:
            length[source], onward[source] = length[sink] + 1, sink
    main = min(part, key=lambda stock: (-length[stock], column[stock], stock))
    rows = {main: 0}
    while main in onward:
        main = onward[main]
        rows[main] = 0
    taken = {(column[stock], 0) for stock in rows}
    for stock in sorted(part, key=lambda one: (column[one], one)):
        if stock in rows:
            continue
        row = max(1, min((rows[s] for s, t in edges if t == stock and s in rows), default=1))
        while (column[stock], row) in taken:
            row += 1
        rows[stock] = row
        taken.add((column[stock], row))
    return rows
