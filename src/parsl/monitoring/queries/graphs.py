"""Which tasks of a run wait for which: task by task, or summed up by app where there are many."""

from __future__ import annotations

from typing import NamedTuple

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries

# A longer text of dependencies is cut off when it is recorded, maybe within a number.
_LONGEST = 4000


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
    edges: list[Edge] = []
    for column, join in (("depends", False), ("joins", True)):
        sqlite = queries.engine.dialect.name == "sqlite"
        whole = (
            f"CASE WHEN length({column}) >= {_LONGEST} THEN rtrim(rtrim({column}, '0123456789'), ',') ELSE {column} END"
        )
        each = f"json_each('[' || {whole} || ']') e" if sqlite else f"unnest(string_to_array({whole}, ',')) AS e(value)"
        # A join app may wait for futures that are no tasks: nothing stands between the commas.
        plain = f"{column} <> '' AND ',' || {column} || ',' NOT LIKE '%,,%'"
        rows = queries.select(
            "SELECT b.app, a.app, sum(e.number) FROM ("
            f"SELECT m.task, CAST(e.value AS BIGINT) AS before, count(*) AS number FROM parsl_more m, {each} "
            f"WHERE m.run = :run AND {plain} GROUP BY m.task, CAST(e.value AS BIGINT)) e "
            "JOIN parsl_task a ON a.run = :run AND a.task = e.task "
            "JOIN parsl_task b ON b.run = :run AND b.task = e.before GROUP BY b.app, a.app",
            run=run,
        )
        edges.extend(Edge(before or "", after or "", int(count), join) for before, after, count in rows)
    return Graph(nodes, edges)


def numbers(text: str | None) -> list[int]:
    """Read the numbers of tasks in a text of dependencies; one that may be cut off is left out."""
    words = (text or "").split(",")
    if text and len(text) >= _LONGEST:
        del words[-1]
    return [int(word) for word in words if word.isdigit()]
