from __future__ import annotations

from parsl.dataflow.states import States
from parsl.monitoring.queries import graphs
from parsl.monitoring.queries.graphs import Edge
from parsl.monitoring.queries.runs import RunQueries
from tests.monitoring.visualization.made import a_run, began, submitted, write


def test_tasks_are_drawn_one_by_one_while_there_are_few(url):
    write(url, *a_run())
    with RunQueries(url) as queries:
        found = graphs.task_graph(queries, 1)
        assert graphs.task_graph(queries, 1, most=7) is None
    assert [node.key for node in found.nodes] == list(range(8))
    assert found.nodes[2].states == {States.failed: 1}
    assert set(found.edges) == {
        *(Edge(n, 4, 1, False) for n in range(4)), Edge(4, 5, 1, False), Edge(0, 6, 1, True), Edge(1, 6, 1, True),
    }  # fmt: skip


def test_apps_stand_for_many(url):
    write(url, *a_run())
    with RunQueries(url) as queries:
        found = graphs.app_graph(queries, 1)
    edges = {(edge.before, edge.after): (edge.number, edge.join) for edge in found.edges}
    assert edges[("simulate", "collect")] == (4, False)
    assert edges[("simulate", "start")] == (2, True)
    assert len(edges) == 3
    assert {node.key: sum(node.states.values()) for node in found.nodes}["simulate"] == 4


def test_a_text_that_was_cut_off_names_no_other_task():
    text = ",".join(str(100 + n) for n in range(2000))[:4000]
    assert text.endswith(",")
    cut = text[:-1] + "9"  # within a number
    assert len(cut) == 4000
    assert graphs.numbers(cut) == list(range(100, 1079))
    assert graphs.numbers(None) == graphs.numbers("") == []


def test_what_is_no_task_is_left_out(url):
    write(url, began(), submitted(0), submitted(1, depends="0,,x"), submitted(2, depends="77"))
    with RunQueries(url) as queries:
        assert graphs.task_graph(queries, 1).edges == [Edge(0, 1, 1, False)]
        assert graphs.app_graph(queries, 1).edges == []
