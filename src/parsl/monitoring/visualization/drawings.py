"""Which plots there are: what each asks of the database, and the figure that is made of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from parsl.monitoring.queries import graphs, plots
from parsl.monitoring.queries.runs import Run, RunQueries
from parsl.monitoring.visualization import figures

# So many samples of one task are drawn.
_MOST_SAMPLES = 5000


class Drawing(NamedTuple):
    """A plot.

    Attributes:
        data: name of what is asked; several plots may be drawn from one answer.
        ask: asks it, of the run, and of the task if it is about one.
        draw: makes the figure of the answer.
    """

    data: str
    ask: Callable[..., Any]
    draw: Callable[[Run, Any], figures.Figure]


def task_url(run_id: str, task: int) -> str:
    """Return the path of the page of a task."""
    return f"/runs/{quote(run_id, safe='')}/tasks/{task}"


def _gantt(run: Run, bars: list[plots.Bar]) -> figures.Figure:
    return figures.gantt(bars, run.completed or time.time(), lambda task: task_url(run.run_id, task))


def _graph(run: Run, graph: graphs.Graph) -> figures.Figure:
    def url(key: int | str) -> str:
        if isinstance(key, int):
            return task_url(run.run_id, key)
        return f"/runs/{quote(run.run_id, safe='')}/tasks?{urlencode({'app': key})}"

    return figures.graph(graph, url)


def _ask_usage(queries: RunQueries, run: Run) -> plots.Usage:
    return plots.usage_over_time(queries, run.run, resources=True)


def _ask_samples(queries: RunQueries, run: Run, task: int) -> list[dict[str, Any]]:
    columns = ("try_id", "at", "user_time", "system_time", "resident")
    rows = queries.select(
        f"SELECT {', '.join(columns)} FROM parsl_resource WHERE run = :run AND task = :task "
        "ORDER BY try_id, at LIMIT :limit",
        run=run.run,
        task=task,
        limit=_MOST_SAMPLES,
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


DRAWINGS: dict[str, Drawing] = {
    "states": Drawing(
        "states",
        lambda queries, run: plots.states_over_time(queries, run.run),
        lambda _run, moments: figures.states_over_time(moments),
    ),
    "durations": Drawing(
        "durations",
        lambda queries, run: plots.durations(queries, run.run),
        lambda _run, by_app: figures.durations(by_app),
    ),
    "busy": Drawing(
        "busy", lambda queries, run: plots.usage_over_time(queries, run.run), lambda _run, usage: figures.busy(usage)
    ),
    "gantt": Drawing("bars", lambda queries, run: plots.bars(queries, run.run), _gantt),
    "graph": Drawing(
        "graph",
        lambda queries, run: graphs.task_graph(queries, run.run) or graphs.app_graph(queries, run.run),
        _graph,
    ),
    "cpu": Drawing("usage", _ask_usage, lambda _run, usage: figures.node_usage(usage, "cpu")),
    "memory": Drawing("usage", _ask_usage, lambda _run, usage: figures.node_usage(usage, "memory")),
}

# The one that is about a task.
TASK_DRAWING = Drawing("samples", _ask_samples, lambda _run, samples: figures.task_usage(samples))
