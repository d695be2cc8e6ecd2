"""The picture of a lineage: everything in its place, nothing on another, readable without colour."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from kck_flow.drawing.lineage import HIGH, Node, lay_out, layers, lineage

Edges = list[tuple[str, str]]
NAMES = [f"n{number}" for number in range(14)]
graphs = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=40)


def nodes_of(edges: Edges) -> list[Node]:
    return [Node(name, f"Product {name}") for name in dict.fromkeys(sum(edges, ()))]


def test_each_stands_behind_all_that_it_needs() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c"), ("c", "e")]
    found = layers(["a", "b", "c", "d", "e"], edges)
    assert found == {"a": 0, "b": 1, "c": 2, "d": 1, "e": 3}  # d beside b: next to who needs it


@given(graphs)
@example([("n0", "n1"), ("n1", "n0"), ("n1", "n1")])
def test_whatever_the_graph_all_is_there_and_nothing_lies_on_another(edges: Edges) -> None:
    nodes = nodes_of(edges)
    laid = lay_out(nodes, edges)
    assert [
        one.node.name for one in sorted(laid.nodes, key=lambda one: NAMES.index(one.node.name))
    ] == sorted((node.name for node in nodes), key=NAMES.index)
    wanted = {frozenset(edge) for edge in edges if edge[0] != edge[1]}
    assert len(laid.edges) == len({edge for edge in edges if edge[0] != edge[1]})
    for at, one in enumerate(laid.nodes):
        assert one.x >= 0
        assert one.x + one.width <= laid.width
        assert one.y >= 0
        assert one.y + HIGH <= laid.height
        for other in laid.nodes[at + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = one.y + HIGH <= other.y or other.y + HIGH <= one.y
            assert apart_x or apart_y
    joined = set()
    for points in laid.edges:
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        ends = [
            next(
                one.node.name
                for one in laid.nodes
                if one.y <= y <= one.y + HIGH and abs((one.x + one.width if at == 0 else one.x) - x) < 0.01
            )
            for at, (x, y) in ((0, points[0]), (1, points[-1]))
        ]
        joined.add(frozenset(ends))
        # Where it passes a column it goes through no box.
        for (left, y), (right, to) in pairwise(points):
            if y == to and (left, y) != points[0] and (right, to) != points[-1]:
                for one in laid.nodes:
                    if one.x < right and left < one.x + one.width:
                        assert not one.y < y < one.y + HIGH
    assert joined == wanted


@given(graphs)
def test_what_is_no_circle_runs_from_left_to_right(edges: Edges) -> None:
    forward = [edge for edge in edges if NAMES.index(edge[0]) < NAMES.index(edge[1])]
    found = layers(NAMES, forward)
    assert all(found[one] < found[other] for one, other in forward)
    assert min(found.values()) >= 0


def test_a_chain_as_long_as_a_day_ends() -> None:
    names = [str(number) for number in range(3000)]
    found = layers(names, list(pairwise(names)))
    assert found["2999"] == 2999


def test_two_columns_do_not_cross_where_they_need_not() -> None:
    edges = [(f"a{number}", f"b{9 - number}") for number in range(10)]
    names = sorted({name for edge in edges for name in edge})  # declared in an order in which all would cross
    laid = lay_out([Node(name, name) for name in names], edges)
    ends = sorted((points[0][1], points[-1][1]) for points in laid.edges)
    assert [to for _, to in ends] == sorted(to for _, to in ends)


def test_it_is_a_picture_with_names_and_links_and_no_style() -> None:
    nodes = [
        Node("a", "Orders & <more>", "stale · 3 March", href="/x/a", state="stale"),
        Node("b", "Report", "14:05", spoken="Report, 14:05", href="/x/b", here=True),
        Node("c", "Broken", "failed", state="failed"),
    ]
    svg = lineage(nodes, [("a", "b"), ("b", "c")], id="l1", title="Lineage of Report", description="Told.")
    root = ET.fromstring(svg)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert [link.get("href") for link in root.findall("s:a", space)] == ["/x/a", "/x/b"]
    names = [one.get("aria-label") for one in root if one.get("aria-label")]
    assert names == ["Orders & <more> (stale)", "Report, 14:05", "Broken (failed)"]
    assert root.get("role") == "group"
    assert "style" not in svg
    dashes = [rect.get("stroke-dasharray") for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert dashes[0] != dashes[1] is None
    assert dashes[2] not in (None, dashes[0])
    alone = lineage(nodes, [], id="l1", title="t", theme="dark")
    assert "var(" not in alone


def test_of_sixty_products_each_is_drawn_and_each_edge() -> None:
    names = [f"n{number}" for number in range(60)]
    edges = [(one, other) for at, one in enumerate(names) for other in names[at + 1 : at + 5]]
    svg = lineage([Node(name, name) for name in names], edges, id="l", title="t")
    assert svg.count("<rect") == 60
    assert svg.count('fill="none"') == len(edges)
