from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parsl.monitoring.visualization.layers import positions


def test_what_waits_stands_to_the_right():
    found = positions("abcd", [("a", "b"), ("b", "d"), ("a", "c"), ("c", "d"), ("a", "d")])
    assert [found[node][0] for node in "abcd"] == [0, 1, 1, 2]
    assert found["b"][1] != found["c"][1]
    assert found["a"][1] == found["d"][1] == 0


def test_edges_cross_only_where_they_must():
    nodes = [*range(6)]
    found = positions(nodes, [(0, 5), (1, 4), (2, 3)])
    order = sorted((0, 1, 2), key=lambda n: found[n][1])
    assert sorted((3, 4, 5), key=lambda n: found[n][1]) == [5 - n for n in order]


def test_a_layer_of_few_is_spread():
    found = positions([*range(6)], [*((n, 4) for n in (0, 1)), *((n, 5) for n in (2, 3))])
    assert [found[4][1], found[5][1]] == [-1.0, 1.0]


def test_circles_and_edges_to_itself_are_drawn_as_well():
    found = positions("abc", [("a", "b"), ("b", "a"), ("b", "c"), ("c", "c")])
    assert found["c"][0] > found["b"][0]


def test_what_has_no_edge_stands_in_rows_below():
    found = positions([*range(40)], [(0, 1)])
    assert {row for _, row in found.values()} == {0.0, 1.5, 2.5, 3.5}
    assert positions([], []) == {}


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=40))
def test_each_node_has_a_place_of_its_own_and_edges_lead_to_the_right(edges):
    nodes = [*range(16)]
    found = positions(nodes, edges)
    assert set(found) == set(nodes)
    assert len(set(found.values())) == len(nodes)
    if all(before < after for before, after in edges):
        assert all(found[before][0] < found[after][0] for before, after in edges)
