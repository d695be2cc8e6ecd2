"""Which way each pipe of a stock-and-flow diagram takes, from bands to bands; how much room that needs comes after.

The plane is cut into bands, and each band belongs to one kind of thing. Along the main line (``u``), columns of boxes
alternate with gaps; across it (``v``), rows of boxes alternate with channels. What runs along a band gets a lane of
its own: a piece within a row, a lane within a channel, a post within a gap, a port at a box. A gap has a zone in its
middle, which no post stands in: valves and labels find room there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .parts import CLOUD, VALVE, Box, Pipe
from .ranks import Grid
from .svg import fit, text_width

# Units of a gap and of a column, along u: column c's gap stands before it.
LEFT, ZONE, RIGHT, CELL_LEFT, CELL_MIDDLE, CELL_RIGHT, UNITS = 0, 1, 2, 3, 4, 5, 6

LANE = 22  # from one lane to the next
Flows = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Sizes:
    """Sizes of texts, and of what holds them."""

    name: float = 13
    value: float = 23
    change: float = 11.5
    flow: float = 13
    least: float = 132  # a box's width
    most: float = 188
    label: float = 118  # a label's width, where it is wrapped
    beside: float = 110  # likewise, beside a pipe that runs down
    gap: float = 96  # between two columns, at least


WIDE = Sizes()
LONG = Sizes(value=21, least=104, most=150, label=92, beside=84, gap=80)
MOST_WIDE = 4  # columns; with more of them, all is somewhat smaller
NARROW = Sizes(name=13, value=20, change=12, flow=12, least=104, most=132, label=92, beside=84, gap=74)


# -- what is to be placed: each knows one coordinate, once that is found ----------------------------------------------


class At:
    """One coordinate."""

    at: float = 0.0


class Spot(At):
    """A place along u within a gap's unit: so far from where the unit begins, or in its middle."""

    def __init__(self, unit: int, offset: float | None = None, of_end: bool = False) -> None:
        self.unit, self.offset, self.of_end = unit, offset, of_end


class Piece(At):
    """A stretch of pipe along u within a row; it knows its v."""

    def __init__(self, row: int, low: int, high: int, *, order: int) -> None:
        self.row, self.low, self.high, self.order = row, low, high, order
        self.zone: int | None = None  # where its label stands
        self.lean = 0  # -1: what it leads to is above, 1: below
        self.straight = False
        self.clouds: list[int] = []  # units in which a cloud ends it
        self.touches: list[Place] = []
        self.y = 0.0  # from the middle of the row
        self.after = False  # whether its label stands after it (below) rather than before
        self.net: Net

    def within(self) -> float:
        """Return where it will be within its row: above, on, or below its middle."""
        return self.lean / 10


class Lane(At):
    """A stretch of pipe along u within a channel; it knows its v."""

    def __init__(self, channel: int, *, hung: bool, order: int) -> None:
        self.channel, self.hung, self.order = (
            channel,
            hung,
            order,
        )  # hung from the row above, or standing on that below
        self.low, self.high = 10**9, -1
        self.ends: list[
            tuple[int, int]
        ] = []  # where what meets it comes from: unit along u; -1: above, 1: below
        self.labelled = False
        self.zone: int | None = None
        self.room = 0.0  # half of a cloud at its end
        self.depth = 0.0  # from the row that it hangs from or stands on
        self.net: Net

    def reach(self, low: int, high: int | None = None) -> None:
        self.low, self.high = min(self.low, low), max(self.high, low if high is None else high)

    def within(self) -> float:
        """Return where it is within its channel: -0.5 to 0.5."""
        return self.depth / 1e5 - 0.5 if self.hung else 0.5 - self.depth / 1e5


class Drop(At):
    """A cloud above or below a row, or a lane; it knows its v."""

    def __init__(self, channel: int, *, hung: bool, low: int, high: int, length: float, order: int) -> None:
        self.channel, self.hung, self.low, self.high, self.length = channel, hung, low, high, length
        self.order = order
        self.lane: Lane | None = None  # what it hangs from (or stands on) if that is not a row
        self.depth = 0.0


class Post(At):
    """A stretch of pipe along v within a gap; it knows its u."""

    def __init__(self, column: int, *, right: bool, wide: float, order: int) -> None:
        self.column, self.right, self.wide, self.order = column, right, wide, order
        self.ends: list[
            tuple[int, int]
        ] = []  # what it connects: unit along v, and whether that is the near side
        self.joined: list[Piece | Lane] = []
        self.spans = 0.0, 0.0  # along v
        self.meets: list[tuple[float, int]] = []  # where along v, and -1: it leads left, 1: right


class Port(At):
    """Where a pipe leaves or enters a box above or below it; it knows its u."""

    def __init__(self, place: Place, *, below: bool, order: int) -> None:
        self.place, self.below, self.order = place, below, order
        self.lane: Lane | None = None
        self.going = 0  # -1: its lane leads to the left, 1: to the right
        self.long = False  # it reaches across the channel, to a lane that hangs from the row above
        self.before = self.after = LANE / 2  # its room
        self.rank = 0.0


class Place:
    """A box and its edges."""

    def __init__(self, number: int, column: int, row: int) -> None:
        self.number, self.column, self.row = number, column, row
        self.left, self.right, self.top, self.bottom = At(), At(), At(), At()


UV = tuple[At, At]


@dataclass
class Net:
    """A flow while it is being laid out."""

    number: int
    pipe: Pipe
    thick: float
    name: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    paths: list[list[UV]] = field(default_factory=list)
    arrows: list[int] = field(default_factory=list)  # numbers of paths that end in an arrowhead
    starts: list[int] = field(default_factory=list)  # numbers of paths that begin at a source
    clouds: list[tuple[int, int, UV]] = field(default_factory=list)  # path, which end (0, -1), middle
    # Where the valve and its label stand: a piece in a gap's zone, a lane, or a stretch along v.
    on: Piece | Lane | None = None
    stretch: tuple[UV, UV] | None = None


def wrap(content: str, width: float, size: float, *, bold: bool = False) -> tuple[str, ...]:
    """Return a text in two lines at most, as long as each other, none wider than ``width``; its cut is marked."""
    words = content.split()
    whole = " ".join(words)

    def wide(line: str) -> float:
        return text_width(line, size, bold=bold)

    if wide(whole) <= width:
        return (whole,)
    breaks = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]
    first, second = min(breaks, key=lambda both: max(map(wide, both)), default=(whole, ""))
    if wide(first) > width or wide(second) > width:
        # As much as there is room for: whole words, or what a long one (or a script without spaces) begins with.
        fitting = [both for both in breaks if wide(both[0]) <= width]
        if fitting:
            first, second = fitting[-1]
        else:
            first = fit(whole, width, size, bold=bold).removesuffix("…")
            second = whole[len(first) :].lstrip()
    return tuple(line for line in (first, fit(second, width, size, bold=bold) or "…") if line)


class Routes:
    """The ways of all pipes."""

    def __init__(
        self,
        boxes: Sequence[Box],
        pipes: Sequence[Pipe],
        flows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
        grid: Grid,
        *,
        narrow: bool,
        proportional: bool,
        declared: bool,
    ) -> None:
        self.boxes, self.flows, self.grid, self.narrow, self.declared = boxes, flows, grid, narrow, declared
        self.sizes = NARROW if narrow else WIDE if grid.columns <= MOST_WIDE else LONG
        self.places = [Place(number, *cell) for number, cell in enumerate(grid.cells)]
        self.taken = dict(zip(grid.cells, self.places, strict=True))
        self.pieces: list[Piece] = []
        self.lanes: list[Lane] = []
        self.drops: list[Drop] = []
        self.posts: list[Post] = []
        self.ports: list[Port] = []
        self.spots: list[Spot] = []
        self.cloudy: dict[int, float] = {}  # units that clouds need room in
        self.zones: dict[int, float] = {}  # what each zone must hold
        strongest = max([pipe.count or 0 for pipe in pipes], default=0)
        self.nets = []
        for number, pipe in enumerate(pipes):
            strength = (pipe.count or 0) / strongest if strongest > 0 else 0
            net = Net(number, pipe, 4 + 10 * strength if proportional else 7)
            net.name = wrap(pipe.label, self.sizes.label, self.sizes.flow, bold=True)
            net.beside = wrap(pipe.label, self.sizes.beside, self.sizes.flow, bold=True)
            self.nets.append(net)
        self.straights = [self._is_straight(number) for number in range(len(pipes))]

    def route(self) -> None:
        """Let each pipe take its way."""
        for net in self.nets:
            self._route(net)

    # -- texts --------------------------------------------------------------------------------------------------------

    def _label(self, net: Net, beside: bool = False) -> tuple[float, float]:
        """Return a label's width and height."""
        size = self.sizes.flow
        lines = net.beside if beside else net.name
        widths = [text_width(line, size, bold=True) for line in lines]
        return max(*widths, text_width(net.pipe.value_text, size)), (len(lines) + 1) * size * 1.25

    def _label_uv(self, net: Net, beside: bool = False) -> tuple[float, float]:
        width, height = self._label(net, beside)
        return (height, width) if self.narrow else (width, height)

    # -- ways ---------------------------------------------------------------------------------------------------------

    def _is_straight(self, number: int) -> bool:
        sources, sinks = self.flows[number]
        if len(sources) != 1 or len(sinks) != 1:
            return False
        (a, b), (c, d) = self.grid.cells[sources[0]], self.grid.cells[sinks[0]]
        return b == d and c > a

    def _free(self, row: int, low: int, high: int) -> bool:
        """Whether no box stands between two columns."""
        return all((column, row) not in self.taken for column in range(low + 1, high))

    def _route(self, net: Net) -> None:
        sources, sinks = ([self.places[one] for one in ends] for ends in self.flows[net.number])
        from_outside = None in net.pipe.sources or not net.pipe.sources
        to_outside = None in net.pipe.sinks or not net.pipe.sinks
        if not sources and not sinks:
            self._through(net, self.grid.outside[net.number])
            return
        # Nothing moves from the outside to the outside.
        from_outside = from_outside and bool(sinks)
        to_outside = to_outside and bool(sources)
        if len(sources) + from_outside == 1 and len(sinks) + to_outside == 1:
            if from_outside:
                self._enter(net, sinks[0])
            elif to_outside:
                self._leave(net, sources[0])
            elif sources[0] is sinks[0]:
                self._turn(net, sources[0])
            elif sinks[0].column > sources[0].column:
                self._onward(net, sources[0], sinks[0])
            else:
                self._back(net, sources[0], sinks[0])
            return
        if not sinks:
            self._share(net, sources, hung=True)
        elif not sources:
            self._share(net, sinks, hung=False)
        elif max(one.column for one in sinks) < min(one.column for one in sources):
            self._gather_back(net, sources, sinks, from_outside, to_outside)
        else:
            self._fork(net, sources, sinks, from_outside, to_outside)

    # One source, one sink.

    def _through(self, net: Net, row: int) -> None:
        piece = self._piece(net, row, LEFT, UNITS + RIGHT)
        start, end = self._cloud_spot(LEFT), self._cloud_spot(UNITS + RIGHT)
        piece.clouds = [LEFT, UNITS + RIGHT]
        self._on_piece(net, piece, ZONE)
        self._path(net, [(start, piece), (end, piece)], cloud=0)
        net.clouds.append((0, -1, (end, piece)))

    def _enter(self, net: Net, sink: Place) -> None:
        if sink.column == 0 and sum(LEFT in one.clouds and one.row == sink.row for one in self.pieces) < 2:
            piece = self._piece(net, sink.row, LEFT, RIGHT, sink)
            piece.straight, piece.clouds = True, [LEFT]
            start = self._cloud_spot(LEFT)
            self._on_piece(net, piece, ZONE)
            self._path(net, [(start, piece), (sink.left, piece)], cloud=0)
        else:
            self._drop(net, sink, below=False)

    def _leave(self, net: Net, source: Place) -> None:
        # The end of the main line leads on to the right; a loss leads down.
        only = sum(source.number in sources for sources, _ in self.flows) == 1
        inside = any(source.number in sinks and sources for sources, sinks in self.flows)
        gap = self.grid.columns * UNITS
        if only and source.row == 0 and source.column == self.grid.columns - 1 and (inside or gap == UNITS):
            piece = self._piece(net, source.row, gap + LEFT, gap + RIGHT, source)
            piece.straight, piece.clouds = True, [gap + RIGHT]
            end = self._cloud_spot(gap + RIGHT)
            self._on_piece(net, piece, gap + ZONE)
            self._path(net, [(source.right, piece), (end, piece)])
            net.clouds.append((0, -1, (end, piece)))
        else:
            self._drop(net, source, below=True)

    def _drop(self, net: Net, place: Place, *, below: bool) -> None:
        lu, lv = self._label_uv(net, beside=True)
        half_u, _ = self._cloud_half()
        port = self._port(place, below, net)
        port.before = half_u + 4
        port.after = max(half_u + 4, VALVE + 6 + lu + 4)
        drop = self._cloud_drop(
            place.row + below, below, place.column * UNITS + CELL_MIDDLE, self._drop_length(lv), net
        )
        edge = place.bottom if below else place.top
        ends: list[UV] = [(port, edge), (port, drop)]
        if not below:
            ends.reverse()
        self._path(net, ends, cloud=None if below else 0)
        if below:
            net.clouds.append((0, -1, (port, drop)))
        net.stretch = ends[0], ends[1]

    def _drop_length(self, label: float) -> float:
        """Return how far from its box (or lane) a cloud ends whose pipe has a label, ``label`` long, beside it."""
        # Where the main line runs down, the label stands below the pipe, and may be longer than it.
        pipe = label / 2 + 32 if self.narrow else label + 26
        return max(56 if self.narrow else 66, pipe) + 2 * self._cloud_half()[1]

    def _turn(self, net: Net, place: Place) -> None:
        """A flow back into the stock it leaves: a loop above it."""
        out, into = self._port(place, False, net), self._port(place, False, net)
        lane = self._lane(net, place.row, hung=False)
        lane.reach(place.column * UNITS + CELL_MIDDLE)
        self._on_lane(net, lane, None)
        for port in (out, into):
            port.lane = lane
        self._path(net, [(out, place.top), (out, lane), (into, lane), (into, place.top)])

    def _onward(self, net: Net, source: Place, sink: Place) -> None:
        low, high = source.column * UNITS + UNITS, sink.column * UNITS
        if source.row == sink.row:
            if self._free(source.row, source.column, sink.column):
                piece = self._piece(net, source.row, low + LEFT, high + RIGHT, source, sink)
                piece.straight = True
                self._on_piece(net, piece, self._middle_gap(source.column, sink.column) * UNITS + ZONE)
                self._path(net, [(source.right, piece), (sink.left, piece)])
            else:
                self._arch(net, source, sink, below=False)
            return
        down = sink.row > source.row
        far_free = self._free(sink.row, source.column, sink.column)
        near_free = self._free(source.row, source.column, sink.column)
        if far_free or near_free:
            # One of both pieces is long, and carries the label; the post stands at the end of the other.
            early = far_free and not (near_free and self._fans_in(source, sink))
            column = source.column + 1 if early else sink.column
            post = self._post(column, right=not early, net=net)
            at = column * UNITS + (LEFT if early else RIGHT)
            one = self._piece(net, source.row, low + LEFT, at, source)
            other = self._piece(net, sink.row, at, high + RIGHT, sink)
            one.lean, other.lean = (1, -1) if down else (-1, 1)
            middle = self._middle_gap(source.column, sink.column) * UNITS + ZONE
            self._on_piece(net, other if early else one, middle)
            self._join(post, one, near=early)
            self._join(post, other, near=not early)
            self._path(net, [(source.right, one), (post, one), (post, other), (sink.left, other)])
        elif abs(source.row - sink.row) == 1:
            self._step(net, source, sink)
        else:
            lane = self._lane(net, source.row + down, hung=down)
            out = self._port(source, down, net, lane)
            post = self._post(sink.column, right=True, net=net)
            piece = self._piece(net, sink.row, high + RIGHT, high + RIGHT, sink)
            piece.lean = -1 if down else 1
            lane.reach(high + RIGHT)
            self._lead(out, lane, sink.column * UNITS)
            self._join(post, lane)
            self._join(post, piece, near=True)
            self._on_lane(net, lane, self._middle_gap(source.column, sink.column))
            edge = source.bottom if down else source.top
            self._path(net, [(out, edge), (out, lane), (post, lane), (post, piece), (sink.left, piece)])

    def _arch(self, net: Net, source: Place, sink: Place, *, below: bool) -> None:
        lane = self._lane(net, source.row + below, hung=below)
        out, into = self._port(source, below, net, lane), self._port(sink, below, net, lane)
        self._lead(out, lane, sink.column * UNITS)
        self._lead(into, lane, source.column * UNITS)
        self._on_lane(net, lane, self._middle_gap(*sorted((source.column, sink.column))))
        ends = (source.bottom, sink.bottom) if below else (source.top, sink.top)
        self._path(net, [(out, ends[0]), (out, lane), (into, lane), (into, ends[1])])

    def _step(self, net: Net, source: Place, sink: Place) -> None:
        """Between two rows next to each other, through the channel that both border on."""
        down = sink.row > source.row
        lane = self._lane(net, max(source.row, sink.row), hung=True)
        out, into = self._port(source, down, net, lane), self._port(sink, not down, net, lane)
        (into if down else out).long = True
        self._lead(out, lane, sink.column * UNITS)
        self._lead(into, lane, source.column * UNITS)
        self._on_lane(net, lane, self._middle_gap(*sorted((source.column, sink.column))))
        edges = (source.bottom, sink.top) if down else (source.top, sink.bottom)
        self._path(net, [(out, edges[0]), (out, lane), (into, lane), (into, edges[1])])

    def _back(self, net: Net, source: Place, sink: Place) -> None:
        if source.row == sink.row:
            self._arch(net, source, sink, below=True)
        elif source.row == sink.row + 1 and sink.column < source.column:
            # Under the pipe by which it came, and into the box from below.
            gap = source.column * UNITS
            piece = self._piece(net, source.row, gap + LEFT, gap + RIGHT, source)
            piece.lean = 1
            self._on_piece(net, piece, gap + ZONE)
            post = self._post(source.column, right=False, net=net)
            lane = self._lane(net, source.row, hung=True)
            into = self._port(sink, True, net, lane)
            self._lead(into, lane, gap)
            self._join(post, piece, near=True)
            self._join(post, lane)
            lane.reach(gap + LEFT)
            path: list[UV] = [(source.left, piece), (post, piece), (post, lane), (into, lane)]
            self._path(net, [*path, (into, sink.bottom)])
        elif abs(source.row - sink.row) == 1 and source.column != sink.column:
            self._step(net, source, sink)
        elif sink.row > source.row:
            # As a line of text goes on in the next one.
            out_post = self._post(source.column + 1, right=False, net=net)
            # Right below itself, the lane reaches far enough for its label.
            in_post = self._post(sink.column, right=source.column > sink.column, net=net)
            end = (source.column + 1) * UNITS + LEFT
            start = sink.column * UNITS + (RIGHT if in_post.right else LEFT)
            lane = self._lane(net, sink.row, hung=False)
            lane.reach(start, end)
            one = self._piece(net, source.row, end, end, source)
            other = self._piece(net, sink.row, start, sink.column * UNITS + RIGHT, sink)
            one.lean, other.lean = 1, -1
            self._join(out_post, one, near=True)
            self._join(out_post, lane)
            self._join(in_post, lane)
            self._join(in_post, other, near=in_post.right)
            gap = self._middle_gap(sink.column, source.column) if in_post.right else sink.column
            self._on_lane(net, lane, gap)
            way: list[UV] = [(source.right, one), (out_post, one), (out_post, lane), (in_post, lane)]
            self._path(net, [*way, (in_post, other), (sink.left, other)])
        else:
            # Up again, between the columns, and into the box from below.
            column = sink.column if source.column == sink.column else sink.column + 1
            unit = column * UNITS + LEFT
            post = self._post(column, right=False, net=net)
            away = self._lane(net, source.row, hung=False)
            home = self._lane(net, sink.row + 1, hung=True)
            out, into = self._port(source, False, net, away), self._port(sink, True, net, home)
            for port, lane in ((out, away), (into, home)):
                lane.reach(unit)
                self._lead(port, lane, unit if port.place.column >= column else unit + UNITS)
                self._join(post, lane)
            self._on_lane(net, away, column)
            way = [(out, source.top), (out, away), (post, away), (post, home)]
            self._path(net, [*way, (into, home), (into, sink.bottom)])

    # Several sources or sinks.

    def _share(self, net: Net, ends: Sequence[Place], *, hung: bool) -> None:
        """Several stocks that lose to one cloud below them, or are fed by one above."""
        row = max(one.row for one in ends) if hung else min(one.row for one in ends)
        channel = row + hung
        bus = self._lane(net, channel, hung=hung)
        legs = [(one, *self._leg(net, one, bus, channel, out=hung)) for one in ends]
        for place, port, _ in legs:
            if port is not None:
                self._spread(port, bus, place)
        inner = range(bus.low, bus.high + 1)
        zones = [unit for unit in inner if unit % UNITS == ZONE]
        if zones:
            zone = zones[(len(zones) - 1) // 2]
        else:
            zone = min(bus.high - bus.high % UNITS + UNITS, self.grid.columns * UNITS) + ZONE
            bus.reach(zone)
        lu, lv = self._label_uv(net, beside=True)
        half_u, _ = self._cloud_half()
        spot = self._spot(zone, half_u + 4)
        self.zones[zone] = max(self.zones.get(zone, 0), half_u + 4 + max(half_u, VALVE + 6 + lu) + 4)
        drop = self._cloud_drop(channel, hung, zone, self._drop_length(lv) + net.thick, net)
        drop.lane = bus
        for _, _, points in legs:
            line: list[UV] = [*points, (spot, bus)]
            self._path(net, line if hung else line[::-1], arrow=not hung, start=hung)
        trunk: list[UV] = [(spot, bus), (spot, drop)]
        if not hung:
            trunk.reverse()
        self._path(net, trunk, arrow=hung, start=not hung, cloud=None if hung else 0)
        if hung:
            net.clouds.append((len(net.paths) - 1, -1, (spot, drop)))
        net.stretch = trunk[0], trunk[1]

    def _gather_back(
        self, net: Net, sources: list[Place], sinks: list[Place], from_outside: bool, to_outside: bool
    ) -> None:
        """All sources right of all sinks: one lane below, which collects on the right and delivers on the left."""
        channel = max(one.row for one in (*sources, *sinks)) + 1
        bus = self._lane(net, channel, hung=True)
        outs = [(one, *self._leg(net, one, bus, channel, out=True)) for one in sources]
        intos = [(one, *self._leg(net, one, bus, channel, out=False)) for one in sinks]
        first, last = max(one.column for one in sinks), min(one.column for one in sources)
        zone = self._middle_gap(first, last) * UNITS + ZONE
        middle = self._spot(zone)
        ends: list[tuple[int, Spot]] = []
        if from_outside:
            gap = (max(one.column for one in sources) + 1) * UNITS
            ends.append((0, self._spot(gap + ZONE)))
        if to_outside:
            ends.append((1, self._spot(min(one.column for one in sinks) * UNITS + ZONE)))
        for _, spot in ends:
            bus.reach(spot.unit)
            bus.room = self._cloud_half()[1]
            self.zones[spot.unit] = max(self.zones.get(spot.unit, 0), 2 * self._cloud_half()[0] + 8)
        for place, port, _ in (*outs, *intos):
            if port is not None:
                self._spread(port, bus, place)
        for _, _, points in outs:
            self._path(net, [*points, (middle, bus)], arrow=False)
        for _, _, points in intos:
            self._path(net, [(middle, bus), *points[::-1]], start=False)
        for side, spot in ends:
            if side:
                self._path(net, [(middle, bus), (spot, bus)], start=False)
                net.clouds.append((len(net.paths) - 1, -1, (spot, bus)))
            else:
                self._path(net, [(spot, bus), (middle, bus)], arrow=False, cloud=0)
        self._on_lane(net, bus, zone // UNITS)

    def _fork(
        self, net: Net, sources: list[Place], sinks: list[Place], from_outside: bool, to_outside: bool
    ) -> None:
        """A trunk across a gap: what collects stands before its valve, what delivers behind it."""
        pairs = [
            (t.column - s.column, s.row != t.row, s, t) for s in sources for t in sinks if t.column > s.column
        ]
        if pairs:
            *_, sink = min(pairs, key=lambda pair: (*pair[:2], pair[2].number, pair[3].number))
            column, row = sink.column, sink.row
            gap = column * UNITS
            piece = self._piece(net, row, gap + LEFT, gap + RIGHT)
            trunk: Piece | Lane = piece
            self._on_piece(net, piece, gap + ZONE)
        else:
            column, row = max(one.column for one in sources) + 1, -1
            gap = column * UNITS
            trunk = self._lane(net, max(one.row for one in sources) + 1, hung=True)
            trunk.reach(gap + LEFT, gap + RIGHT)
            self._on_lane(net, trunk, column)
        collect: Post | None = None
        deliver: Post | None = None
        middle = self._spot(gap + ZONE)
        # Boxes that the trunk itself begins and ends at.
        for place in sources:
            if isinstance(trunk, Piece) and (place.column, place.row) == (column - 1, row):
                trunk.touches.append(place)
                self._path(net, [(place.right, trunk), (middle, trunk)], arrow=False)
            else:
                if collect is None:
                    collect = self._post(column, right=False, net=net)
                    self._join(collect, trunk)
                points = self._side_leg(net, place, collect, column, self._v_unit(trunk), out=True)
                self._path(net, [*points, (collect, trunk), (middle, trunk)], arrow=False)
        for place in sinks:
            if isinstance(trunk, Piece) and (place.column, place.row) == (column, row):
                trunk.touches.append(place)
                self._path(net, [(middle, trunk), (place.left, trunk)], start=False)
            else:
                if deliver is None:
                    deliver = self._post(column, right=True, net=net)
                    self._join(deliver, trunk)
                points = self._side_leg(net, place, deliver, column, self._v_unit(trunk), out=False)
                self._path(net, [(middle, trunk), (deliver, trunk), *points[::-1]], start=False)
        half_u, half_v = self._cloud_half()
        for out in (False, True):
            if not (to_outside if out else from_outside):
                continue
            hung = out or isinstance(trunk, Lane)
            channel = trunk.channel if isinstance(trunk, Lane) else row + out
            post = self._post(column, right=out, net=net, wide=2 * half_u + 8)
            drop = self._cloud_drop(channel, hung, gap + (RIGHT if out else LEFT), 34 + 2 * half_v, net)
            drop.lane = trunk if isinstance(trunk, Lane) else None
            post.ends += [(2 * channel, 0), (self._v_unit(trunk), 0)]
            if out:
                self._path(net, [(middle, trunk), (post, trunk), (post, drop)], start=False)
                net.clouds.append((len(net.paths) - 1, -1, (post, drop)))
            else:
                self._path(net, [(post, drop), (post, trunk), (middle, trunk)], arrow=False, cloud=0)

    def _side_leg(
        self, net: Net, place: Place, post: Post, column: int, trunk: int, *, out: bool
    ) -> list[UV]:
        """Return the points between a box and a post of the gap before ``column``, the box first."""
        if place.column == column - out:
            unit = column * UNITS + (LEFT if out else RIGHT)
            piece = self._piece(net, place.row, unit, unit, place)
            piece.lean = 1 if trunk > 2 * place.row + 1 else -1
            self._join(post, piece, near=True)
            return [(place.right if out else place.left, piece), (post, piece)]
        lane = self._lane(net, place.row + 1, hung=True)
        port = self._port(place, True, net, lane)
        unit = column * UNITS + (RIGHT if post.right else LEFT)
        lane.reach(unit)
        self._lead(port, lane, column * UNITS if place.column < column else column * UNITS - 1)
        self._join(post, lane)
        return [(port, place.bottom), (port, lane), (post, lane)]

    def _leg(
        self, net: Net, place: Place, bus: Lane, channel: int, *, out: bool
    ) -> tuple[Port | None, list[UV]]:
        """Return how a box reaches a lane: from its edge, where it borders on the channel, else by a gap's post."""
        if place.row == channel - bus.hung:
            port = self._port(place, bus.hung, net, bus)
            return port, [(port, place.bottom if bus.hung else place.top), (port, bus)]
        column = place.column + out
        unit = column * UNITS + (LEFT if out else RIGHT)
        post = self._post(column, right=not out, net=net)
        piece = self._piece(net, place.row, unit, unit, place)
        piece.lean = 1 if channel > place.row else -1
        self._join(post, piece, near=True)
        self._join(post, bus)
        bus.reach(unit)
        return None, [(place.right if out else place.left, piece), (post, piece), (post, bus)]

    # -- what ways are made of ----------------------------------------------------------------------------------------

    def _fans_in(self, source: Place, sink: Place) -> bool:
        """Whether a sink's pipes come together rather than a source's go apart."""
        ahead = sum(source.number in s and any(self.places[t].column > source.column for t in sinks)
                    for s, sinks in self.flows)  # fmt: skip
        behind = sum(sink.number in t and any(self.places[s].column < sink.column for s in sources)
                     for sources, t in self.flows)  # fmt: skip
        return behind > ahead

    def _middle_gap(self, low: int, high: int) -> int:
        """Return the column before which the middle gap between two columns stands."""
        return low + 1 + (high - low - 1) // 2

    def _cloud_half(self) -> tuple[float, float]:
        return (CLOUD[1], CLOUD[0]) if self.narrow else CLOUD

    def _cloud_spot(self, unit: int) -> Spot:
        half = self._cloud_half()[0]
        self.cloudy[unit] = 2 * half + 4
        return self._spot(unit, half, of_end=unit % UNITS == RIGHT)

    def _spot(self, unit: int, offset: float | None = None, of_end: bool = False) -> Spot:
        spot = Spot(unit, offset, of_end)
        self.spots.append(spot)
        return spot

    def _piece(self, net: Net, row: int, low: int, high: int, *touches: Place) -> Piece:
        piece = Piece(row, low, high, order=net.number)
        piece.touches, piece.net = list(touches), net
        self.pieces.append(piece)
        return piece

    def _lane(self, net: Net, channel: int, *, hung: bool) -> Lane:
        lane = Lane(channel, hung=hung, order=net.number)
        lane.net = net
        self.lanes.append(lane)
        return lane

    def _post(self, column: int, *, right: bool, net: Net, wide: float = LANE) -> Post:
        post = Post(column, right=right, wide=wide, order=net.number)
        self.posts.append(post)
        return post

    def _port(self, place: Place, below: bool, net: Net, lane: Lane | None = None) -> Port:
        port = Port(place, below=below, order=net.number)
        port.lane = lane
        self.ports.append(port)
        return port

    def _cloud_drop(self, channel: int, hung: bool, unit: int, length: float, net: Net) -> Drop:
        drop = Drop(channel, hung=hung, low=unit, high=unit, length=length, order=net.number)
        self.drops.append(drop)
        return drop

    def _lead(self, port: Port, lane: Lane, towards: int) -> None:
        """Let a lane end at a port, and come from (or lead to) a unit left or right of it."""
        cell = port.place.column * UNITS
        port.going = 1 if towards > cell else -1
        if port.long:
            lane.reach(cell + CELL_LEFT, cell + CELL_RIGHT)
        else:
            lane.reach(cell + (CELL_RIGHT if port.going > 0 else CELL_LEFT))

    def _spread(self, port: Port, bus: Lane, place: Place) -> None:
        bus.reach(place.column * UNITS + CELL_LEFT, place.column * UNITS + CELL_RIGHT)

    def _join(self, post: Post, to: Piece | Lane, near: bool = False) -> None:
        post.ends.append((self._v_unit(to), int(near)))
        post.joined.append(to)

    def _v_unit(self, to: Piece | Lane) -> int:
        return 2 * to.channel if isinstance(to, Lane) else 2 * to.row + 1

    def _on_piece(self, net: Net, piece: Piece, zone: int) -> None:
        net.on = piece
        piece.zone = zone
        self.zones[zone] = max(self.zones.get(zone, 0), self._label_uv(net)[0] + 8, 2 * VALVE + 8)

    def _on_lane(self, net: Net, lane: Lane, gap: int | None) -> None:
        net.on = lane
        lane.labelled = True
        if gap is not None:
            lane.zone = gap * UNITS + ZONE
            room = max(self._label_uv(net)[0], 2 * VALVE) + 8
            self.zones[lane.zone] = max(self.zones.get(lane.zone, 0), room)

    def _path(
        self,
        net: Net,
        points: list[UV],
        *,
        arrow: bool = True,
        start: bool = True,
        cloud: int | None = None,
    ) -> None:
        number = len(net.paths)
        net.paths.append(points)
        if arrow:
            net.arrows.append(number)
        if start:
            net.starts.append(number)
        if cloud is not None:
            net.clouds.append((number, 0, points[0]))
