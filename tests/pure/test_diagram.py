"""Laws and stories of stock-and-flow diagrams: whatever the process, nothing covers what it should not."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagrams import STORIES
from kck_flow.drawing import ranks
from kck_flow.drawing.diagram import TEMPLATES, diagram, parts_of, sentences
from kck_flow.drawing.layout import NARROW_WIDTH, lay_out
from kck_flow.drawing.parts import Box, Layout, Pipe, PlacedPipe, Rect
from kck_flow.drawing.routes import wrap
from kck_flow.drawing.svg import text_width
from kck_flow.drawing.text import picture

EXAMPLES = 2000 if os.environ.get("KCK_TEST_FULL") == "1" else 60
SVG = "{http://www.w3.org/2000/svg}"

LABELS = st.sampled_from(
    [
        "Open",
        "In",
        "Waiting for the customer",
        "Donaudampfschifffahrtsgesellschaft",
        "返品された注文の再入荷",
        "<&\"'>",
        "a b c d e f g",
        "Paid by invoice within fourteen days of delivery",
        "W" * 60,
        "",
    ]
)
VALUES = st.sampled_from(["–", "0", "4,391", "−12", "123,456,789,012,345", "12.5 %"])
STATES = st.sampled_from(["fresh", "stale", "computing", "failed", "empty"])


@st.composite
def processes(draw: st.DrawFn) -> tuple[list[Box], list[Pipe]]:
    names = [f"s{number}" for number in range(draw(st.integers(0, 10)))]
    boxes = [
        Box(
            name,
            draw(LABELS),
            draw(VALUES),
            draw(st.sampled_from(["", "+40 this period"])),
            None,
            draw(STATES),
        )
        for name in names
    ]
    ends = st.sampled_from([None, *names])
    one = st.lists(ends, min_size=1, max_size=1)
    some = st.one_of(one, one, one, st.lists(ends, min_size=1, max_size=4, unique=True))
    pipes = [
        Pipe(
            f"f{number}", draw(LABELS), draw(VALUES), draw(st.sampled_from([None, 0, 3, 999])), draw(some), draw(some),
            "/flow/" if draw(st.booleans()) else None, draw(STATES),
        )
        for number in range(draw(st.integers(0, 20)))
    ]  # fmt: skip
    return boxes, pipes


def stretches(pipe: PlacedPipe) -> Iterator[Rect]:
    """What each straight piece of a pipe covers."""
    for points in pipe.paths:
        for (x0, y0), (x1, y1) in pairwise(points):
            assert (abs(x0 - x1) < 1e-6) != (abs(y0 - y1) < 1e-6), "level or upright, and never a point"
            half = pipe.thick / 2
            across = (half, 0) if abs(x0 - x1) < 1e-6 else (0, half)
            yield Rect(
                min(x0, x1) - across[0], min(y0, y1) - across[1], max(x0, x1) + across[0], max(y0, y1) + across[1]
            )  # fmt: skip


def grown(rect: Rect, by: float) -> Rect:
    return Rect(rect.x0 - by, rect.y0 - by, rect.x1 + by, rect.y1 + by)


def on_edge(rect: Rect, x: float, y: float) -> bool:
    upright = (abs(x - rect.x0) < 1e-6 or abs(x - rect.x1) < 1e-6) and rect.y0 <= y <= rect.y1
    level = (abs(y - rect.y0) < 1e-6 or abs(y - rect.y1) < 1e-6) and rect.x0 <= x <= rect.x1
    return upright or level


def check(layout: Layout) -> None:
    """Everything that holds for every layout."""
    boxes = [one.rect for one in layout.boxes]
    pieces = [list(stretches(pipe)) for pipe in layout.pipes]
    labels = [pipe.label for pipe in layout.pipes]
    valves = [pipe.valve_rect for pipe in layout.pipes]
    clouds = [(number, cloud.rect) for number, pipe in enumerate(layout.pipes) for cloud in pipe.clouds]
    everything = [
        *boxes,
        *labels,
        *valves,
        *(rect for _, rect in clouds),
        *(one for some in pieces for one in some),
    ]
    sheet = Rect(0, 0, layout.width, layout.height)
    for rect in everything:
        assert sheet.x0 <= rect.x0 <= rect.x1 <= sheet.x1, "within the sheet"
        assert sheet.y0 <= rect.y0 <= rect.y1 <= sheet.y1, "within the sheet"
    solid = [("box", rect) for rect in boxes] + [("label", rect) for rect in labels]
    solid += [("valve", rect) for rect in valves] + [("cloud", rect) for _, rect in clouds]
    for (one, a), (other, b) in combinations(solid, 2):
        assert not a.overlaps(b), f"a {one} overlaps a {other}"
    for number, some in enumerate(pieces):
        for piece in some:
            for rect in boxes:
                assert not piece.overlaps(grown(rect, -0.5)), "a pipe runs through a box"
            for at, rect in enumerate(labels):
                assert not piece.overlaps(rect), (
                    f"a pipe runs through {'its own' if at == number else 'a'} label"
                )
            for at, rect in enumerate(valves):
                assert at == number or not piece.overlaps(rect), "a pipe runs through another's valve"
            for at, rect in clouds:
                assert at == number or not piece.overlaps(rect), "a pipe runs through another's cloud"
    for (_, one), (_, other) in combinations(enumerate(pieces), 2):
        for a in one:
            for b in other:
                level_a, level_b = (rect.x1 - rect.x0 >= rect.y1 - rect.y0 for rect in (a, b))
                if level_a == level_b:
                    assert not a.overlaps(b), "two pipes overlap lengthwise"
    for pipe in layout.pipes:
        own = {one.box.name: one.rect for one in layout.boxes}
        check_ends(pipe, own, pipe.pipe.sinks, [tip for tip, _ in pipe.arrows])
        check_ends(pipe, own, pipe.pipe.sources, list(pipe.starts))
        (x, y), level = pipe.valve
        assert any(
            (rect.y1 - rect.y0 if level else rect.x1 - rect.x0) <= pipe.thick + 1e-6
            and rect.x0 - 1e-6 <= x <= rect.x1 + 1e-6 and rect.y0 - 1e-6 <= y <= rect.y1 + 1e-6
            for rect in stretches(pipe)
        ), "the valve stands on its pipe"  # fmt: skip


def check_ends(pipe: PlacedPipe, boxes: dict[str, Rect], ends: Sequence[str | None], points: list) -> None:
    """Each end has its own point, at the edge of its box or cloud."""
    named = [end for end in dict.fromkeys(ends) if end is not None]
    for name in named:
        assert any(on_edge(boxes[name], *point) for point in points), f"{name} has its end"
    rest = [point for point in points if not any(on_edge(boxes[name], *point) for name in named)]
    for x, y in rest:
        assert any(grown(cloud.rect, 0.5).overlaps(Rect(x - 1, y - 1, x + 1, y + 1)) for cloud in pipe.clouds)
    assert len(points) == len(named) + len(rest)


@settings(max_examples=EXAMPLES, deadline=None)
@given(processes(), st.booleans(), st.booleans())
def test_nothing_covers_what_it_should_not(
    process: tuple[list[Box], list[Pipe]], narrow: bool, proportional: bool
) -> None:
    boxes, pipes = process
    check(lay_out(boxes, pipes, narrow=narrow, proportional=proportional))


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(processes(), st.booleans())
def test_a_process_is_always_laid_out_the_same_way(
    process: tuple[list[Box], list[Pipe]], narrow: bool
) -> None:
    boxes, pipes = process
    before = diagram(boxes, pipes, id="d", title="D", narrow=narrow)
    ranks.arrange.cache_clear()
    assert diagram(boxes, pipes, id="d", title="D", narrow=narrow) == before
    # Numbers that change move nothing but what is as wide as they are.
    found = lay_out(boxes, pipes, narrow=narrow)
    counts = [Pipe(p.name, p.label, p.value_text, 7, p.sources, p.sinks, p.href, p.state) for p in pipes]
    assert [one.paths for one in lay_out(boxes, counts, narrow=narrow).pipes] == [
        one.paths for one in found.pipes
    ]


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(processes(), st.booleans())
def test_pipes_cross_no_more_than_in_declared_order(
    process: tuple[list[Box], list[Pipe]], narrow: bool
) -> None:
    boxes, pipes = process
    plain = lay_out(boxes, pipes, narrow=narrow, declared=True)
    check(plain)
    assert len(lay_out(boxes, pipes, narrow=narrow).crossings) <= len(plain.crossings)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(processes(), st.booleans(), st.sampled_from([None, "light", "dark"]))
def test_it_is_svg_that_a_strict_policy_lets_through(
    process: tuple[list[Box], list[Pipe]], narrow: bool, theme: str | None
) -> None:
    boxes, pipes = process
    written = diagram(boxes, pipes, id="d", title="A & B", narrow=narrow, proportional=True, theme=theme)
    tree = ElementTree.fromstring(written)
    assert tree.get("role") == "group"
    assert tree.find(f"{SVG}title").text == "A & B"
    assert tree.get("aria-labelledby") == tree.find(f"{SVG}title").get("id")
    names = [one.name for one in [*boxes, *pipes]]
    told = [one for one in tree.iter() if "aria-label" in one.attrib]
    assert len(told) == len(names), "each stock and flow has one name"
    assert all((one.tag == f"{SVG}a") == ("href" in one.attrib) for one in told)
    assert all(one.find(f"{SVG}title").text == one.get("aria-label") for one in told)
    for one in tree.iter():
        assert one.tag not in (f"{SVG}style", f"{SVG}script")
        assert not any(name == "style" or name.startswith("on") for name in one.attrib)
        assert not any(
            "nan" in value or "inf" in value for name, value in one.attrib.items() if name in "dxywidth"
        )
        assert (theme is None) == ("var(" in one.get("fill", "var(" if theme is None else "")) or (
            one.get("fill", "none") in ("none", "currentColor")
        )


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=80), st.floats(40, 300), st.booleans())
def test_a_text_is_wrapped_into_two_lines_at_most(content: str, width: float, bold: bool) -> None:
    lines = wrap(content, width, 13, bold=bold)
    assert 1 <= len(lines) <= 2
    assert all(text_width(line, 13, bold=bold) <= width for line in lines)
    if not lines[-1].endswith("…"):
        assert "".join("".join(lines).split()) == "".join(content.split()), "nothing of it is lost"


@settings(max_examples=EXAMPLES, deadline=None)
@given(processes(), st.integers(20, 300))
def test_a_terminal_shows_each_flow_whole(process: tuple[list[Box], list[Pipe]], width: int) -> None:
    boxes, pipes = process
    wide = picture(boxes, pipes, width=10**6)
    for one in [*boxes, *pipes]:
        assert f"{'[' if isinstance(one, Box) else ''}{f'{one.label} {one.value_text}'.strip()}" in wide
    drawn = "→" not in wide
    if drawn:
        inner = [
            len(set(pipe.sinks) - {None})
            + ((None in pipe.sinks and any(pipe.sources)) or not any(pipe.sinks))
            for pipe in pipes
        ]
        assert wide.count("▲") + wide.count("▶") == sum(inner), "each end has its arrowhead"
    found = picture(boxes, pipes, width=width)
    listed = [line for line in found.splitlines() if "→" in line]
    if listed:
        assert len(listed) == len(pipes)
    elif pipes:
        assert all(len(line) <= width for line in found.splitlines())


# --- stories ------------------------------------------------------------------------------------------------


def placed(name: str, *, narrow: bool = False) -> tuple[dict[str, Rect], dict[str, PlacedPipe], Layout]:
    story = STORIES[name]
    layout = lay_out(story.boxes, story.pipes, narrow=narrow)
    boxes = {one.box.name: one.rect for one in layout.boxes}
    return boxes, {one.pipe.name: one for one in layout.pipes}, layout


def middle(rect: Rect) -> tuple[float, float]:
    return (rect.x0 + rect.x1) / 2, (rect.y0 + rect.y1) / 2


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("proportional", [False, True])
def test_stories_obey_the_laws(name: str, narrow: bool, proportional: bool) -> None:
    check(lay_out(*STORIES[name][1:], narrow=narrow, proportional=proportional))


def test_subscriptions_run_to_the_right_lose_downward_and_return_below() -> None:
    boxes, pipes, layout = placed("subscriptions")
    line = [middle(boxes[name]) for name in ("trial", "active", "churned")]
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert len({y for _, y in line}) == 1
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0]), "evenly spaced"
    for name in ("sign_up", "convert", "churn"):
        (points,) = pipes[name].paths
        assert {y for _, y in points} == {line[0][1]}, "one straight line through the middle of the boxes"
    assert pipes["sign_up"].clouds[0].x < boxes["trial"].x0
    assert pipes["expire"].clouds[0].y > boxes["trial"].y1
    (back,) = pipes["come_back"].paths
    assert back[0][1] == back[-1][1] == boxes["active"].y1
    assert max(y for _, y in back) > boxes["active"].y1
    assert not layout.crossings


def test_flights_that_are_cancelled_or_diverted_branch_off_below() -> None:
    boxes, _, layout = placed("flights")
    assert len({boxes[name].y0 for name in ("scheduled", "departed", "arrived")}) == 1
    assert boxes["cancelled"].x0 == boxes["departed"].x0
    assert boxes["diverted"].x0 == boxes["arrived"].x0
    assert boxes["cancelled"].y0 == boxes["diverted"].y0 > boxes["arrived"].y1
    assert not layout.crossings


def test_tickets_are_reopened_in_loops_within_loops() -> None:
    boxes, pipes, layout = placed("desk")
    names = ["new", "open", "waiting", "solved", "reopened"]
    assert sorted(names, key=lambda name: boxes[name].x0) == names
    deepest = {name: max(y for points in pipes[name].paths for _, y in points) for name in ("hear", "resume")}
    assert boxes["open"].y1 < deepest["hear"] < deepest["resume"]
    assert not layout.crossings


@pytest.mark.parametrize("name", ["subscriptions", "flights", "desk", "shop", "list"])
def test_in_whatever_order_flows_are_declared_these_do_not_cross(name: str) -> None:
    story = STORIES[name]
    for pipes in (story.pipes, story.pipes[::-1], sorted(story.pipes, key=lambda pipe: pipe.label)):
        assert not lay_out(story.boxes, pipes).crossings


def test_loops_between_the_same_stocks_stand_within_each_other() -> None:
    boxes = [Box(name, name) for name in "abcd"]
    along = [Pipe(f"{s}{t}", "On", "1", 1, [s], [t]) for s, t in ("ab", "bc", "cd")]
    back = [Pipe(f"{s}{t}", "Back", "1", 1, [s], [t]) for s, t in ("da", "db", "ca", "cb", "ba")]
    assert (
        len(lay_out(boxes, [*along, *back]).crossings)
        == len(lay_out(boxes, [*along, *back[::-1]]).crossings)
        == 1
    )


def ends(*flows: tuple[str, str]) -> tuple[list[Box], list[Pipe]]:
    """A process as `("a", "b-")`: from a to b and the outside."""
    pipes = [
        Pipe(
            f"f{at}", f"Flow {at}", "1", 1, *([None if end == "-" else end for end in side] for side in flow)
        )
        for at, flow in enumerate(flows)
    ]
    return [
        Box(name, name.upper(), "1")
        for name in sorted({end for flow in flows for end in "".join(flow)} - {"-"})
    ], pipes


def test_a_label_stands_where_its_own_pipe_has_room_for_it() -> None:
    check(lay_out(*ends(("b", "acd"), ("d", "b"), ("-", "-"))))


def test_a_line_that_is_folded_above_where_it_goes_on() -> None:
    boxes, pipes = ends(("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("c", "f"), ("a", "f"))
    layout = lay_out(boxes, pipes)
    check(layout)
    assert len({one.rect.y0 for one in layout.boxes}) == 2


def test_where_the_declared_order_crosses_less_it_is_kept() -> None:
    boxes, pipes = ends(("de", "c"), ("df-", "a-"))
    boxes.insert(1, Box("b", "B"))
    assert len(lay_out(boxes, pipes).crossings) <= len(lay_out(boxes, pipes, declared=True).crossings)


def test_no_arrowhead_stands_within_a_pipe_that_passes() -> None:
    found = picture(*ends(("a", "b"), ("b", "c"), ("c", "d"), ("a", "c"), ("d", "b")), width=200)
    assert found.count("▲") == 2
    assert "─▲─" not in found


def test_a_long_line_of_orders_is_folded_and_goes_on_below() -> None:
    boxes, _, layout = placed("orders")
    first, second = ("placed", "paid", "picking", "packed"), ("shipped", "delivered", "returned", "refunded")
    for upper, lower in zip(first, second, strict=True):
        assert boxes[upper].x0 == boxes[lower].x0
        assert boxes[upper].y1 < boxes["cancelled"].y0 < boxes["cancelled"].y1 < boxes[lower].y0
    assert layout.width < 1400
    assert len(layout.crossings) == 2


def test_flows_beside_each_other_stand_above_and_below_the_middle() -> None:
    boxes, pipes, _ = placed("shop")
    lines = [pipes[name].paths[0][0][1] for name in ("web", "phone")]
    assert sum(lines) / 2 == pytest.approx(middle(boxes["open"])[1])
    assert lines[0] < lines[1]


def test_a_flow_with_several_ends_has_one_valve_and_an_end_at_each() -> None:
    boxes, pipes, _ = placed("accounts")
    cancel = pipes["cancel"]
    assert len(cancel.starts) == 3
    assert {tip for tip, _ in cancel.arrows} == {(boxes["churned"].x0, middle(boxes["churned"])[1])}


@pytest.mark.parametrize("name", ["subscriptions", "flights", "desk", "list"])
def test_a_phone_shows_it_from_top_to_bottom_in_readable_text(name: str) -> None:
    boxes, _, layout = placed(name, narrow=True)
    assert layout.width == NARROW_WIDTH
    lines = [line for one in [*layout.boxes, *layout.pipes] for line in one.lines]
    assert min(line.size for line in lines) >= 12
    inside = [rect.x0 for rect in boxes.values()] + [layout.width - rect.x1 for rect in boxes.values()]
    assert min(inside) >= 12


def test_stocks_that_no_order_suits_keep_the_declared_one() -> None:
    grid = ranks.arrange(3, (((0,), (1,)), ((1,), (2,)), ((2,), (0,))))
    assert grid.cells == ((0, 0), (1, 0), (2, 0))
    # Declared by name rather than as they follow each other, they are put in order nevertheless.
    active, churned, trial = range(3)
    flows = (((trial,), (active,)), ((active,), (churned,)), ((churned,), (active,)))
    assert ranks.arrange(3, flows).cells == ((1, 0), (2, 0), (0, 0))


def test_a_knot_of_many_stocks_is_put_in_order() -> None:
    size = ranks.MOST_EXACT + 4
    names = [f"s{number}" for number in range(size)]
    ring = [Pipe(f"f{at}", "f", "1", 1, [names[at]], [names[(at + 1) % size]]) for at in range(size)]
    check(lay_out([Box(name, name) for name in names], ring))
    flows = tuple(((at,), ((at + 1) % size,)) for at in range(size))
    assert ranks.arrange(size, flows).cells == tuple((at, 0) for at in range(size))
    # Declared the other way round, one of them runs back nevertheless, not all but one.
    flows = tuple(((sinks[0],), (sources[0],)) for sources, sinks in flows)
    cells = ranks.arrange(size, flows).cells
    assert sum(cells[sinks[0]] <= cells[sources[0]] for sources, sinks in flows) == 1


def test_long_names_are_cut_and_told_whole() -> None:
    label = "Waiting for an answer of the customer who wrote to us by letter"
    written = diagram([Box("waiting", label, "3", href="/w")], [], id="d", title="D")
    link = ElementTree.fromstring(written).find(f"{SVG}a")
    assert link.get("aria-label") == f"{label}: 3"
    shown = [one.text for one in link.iter(f"{SVG}text")]
    assert len(shown) == 3
    assert shown[1].endswith("…")


def test_states_are_told_in_words_and_in_dashes() -> None:
    written = diagram([Box("a", "Open", "3", state="stale"), Box("b", "Done", "4")], [], id="d", title="D")
    told = {
        one.get("aria-label"): one for one in ElementTree.fromstring(written).iter() if one.get("aria-label")
    }
    assert set(told) == {"Open: 3 (stale)", "Done: 4"}
    assert told["Open: 3 (stale)"].find(f"{SVG}rect").get("stroke-dasharray")
    assert told["Done: 4"].find(f"{SVG}rect").get("stroke-dasharray") is None


def test_flows_are_told_in_sentences() -> None:
    told = sentences(*STORIES["subscriptions"][1:])
    assert [one.text for one in told] == [
        "outside → Trial: 1,320",
        "Trial → Active: 418",
        "Active → Churned: 174",
        "Churned → Active: 39",
        "Trial → outside: 862",
    ]
    assert [one.spoken for one in told] == [
        "Sign up: 1,320 into Trial",
        "Convert: 418 from Trial to Active",
        "Churn: 174 from Active to Churned",
        "Come back: 39 from Churned to Active",
        "Expire: 862 out of Trial",
    ]
    keep = {one.name: one for one in sentences(*STORIES["hiring"][1:])}["keep"]
    assert keep.text == "Applied, In interviews → Talent pool, outside: 233"
    assert keep.spoken == "Keep in touch: 233 from Applied and In interviews to Talent pool and outside"


def test_all_that_is_said_can_be_translated() -> None:
    asked: set[str] = set()

    def translate(template: str) -> str:
        asked.add(template)
        return template.replace(" from ", " aus ").replace(" to ", " nach ")

    boxes = [Box(state, state, state=state) for state in ("fresh", "stale", "computing", "failed", "empty")]
    boxes.append(Box("more", "More", "1", "+1"))
    pipes = [
        Pipe("a", "A", "1", 1, ["fresh", "stale"], ["more"]),
        Pipe("b", "B", "1", 1, [None], ["more"]),
        Pipe("c", "C", "1", 1, ["more"], [None]),
        Pipe("d", "D", "1", 1, [None], [None]),
    ]
    written = diagram(boxes, pipes, id="d", title="D", translate=translate)
    assert "A: 1 aus fresh and stale nach More" in written
    assert asked == set(TEMPLATES)


def test_a_terminal_shows_subscriptions() -> None:
    story = STORIES["subscriptions"]
    assert picture(*story[1:], width=100).splitlines() == [
        "☁ ──Sign up 1,320──▶ [Trial 318] ──Convert 418──▶ [Active 4,391] ──Churn 174──▶ [Churned 935]",
        "                          └──Expire 862──▶ ☁            ▲────────Come back 39─────────┘",
    ]
    assert picture(*story[1:], width=100, ascii=True).splitlines() == [
        "~ --Sign up 1,320--> [Trial 318] --Convert 418--> [Active 4,391] --Churn 174--> [Churned 935]",
        "                          `--Expire 862--> ~            ^--------Come back 39---------'",
    ]
    assert picture(*story[1:], width=60).splitlines() == [
        "Sign up 1,320  ☁ → [Trial 318]",
        "Convert 418    [Trial 318] → [Active 4,391]",
        "Churn 174      [Active 4,391] → [Churned 935]",
        "Come back 39   [Churned 935] → [Active 4,391]",
        "Expire 862     [Trial 318] → ☁",
    ]


def test_a_terminal_shows_branches_and_loops() -> None:
    assert picture(*STORIES["flights"][1:], width=120).splitlines() == [
        "☁ ──Plan 336,776──▶ [Scheduled 1,204] ──Depart 328,063──▶ [Departed 312] ──Arrive 327,034──▶ "
        "[Arrived 318,902]",
        "                            │                                   └──Divert 717──▶ [Diverted 717]",
        "                            └──Cancel 8,255──▶ [Cancelled 8,255]",
    ]


def test_what_names_no_stock_is_refused() -> None:
    with pytest.raises(ValueError, match="'f' names 'nobody'"):
        lay_out([Box("a", "A")], [Pipe("f", "F", "1", 1, ["nobody"], ["a"])])
    with pytest.raises(ValueError, match="'f' names 'nobody'"):
        picture([Box("a", "A")], [Pipe("f", "F", "1", 1, ["nobody"], ["a"])])
    with pytest.raises(ValueError, match="one name"):
        lay_out([Box("a", "A"), Box("a", "B")], [])


def test_a_process_is_drawn_of_what_is_known_of_it() -> None:
    stock = {"opening": 3, "in": 1, "out": 3, "corrected": 0, "uncounted": 0, "count": 1}
    value = {
        "stocks": {"open": stock, "sent": stock | {"opening": None}, "lost": stock | {"count": None}},
        "flows": {
            "send": {"sources": ["open"], "sinks": ["sent", "elsewhere", "beyond"], "count": 3000},
            "lose": {"sources": ["sent"], "sinks": [None], "count": None},
        },
    }
    boxes, pipes = parts_of(value, labels={"open": "Open"}, hrefs={"send": "/send"})
    assert [(one.label, one.value_text, one.change_text, one.state) for one in boxes] == [
        ("Open", "1", "−2", "fresh"),
        ("sent", "1", "", "fresh"),
        ("lost", "–", "", "empty"),
    ]
    send, lose = pipes
    assert (send.value_text, send.sinks, send.href) == ("3,000", ("sent", None), "/send")
    assert (lose.value_text, lose.sinks, lose.state, lose.href) == ("–", (None,), "empty", None)
