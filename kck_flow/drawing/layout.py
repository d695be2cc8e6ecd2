"""Where everything of a stock-and-flow diagram stands: boxes, pipes, valves, clouds and texts.

First each pipe takes its way (``routes``), then everything gets as much room as it needs: lanes their depth, ports and
posts their order, columns and rows their size. Each has a coordinate of its own within its band, so nothing that should
not overlap can, whatever the process: that is by construction, not by search.

Where the main line runs down instead (``narrow``), the same is done with both axes exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import ranks
from .parts import CLOUD, VALVE, Box, Cloud, Layout, Line, Pipe, PlacedBox, PlacedPipe, Point, Rect, crossings
from .routes import (
    CELL_LEFT,
    CELL_MIDDLE,
    CELL_RIGHT,
    LANE,
    LEFT,
    RIGHT,
    UNITS,
    UV,
    ZONE,
    At,
    Drop,
    Lane,
    Net,
    Piece,
    Port,
    Post,
    Routes,
    wrap,
)  # fmt: skip
from .svg import fit, text_width

EDGE = 12  # room around all
NARROW_WIDTH = 360  # of a phone's sheet
MOST_COLUMNS = 5  # a longer main line is folded as text is


def lay_out(
    boxes: Sequence[Box],
    pipes: Sequence[Pipe],
    *,
    narrow: bool = False,
    proportional: bool = False,
    declared: bool = False,
) -> Layout:
    """Return everything in its place; the same for the same process, always.

    Args:
        narrow: The main line runs down, for a sheet about 360 wide; it is wider where that cannot be.
        proportional: Pipes are as wide as they are strong.
        declared: All that has an order is in that of the declaration, to compare with.

    Raises:
        ValueError: two boxes have one name, or a pipe names none of them.
    """
    numbers = {box.name: number for number, box in enumerate(boxes)}
    if len(numbers) < len(boxes):
        raise ValueError("Two stocks have one name.")
    for pipe in pipes:
        for end in (*pipe.sources, *pipe.sinks):
            if end is not None and end not in numbers:
                raise ValueError(f"{pipe.name!r} names {end!r}, which is none of the stocks.")
    flows = tuple(
        (
            tuple(dict.fromkeys(numbers[end] for end in pipe.sources if end is not None)),
            tuple(dict.fromkeys(numbers[end] for end in pipe.sinks if end is not None)),
        )
        for pipe in pipes
    )
    grids = [ranks.arrange(len(boxes), flows)]
    columns = grids[0].columns
    if columns > MOST_COLUMNS and not narrow:
        shortest = -(-columns // -(-columns // MOST_COLUMNS))
        grids = [ranks.arrange(len(boxes), flows, most) for most in range(shortest, MOST_COLUMNS + 1)]
    best: Layout | None = None
    for plain in (True,) if declared else (False, True):
        for grid in grids:
            found = _Sheet(
                boxes, pipes, flows, grid, narrow=narrow, proportional=proportional, declared=plain
            ).done()
            if best is None or len(found.crossings) < len(best.crossings):
                best = found
            if not best.crossings:
                return best
    assert best is not None
    return best


class _Sheet(Routes):
    """One diagram while it is being laid out."""

    def done(self) -> Layout:
        """Return it, everything in its place."""
        self.route()
        self._meet()
        self._pack_lanes()
        self._order_ports()
        self._place_u()
        self._place_v()
        return self._finished()

    # -- room ---------------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Tell each lane what meets it, and from which side."""
        for port in self.ports:
            if port.lane is not None:
                cell = port.place.column * UNITS
                unit = cell + (CELL_RIGHT if port.going > 0 else CELL_LEFT if port.going < 0 else CELL_MIDDLE)
                port.lane.ends.append((unit, -1 if port.below else 1))
        for post in self.posts:
            unit = post.column * UNITS + (RIGHT if post.right else LEFT)
            for lane in post.joined:
                if isinstance(lane, Lane):
                    own = 2 * lane.channel
                    sides = {-1 if other < own else 1 for other, _ in post.ends if other != own}
                    lane.ends += [(unit, side) for side in sorted(sides)]

    def _nested(self, lanes: list[Lane]) -> list[Lane]:
        """Return lanes in the order of their depth: short ones first, unless others cross less that way."""

        def crossed(inner: Lane, outer: Lane) -> int:
            toward = -1 if inner.hung else 1  # where the row is that they hang from or stand on
            return sum(side == toward and inner.low < unit < inner.high for unit, side in outer.ends) + sum(
                side == -toward and outer.low < unit < outer.high for unit, side in inner.ends
            )

        found: list[Lane] = []
        for lane in sorted(lanes, key=lambda one: (one.high - one.low, one.order)):
            # Its price at each depth, from the row on: what it crosses as the outer one of those before.
            price = sum(crossed(lane, other) for other in found)
            prices = [price]
            for other in found:
                price += crossed(other, lane) - crossed(lane, other)
                prices.append(price)
            cheapest = min(prices)
            found.insert(max(i for i, one in enumerate(prices) if one == cheapest), lane)
        return found

    def _pack_lanes(self) -> None:
        """Give each lane and cloud of a channel its depth: as shallow as what is there already lets it be."""
        width = self.grid.columns * UNITS + UNITS
        hanging: list[Lane | Drop] = [*self.drops, *self.lanes]
        self.channels = [0.0] * (self.grid.rows + 1)
        for channel in range(self.grid.rows + 1):
            skies = {}
            for hung in (True, False):
                sky = [0.0] * width
                here = [one for one in hanging if one.channel == channel and one.hung == hung]
                lanes = [one for one in here if isinstance(one, Lane) and one.low < one.high]
                if not self.declared:
                    lanes = self._nested(lanes)
                rank = {id(lane): number for number, lane in enumerate(lanes)}
                items = sorted(here, key=lambda one: self._turn_order(one, rank))
                for item in items:
                    base = max(sky[item.low : item.high + 1])
                    if isinstance(item, Drop) and item.low % UNITS == CELL_MIDDLE:
                        # What hangs from one box, or stands on it, stands beside each other.
                        item.depth = item.length - self._cloud_half()[1]
                        sky[item.low] = max(sky[item.low], item.length + 8)
                        continue
                    if isinstance(item, Drop):
                        if item.lane is not None:
                            base = item.lane.depth
                        item.depth = base + item.length - self._cloud_half()[1]
                        top = base + item.length + 8
                    else:
                        before = max(VALVE + 5 if item.labelled else 8, item.room + 4, item.net.thick / 2 + 4)
                        item.depth = max(base, 12 if self.narrow else 18) + before
                        label = VALVE + 5 + self._label_uv(item.net)[1] + 4 if item.labelled else 0
                        top = item.depth + max(label, 8, item.room + 4, item.net.thick / 2 + 4)
                    for unit in range(item.low, item.high + 1):
                        sky[unit] = top
                skies[hung] = sky
            # Above and below, ports of a box stand in orders of their own: a box keeps its whole width clear.
            for sky in skies.values():
                for cell in range(CELL_LEFT, width, UNITS):
                    sky[cell : cell + 3] = [max(sky[cell : cell + 3])] * 3
            deepest = max(a + b for a, b in zip(skies[True], skies[False], strict=True))
            inner = 0 < channel < self.grid.rows
            self.channels[channel] = max(deepest + (10 if deepest and inner else 0), 36 if inner else 0)

    def _turn_order(self, item: Lane | Drop, rank: dict[int, int]) -> tuple[int, int, int]:
        """Loops come first, then clouds, then lanes, each with what hangs from it."""
        if isinstance(item, Lane):
            return (2, rank[id(item)], 0) if item.low < item.high else (0, item.order, 0)
        return (1, item.order, 0) if item.lane is None else (2, rank[id(item.lane)], 1 + item.low)

    def _order_ports(self) -> None:
        """Give the ports of each side of a box their order: what goes left stands left, inner loops stand outside."""
        self.sides: list[list[Port]] = []
        found: dict[tuple[int, int], list[Port]] = {}
        for port in self.ports:
            found.setdefault((port.place.column, port.place.row + port.below), []).append(port)
        for group in found.values():
            apart: list[list[Port]] = []
            if any(port.long for port in group):
                apart = [group]
            else:
                apart = [[port for port in group if port.below == below] for below in (True, False)]
            for side in apart:
                if side:
                    self.sides.append(self._side(side))

    def _side(self, ports: list[Port]) -> list[Port]:
        def depth(port: Port) -> float:
            assert port.lane is not None
            return -port.lane.depth if port.long else port.lane.depth

        left = [one for one in ports if one.going < 0]
        right = [one for one in ports if one.going > 0]
        if not self.declared:
            left.sort(key=lambda one: (depth(one), one.order))
            right.sort(key=lambda one: (-depth(one), one.order))
        drops = [one for one in ports if not one.going and one.lane is None]
        buses = [
            one for one in ports if not one.going and one.lane is not None and one.lane.low < one.lane.high
        ]
        # Loops stand within each other, the innermost around its own label.
        loops = [
            one for one in ports if not one.going and one.lane is not None and one.lane.low == one.lane.high
        ]
        loops.sort(key=lambda one: -depth(one))
        nest: list[Port] = []
        for out, into in zip(loops[::2], loops[1::2], strict=True):
            nest = [*nest[: len(nest) // 2], into, out, *nest[len(nest) // 2 :]]
        for number, loop in enumerate(nest[: len(nest) // 2]):
            assert loop.lane is not None
            inner = number == len(nest) // 2 - 1
            room = max(self._label_uv(loop.lane.net)[0] for loop in nest) + 12  # type: ignore[union-attr]
            loop.after = max(room / 2, LANE / 2) if inner else LANE / 2
            nest[-1 - number].before = loop.after
        half = len(drops) // 2 if nest else len(drops)
        return [
            *left,
            *drops[:half],
            *buses[: len(buses) // 2],
            *nest,
            *buses[len(buses) // 2 :],
            *drops[half:],
            *right,
        ]

    def _place_u(self) -> None:
        """Give everything its u: how wide columns and gaps are."""
        columns = self.grid.columns
        texts = [self._box_size(box) for box in self.boxes]
        self.box_lines = [lines for _, _, lines in texts]
        along = [height if self.narrow else width for width, height, _ in texts]
        usual = max(along, default=0.0)
        if not self.narrow:
            usual = max(usual, self.sizes.least)
        widths = [usual] * columns
        for side in self.sides:
            column = side[0].place.column
            widths[column] = max(widths[column], sum(one.before + one.after for one in side) + 12)
        across = max([width if self.narrow else height for width, height, _ in texts], default=0.0)
        self.across = max(across, self.sizes.least) if self.narrow else across
        inner = [self.zones.get(column * UNITS + ZONE, 0) for column in range(1, columns)]
        usual_zone = max([*inner, self.sizes.gap - 32])
        starts: list[float] = []
        at = float(EDGE)
        for column in range(columns + 1):
            groups = {right: [one for one in self.posts if one.column == column and one.right == right]
                      for right in (False, True)}  # fmt: skip
            gap = column * UNITS
            outer = column in (0, columns)
            zone = self.zones.get(gap + ZONE, 0) if outer else usual_zone
            for right in (False, True):
                groups[right] = self._posts_in_order(groups[right])
            starts.append(at)
            at += self.cloudy.get(gap + LEFT, 0)
            if groups[False]:
                at += 16
            for post in groups[False]:
                post.at = at + post.wide / 2
                at += post.wide
            margin = 16 if zone else 0
            starts.append(at + margin)
            at += zone + 2 * margin
            starts.append(at)
            for post in groups[True]:
                post.at = at + post.wide / 2
                at += post.wide
            if groups[True]:
                at += 18  # an arrowhead, and some
            at += self.cloudy.get(gap + RIGHT, 0)
            if column < columns:
                starts += [at, at, at]
                for place in self.places:
                    if place.column == column:
                        place.left.at, place.right.at = at, at + widths[column]
                for side in self.sides:
                    if side[0].place.column == column:
                        self._spread_ports(side, at, widths[column])
                at += widths[column]
            else:
                starts.append(at)
        self.length = at + EDGE
        self.zone_at = {unit: (starts[unit], starts[unit + 1]) for unit in range(1, len(starts) - 1, UNITS)}
        self.zone_at = {
            unit: (low, low + (self.zones.get(unit, 0) if unit // UNITS in (0, columns) else usual_zone))
            for unit, (low, _) in self.zone_at.items()
        }
        for spot in self.spots:
            if spot.unit % UNITS == ZONE:
                low, high = self.zone_at[spot.unit]
                spot.at = (low + high) / 2 if spot.offset is None else low + spot.offset
            else:
                assert spot.offset is not None
                end = starts[spot.unit + 1] if spot.unit + 1 < len(starts) else at
                spot.at = end - spot.offset if spot.of_end else starts[spot.unit] + spot.offset

    def _posts_in_order(self, posts: list[Post]) -> list[Post]:
        """Return posts from left to right: each where it crosses least of what meets the others.

        What reaches farthest stands nearest to its box where that makes no difference, so that the others turn off
        before they meet it.
        """
        if self.declared or len(posts) < 2:
            return posts

        def outward(post: Post) -> tuple[int, int]:
            near = [unit for unit, is_near in post.ends if is_near] or [post.ends[0][0]]
            far = max(abs(unit - near[0]) for unit, _ in post.ends)
            return (far if post.right else -far, post.order)

        def crossed(left: Post, right: Post) -> int:
            return sum(
                side > 0 and right.spans[0] < unit < right.spans[1] for unit, side in left.meets
            ) + sum(side < 0 and left.spans[0] < unit < left.spans[1] for unit, side in right.meets)

        for post in posts:
            here = post.column * UNITS + (RIGHT if post.right else LEFT)
            heights = [self._v_unit(to) + to.within() for to in post.joined] or [float(post.ends[0][0])]
            post.spans = min(heights), max(heights)
            post.meets = [
                (self._v_unit(to) + to.within(), side)
                for to in post.joined
                for side in (-1, 1)
                if (to.low < here if side < 0 else to.high > here)
                or (to.low == to.high and side == (1 if post.right else -1))
            ]
        found: list[Post] = []
        for post in sorted(posts, key=outward):
            price = sum(crossed(post, other) for other in found)
            prices = [price]
            for other in found:
                price += crossed(other, post) - crossed(post, other)
                prices.append(price)
            found.insert(max(i for i, one in enumerate(prices) if one == min(prices)), post)
        return found

    def _spread_ports(self, side: Sequence[Port], left: float, width: float) -> None:
        total = sum(one.before + one.after for one in side)
        if len(side) == 1:
            port = side[0]
            middle = width / 2
            port.at = left + max(port.before + 2, min(middle, width - port.after + 10))
            return
        gap = (width - total) / (len(side) + 1)
        at = left
        for port in side:
            at += gap + port.before
            port.at = at
            at += port.after

    def _place_v(self) -> None:
        """Give everything its v: how high rows and channels are."""
        rows = self.grid.rows
        at = float(EDGE)
        by_row: dict[int, list[Piece]] = {}
        for piece in self.pieces:
            by_row.setdefault(piece.row, []).append(piece)
        tops, bottoms = [], []
        for row in range(rows + 1):
            tops.append(at)
            at += self.channels[row]
            bottoms.append(at)
            if row == rows:
                break
            has_box = any(place.row == row for place in self.places)
            reach_up, reach_down, ports = self._pack_row(by_row.get(row, []))
            half = max(self.across / 2 if has_box else 0, ports)
            up, down = max(half, reach_up), max(half, reach_down)
            middle = at + up
            for place in self.places:
                if place.row == row:
                    place.top.at, place.bottom.at = middle - half, middle + half
            for piece in by_row.get(row, []):
                piece.at = middle + piece.y
            at = middle + down
        self.breadth = self.wide = at + EDGE
        if self.narrow and self.breadth < NARROW_WIDTH:  # in the middle of the sheet
            aside = (NARROW_WIDTH - self.breadth) / 2
            self.wide = NARROW_WIDTH
            tops, bottoms = ([v + aside for v in ends] for ends in (tops, bottoms))
            for edge in self._across():
                edge.at += aside
        hanging: list[Lane | Drop] = [*self.drops, *self.lanes]
        for item in hanging:
            item.at = tops[item.channel] + item.depth if item.hung else bottoms[item.channel] - item.depth

    def _across(self) -> Iterator[At]:
        """What knows its v, but lanes and clouds."""
        for place in self.places:
            yield place.top
            yield place.bottom
        yield from self.pieces

    def _heights(self, piece: Piece, unit: int, after: bool) -> tuple[float, float]:
        """Return how far a piece reaches above and below its line, in a unit."""
        bare = piece.net.thick / 2 + 6
        if unit == piece.zone:
            label = VALVE + 5 + self._label_uv(piece.net)[1] + 3
            return (VALVE + 4, label) if after else (label, VALVE + 4)
        if unit in piece.clouds:
            half = self._cloud_half()[1] + 4
            return half, half
        return bare, bare

    def _need(self, upper: Piece, upper_after: bool, lower: Piece, lower_after: bool) -> float:
        """Return how far apart two pieces must be, one above the other; 0 where they share no unit."""
        low, high = max(upper.low, lower.low), min(upper.high, lower.high)
        if low > high:
            return 0.0
        special = {
            low,
            *(unit for one in (upper, lower) for unit in (one.zone, *one.clouds) if unit is not None),
        }
        return max(
            self._heights(upper, unit, upper_after)[1] + self._heights(lower, unit, lower_after)[0]
            for unit in special
            if low <= unit <= high
        )

    def _pack_row(self, pieces: Sequence[Piece]) -> tuple[float, float, float]:
        """Give the pieces of a row their lines, as close to its middle as they can be.

        Returns:
            How far they reach above and below the middle, and how far their ports do.
        """
        placed: list[Piece] = []
        first_after = self.narrow  # beside a pipe that runs down, a label stands on its right
        for piece in sorted(pieces, key=lambda one: (not one.straight, one.zone is None, one.order)):
            best: tuple[float, float, bool] | None = None
            for after in (first_after, not first_after) if piece.zone is not None else (False,):
                clear = [(self._need(one, one.after, piece, after), self._need(piece, after, one, one.after), one)
                         for one in placed]  # fmt: skip
                tries = [0.0]
                for above, below, other in clear:
                    if above or below:
                        tries += [other.y + above, other.y - below]
                for y in tries:
                    if all(
                        not (above or below) or y >= one.y + above - 1e-6 or y <= one.y - below + 1e-6
                        for above, below, one in clear
                    ):
                        against = 40 if piece.lean and y and (y > 0) != (piece.lean > 0) else 0
                        price = abs(y) + against + (4 if after != first_after else 0)
                        if best is None or (price, y) < best[:2]:
                            best = price, y, after
            assert best is not None  # the outermost try is always free
            piece.y, piece.after = best[1], best[2]
            placed.append(piece)
        self._balance(placed)
        up = down = ports = 0.0
        for piece in placed:
            for unit in {
                piece.low,
                piece.high,
                *piece.clouds,
                *(() if piece.zone is None else (piece.zone,)),
            }:
                above, below = self._heights(piece, unit, piece.after)
                up, down = max(up, above - piece.y), max(down, below + piece.y)
            if piece.touches:
                ports = max(ports, abs(piece.y) + piece.net.thick / 2 + 10)
        return up, down, ports

    def _balance(self, pieces: Sequence[Piece]) -> None:
        """Centre pipes that run beside each other between the same ends, where nothing else does."""
        for piece in pieces:
            same = [one for one in pieces if (one.low, one.high) == (piece.low, piece.high)]
            shared = [one for one in pieces if one.low <= piece.high and piece.low <= one.high]
            if (
                piece.straight
                and len(same) > 1
                and len(shared) == len(same)
                and all(one.straight for one in same)
            ):
                middle = (min(one.y for one in same) + max(one.y for one in same)) / 2
                for one in same:
                    one.y -= middle

    def _box_size(self, box: Box) -> tuple[float, float, tuple[tuple[str, float, bool], ...]]:
        """Return a box's width and height, and its lines: text, size, whether bold."""
        sizes = self.sizes
        room = sizes.most - 28
        lines = [(line, sizes.name, True) for line in wrap(box.label, room, sizes.name, bold=True)]
        value = sizes.value
        while value > sizes.name and text_width(box.value_text, value) > room:
            value -= 1
        lines.append((fit(box.value_text, room, value) or "…", value, False))
        if box.change_text:
            lines += [(line, sizes.change, False) for line in wrap(box.change_text, room, sizes.change)]
        width = max(text_width(content, size, bold=bold) for content, size, bold in lines) + 28
        height = 22 + sum(size * 1.25 for _, size, _ in lines)
        return width, height, tuple(lines)

    # -- the sheet ----------------------------------------------------------------------------------------------------

    def _xy(self, point: UV) -> Point:
        u, v = point[0].at, point[1].at
        return (v, u) if self.narrow else (u, v)

    def _finished(self) -> Layout:
        boxes = []
        for place, box, lines in zip(self.places, self.boxes, self.box_lines, strict=True):
            (x0, y0), (x1, y1) = self._xy((place.left, place.top)), self._xy((place.right, place.bottom))
            height = sum(size * 1.25 for _, size, _ in lines)
            y = (y0 + y1 - height) / 2
            set_: list[Line] = []
            for content, size, bold in lines:
                set_.append(Line(content, size, bold, x0 + 14, y + size))
                y += size * 1.25
            boxes.append(PlacedBox(box, Rect(x0, y0, x1, y1), tuple(set_)))
        paths = [[self._drawn(net, number) for number in range(len(net.paths))] for net in self.nets]
        self.upright = [  # stretches along v: u, from, to
            (points[i][0].at, *sorted((points[i][1].at, points[i + 1][1].at)), net.thick)
            for net in self.nets
            for points in net.paths
            for i in range(len(points) - 1)
            if points[i][0] is points[i + 1][0]
        ]
        self.labels: list[Rect] = []
        pipes = [self._placed(net, lines) for net, lines in zip(self.nets, paths, strict=True)]
        width, height = (self.wide, self.length) if self.narrow else (self.length, self.breadth)
        return Layout(tuple(boxes), tuple(pipes), width, height, tuple(crossings(pipes)), self.sizes.flow)

    def _drawn(self, net: Net, number: int) -> tuple[Point, ...]:
        """Return a path's points, without doubles, cut where its clouds begin."""
        points = [self._xy(point) for point in net.paths[number]]
        for path, end, _ in net.clouds:
            if path == number:
                x, y = points[end]
                other = points[1] if end == 0 else points[-2]
                if abs(other[1] - y) < 1e-6:
                    points[end] = x + (CLOUD[0] - 2 if other[0] > x else 2 - CLOUD[0]), y
                else:
                    points[end] = x, y + (CLOUD[1] - 1 if other[1] > y else 1 - CLOUD[1])
        kept: list[Point] = []
        for point in points:
            if kept and abs(kept[-1][0] - point[0]) + abs(kept[-1][1] - point[1]) < 1e-6:
                continue
            if len(kept) > 1 and _in_line(kept[-2], kept[-1], point):
                kept.pop()
            kept.append(point)
        return tuple(kept)

    def _placed(self, net: Net, paths: list[tuple[Point, ...]]) -> PlacedPipe:
        arrows = []
        for number in net.arrows:
            (x0, y0), (x1, y1) = paths[number][-2:]
            far = abs(x1 - x0) + abs(y1 - y0)
            arrows.append(((x1, y1), ((x1 - x0) / far, (y1 - y0) / far)))
        beside = net.on is None
        at = self._valve_at(net)
        lu, lv = self._label_uv(net, beside)
        u, v = at
        if beside:
            low_u, low_v = u + VALVE + 6, v - lv / 2
        else:
            assert net.on is not None
            after = net.on.after if isinstance(net.on, Piece) else net.on.hung
            low_u, low_v = u - lu / 2, v + VALVE + 5 if after else v - VALVE - 5 - lv
        label = (
            Rect(low_v, low_u, low_v + lv, low_u + lu)
            if self.narrow
            else Rect(low_u, low_v, low_u + lu, low_v + lv)
        )
        self.labels.append(label)
        start = beside != self.narrow
        if self.narrow and not beside and low_v < v:
            anchor = "end"
        else:
            anchor = "start" if start else "middle"
        x = {"start": label.x0, "middle": (label.x0 + label.x1) / 2, "end": label.x1}[anchor]
        size = self.sizes.flow
        lines = [
            Line(content, size, bold, x, label.y0 + (number + 0.78) * size * 1.25)
            for number, (content, bold) in enumerate(
                [
                    *((line, True) for line in (net.beside if beside else net.name)),
                    (net.pipe.value_text, False),
                ]
            )
        ]
        valve = (v, u) if self.narrow else (u, v)
        level = (net.on is not None) != self.narrow
        return PlacedPipe(
            net.pipe,
            tuple(paths),
            tuple(arrows),
            tuple(paths[number][0] for number in net.starts),
            tuple(Cloud(*self._xy(middle)) for _, _, middle in net.clouds),
            (valve, level),
            label,
            tuple(lines),
            anchor,
            net.thick,
        )

    def _valve_at(self, net: Net) -> tuple[float, float]:
        """Return where a valve stands: in the middle, or as close to it as its label has room."""
        if net.stretch is not None:
            (u, start), (_, end) = net.stretch
            low, high = start.at, end.at
            half = self._cloud_half()[1]
            if isinstance(end, Drop):
                high += -half if high > low else half
            if isinstance(start, Drop):
                low += half if high > low else -half
            for lane, sign in ((start, 1), (end, -1)):
                if isinstance(lane, Lane):
                    near = net.thick / 2 * (sign if high > low else -sign)
                    low, high = (low + near, high) if sign > 0 else (low, high + near)
            middle = (low + high) / 2 - (4 if high > low else -4)
            if self.narrow and isinstance(end, Drop):
                middle = max(middle, low + self._label_uv(net, beside=True)[1] / 2 + 4)
            if self.narrow and isinstance(start, Drop):
                middle = (
                    min(middle, high - self._label_uv(net, beside=True)[1] / 2 - 4) if high > low else middle
                )
            return u.at, middle
        on = net.on
        assert on is not None
        if isinstance(on, Piece):
            assert on.zone is not None
            low, high = self.zone_at[on.zone]
            return (low + high) / 2, on.at
        ends = [point[0].at for points in net.paths for point in points if point[1] is on]
        middle = (min(ends) + max(ends)) / 2
        lu, lv = self._label_uv(net)
        low_v, high_v = (on.at, on.at + VALVE + 5 + lv) if on.hung else (on.at - VALVE - 5 - lv, on.at)
        half = max(lu / 2, VALVE) + 6

        def is_clear(u: float) -> bool:
            return (
                min(ends) <= u - half + 6
                and u + half - 6 <= max(ends)
                and not any(
                    abs(x - u) < half + thick / 2 and low < high_v + VALVE and low_v - VALVE < high
                    for x, low, high, thick in self.upright
                )
            )

        if on.zone is None:
            return middle, on.at
        zones = [sum(self.zone_at[unit]) / 2 for unit in range(on.low, on.high + 1) if unit in self.zone_at]
        fits = [sum(self.zone_at[on.zone]) / 2]
        tries = [middle, *sorted(zones, key=lambda u: abs(u - middle)), *fits]
        several = len(net.paths) > 1  # what collects must come before it, what delivers after
        for choice in fits if several else tries:
            if is_clear(choice):
                return choice, on.at
        return fits[0], on.at


def _in_line(a: Point, b: Point, c: Point) -> bool:
    same_x = abs(a[0] - b[0]) < 1e-6 and abs(b[0] - c[0]) < 1e-6
    same_y = abs(a[1] - b[1]) < 1e-6 and abs(b[1] - c[1]) < 1e-6
    return same_x or same_y
