"""Which tasks of a run wait for which: task by task, or summed up by app where there are many."""

from __future__ import annotations

from typing import NamedTuple

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.totals_tables import LONGEST_TEXT


class Node(NamedTuple):
    """A task, or all tasks of an app.

    Attributes:
        key: the task's number, or the app's name.
        app: name of the app.
        states: how many tasks are in each state.
    """

    key: int | str
    app: str
    states: dict[States, int]


class Edge(NamedTuple):
    """`number` times `after` waits for `before`; `join` where it is a join app that waits for what it has started."""

    before: int | str
    after: int | str
    number: int
    join: bool


class Graph(NamedTuple):
    """Nodes and edges; an edge may lead from an app to itself."""

    nodes: list[Node]
    edges: list[Edge]


def task_graph(queries: RunQueries, run: int, most: int = 300) -> Graph | None:
    """Return the graph of the tasks of a run; None where there are more than `most`."""
    rows = queries.select(
        "SELECT t.task, t.app, t.state, m.depends, m.joins FROM parsl_task t "
        "LEFT JOIN parsl_more m ON m.run = t.run AND m.task = t.task "
        "WHERE t.run = :run ORDER BY t.task LIMIT :limit",
        run=run,
        limit=most + 1,
    )
    if len(rows) > most:
        return None
    known = {row[0] for row in rows}
    nodes: list[Node] = []
    edges: list[Edge] = []
    for task, app, state, depends, joins in rows:
        nodes.append(Node(task, app or "", {} if state is None else {States(state): 1}))
        for text, join in ((depends, False), (joins, True)):
            edges.extend(Edge(before, task, 1, join) for before in numbers(text) if before in known)
    return Graph(nodes, edges)


def app_graph(queries: RunQueries, run: int) -> Graph:
    """Return the graph of the apps of a run, each edge with the number of edges between their tasks."""
    nodes = [Node(app.app or "", app.app or "", app.states) for app in queries.apps(run)]
    edges = [
        Edge(earlier, later, number, bool(join))
        for earlier, later, number, join in queries.select(
            "SELECT earlier, later, number, is_join FROM parsl_edge WHERE run = :run", run=run
        )
    ]
    return Graph(nodes, edges)


def numbers(text: str | None) -> list[int]:
    """Read the numbers of tasks in a text of dependencies; one that may be cut off is left out."""
    words = (text or "").split(",")
    if text and len(text) >= LONGEST_TEXT:
        del words[-1]
    return [int(word) for word in words if word.isdigit()]
