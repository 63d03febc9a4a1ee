from __future__ import annotations

import json

import pytest

from parsl.dataflow.states import States
from parsl.monitoring.queries.graphs import Edge, Graph, Node
from parsl.monitoring.queries.plots import Bar, Lane, Moment, Usage
from parsl.monitoring.totals import DURATIONS
from parsl.monitoring.visualization import figures
from tests.monitoring.visualization.made import EVIL


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


BARS = [Bar(0, 0, EVIL, States.exec_done, EVIL, 1.0, 2.0), Bar(1, 0, "b", States.launched, "w", 1.5, None)]
LANES = Usage(0.0, 1.0, [Lane(f"{EVIL}{n}", [float(n), 1.0], [0.1, 0.2], [1e6, 2e6]) for n in range(10)])
GRAPH = Graph(
    [Node(EVIL, EVIL, {States.failed: 1}), Node("b", "b", {States.exec_done: 2, States.memo_done: 1})],
    [Edge(EVIL, "b", 3, False), Edge("b", "b", 2, False)],
)


@pytest.mark.parametrize(
    "figure",
    [
        figures.states_over_time([Moment(1.0, 1, 2, 3, 4)]),
        figures.gantt(BARS, 5.0, lambda task: f"/runs/x/tasks/{task}"),
        figures.busy(LANES),
        *(figures.node_usage(LANES, kind) for kind in ("busy", "cpu", "memory")),
        figures.durations({EVIL: [1] * (len(DURATIONS) + 1)}),
        figures.graph(GRAPH, lambda key: "/runs/x"),
        figures.task_usage([{"try_id": 0, "at": 1.0, "user_time": 1.0, "system_time": None, "resident": 5}]),
        figures.states_over_time([]),
        figures.gantt([], 5.0, str),
        figures.busy(Usage(0.0, 1.0, [])),
        figures.node_usage(Usage(0.0, 1.0, []), "cpu"),
        figures.durations({}),
        figures.graph(Graph([], []), str),
        figures.task_usage([]),
    ],
)
def test_figures_are_plain_data_without_mark_up_of_users(figure):
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    assert set(figure) == {"data", "layout"}
    assert not [text for text in texts(figure) if "<script" in text]


def test_what_runs_has_no_end_and_leads_to_its_task():
    figure = figures.gantt(BARS, 5.0, lambda task: f"/runs/x/tasks/{task}")
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert by_name["running"]["x"] == [3500.0]
    assert by_name["running"]["customdata"] == ["/runs/x/tasks/1"]
    assert by_name["done"]["marker"]["color"] == "var(--done)"


def test_many_nodes_are_summed_up():
    names = [trace["name"] for trace in figures.node_usage(LANES, "busy")["data"]]
    assert len(names) == 8
    assert names[-1] == "3 more"
    rest = figures.node_usage(LANES, "busy")["data"][-1]["y"]
    assert rest == [3.0, 3.0]


def test_a_graph_has_the_colour_of_the_worst():
    figure = figures.graph(GRAPH, lambda key: f"/runs/x/tasks?app={key}")
    colours = {trace["text"][0]: trace["marker"]["color"] for trace in figure["data"] if "marker" in trace}
    assert sorted(colours.values()) == ["var(--done)", "var(--failed)"]
    assert any("3 of 3" in text for text in colours)
    assert any("waits for itself 2 times" in text for text in texts(figure))
    curves = figure["data"][0]
    assert curves["x"].count(None) == 1


def test_labels_of_durations_are_words():
    figure = figures.durations({"a": [1] * (len(DURATIONS) + 1)})
    labels = figure["data"][0]["x"]
    assert labels[:5] == ["≤ 1 ms", "≤ 3 ms", "≤ 10 ms", "≤ 30 ms", "≤ 100 ms"]
    assert labels[-1].startswith("> ")
    assert len(set(labels)) == len(labels)
