"""What went wrong in a run, grouped by cause: errors that differ in numbers, addresses or paths alone are one cause."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries

# So many different texts are looked at, the most frequent first.
MOST_TEXTS = 5000
_EXAMPLES = 5

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?|(?<![\w/])/[\w./+-]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}")


@dataclass
class Cause:
    """Failures of one cause.

    Attributes:
        kind: name of the exception's class.
        message: the message of one of them.
        count: how many failures.
        tasks: numbers of a few of the tasks.
        app: name of the app of the first of them.
        traceback: the remote traceback of one of them; None if none was kept.
        dependency: whether these tasks did not run, since something that they need has failed.
    """

    kind: str
    message: str
    count: int = 0
    tasks: list[int] = field(default_factory=list)
    app: str | None = None
    traceback: str | None = None
    dependency: bool = False


def causes(queries: RunQueries, run: int, limit: int = 50) -> list[Cause]:
    """Return the causes of final failures, the most frequent first, those of tasks that did not run last."""
    rows = queries.select(
        "SELECT kind, message, count(*) AS number, min(task), max(task) FROM parsl_failure WHERE run = :run "
        "AND kind IS NOT NULL GROUP BY kind, message ORDER BY number DESC LIMIT :limit",
        run=run,
        limit=MOST_TEXTS,
    )
    found: dict[tuple[str, str], Cause] = {}
    for kind, message, count, first, last in rows:
        cause = found.setdefault((kind, shape(message or "")), Cause(kind, message or ""))
        cause.count += count
        for task in (first, last):
            if task not in cause.tasks and len(cause.tasks) < _EXAMPLES:
                cause.tasks.append(task)
    most = sorted(found.values(), key=lambda c: -c.count)[:limit]
    for cause in most:
        _look_up(queries, run, cause)
    return sorted(most, key=lambda c: c.dependency)


def shape(message: str) -> str:
    """Return a message with what varies from task to task taken out."""
    return _VARYING.sub("#", message)


def _look_up(queries: RunQueries, run: int, cause: Cause) -> None:
    """Fill in what the first of its tasks tells."""
    for task in cause.tasks:
        rows: list[Any] = queries.select(
            "SELECT t.app, t.state, f.traceback FROM parsl_task t LEFT JOIN parsl_failure f ON f.run = t.run "
            "AND f.task = t.task AND f.kind = :kind WHERE t.run = :run AND t.task = :task",
            run=run,
            task=task,
            kind=cause.kind,
        )
        for app, state, traceback in rows:
            cause.app = cause.app or app
            cause.dependency = state == States.dep_fail
            cause.traceback = cause.traceback or traceback
        if cause.traceback:
            return
