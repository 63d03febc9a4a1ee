"""What `parsl-top` shows at one moment, read from the database; and the same as plain text."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl.dataflow.explanations import plural, span
from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, States
from parsl.monitoring.queries.waiting import why_waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parsl.monitoring.queries.runs import App, Run, RunQueries, Task

# Tasks on a page.
PAGE = 50


class Wish(NamedTuple):
    """Which tasks are wanted.

    Attributes:
        slowest: those that ran longest; else by number.
        state: only those in this state.
        app: only those of this app.
        after: only those with a larger number.
    """

    slowest: bool = False
    state: States | None = None
    app: str | None = None
    after: int = -1


class Snapshot(NamedTuple):
    """A run at one moment.

    Attributes:
        at: seconds since the epoch.
        run: the run.
        states: how many tasks are in each state.
        apps: its apps, those that took longest first.
        blocks: the last status of each block.
        managers: the last word on each manager.
        tasks: a page of tasks.
    """

    at: float
    run: Run
    states: Mapping[States, int]
    apps: Sequence[App]
    blocks: Sequence[Mapping[str, Any]]
    managers: Sequence[Mapping[str, Any]]
    tasks: Sequence[Task]

    @property
    def submitted(self) -> int:
        """How many tasks there have been."""
        return sum(self.states.values())

    @property
    def ended(self) -> int:
        """How many have ended, well or badly."""
        return sum(self.states.get(state, 0) for state in FINAL_STATES)

    @property
    def failed(self) -> int:
        """How many have ended badly."""
        return sum(self.states.get(state, 0) for state in FINAL_FAILURE_STATES)

    @property
    def seconds(self) -> float:
        """For how long the run goes on, or went."""
        return max(0.0, (self.run.completed or self.at) - (self.run.began or self.at))


def take(queries: RunQueries, run_id: str, wish: Wish) -> Snapshot:
    """Read a run from the database.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: when it cannot be read just now.
        LookupError: when the run is gone.
    """
    run = queries.run(run_id)
    if run is None:
        raise LookupError(f"run {run_id} is not in the database any more")
    number = run.run
    if wish.slowest:
        tasks = queries.slowest(number, PAGE)
    else:
        tasks = queries.tasks(number, app=wish.app, state=wish.state, after=wish.after, limit=PAGE)
    return Snapshot(
        time.time(),
        run,
        queries.state_counts(number),
        queries.apps(number),
        queries.blocks(number),
        queries.managers(number),
        tasks,
    )


def headline(now: Snapshot, before: Snapshot | None) -> list[str]:
    """Return the run, how far it is, and how fast: two lines."""
    run = now.run
    how = "has ended" if run.completed is not None else "goes on"
    first = f"{run.workflow_name or 'run'} {run.run_id[:8]} on {run.host}, {run.rundir}: {how}, {span(now.seconds)}"
    counts = ", ".join(f"{count} {state.name}" for state, count in sorted(now.states.items()) if count) or "none yet"
    rate = now.ended / now.seconds if now.seconds else 0.0
    second = f"{now.ended} of {plural(now.submitted, 'task')} ended ({counts}); {rate:.1f}/s in all"
    if before is not None and now.at > before.at and run.completed is None:
        second += f", {max(0, now.ended - before.ended) / (now.at - before.at):.1f}/s now"
    return [first, second]


def app_rows(now: Snapshot) -> list[tuple[str, str, str, str, str, str]]:
    """Return for each app: name, open tasks, those that ended well, badly, mean and longest time."""
    found = []
    for app in now.apps:
        bad = sum(app.states.get(state, 0) for state in FINAL_FAILURE_STATES)
        ended = sum(app.states.get(state, 0) for state in FINAL_STATES)
        left = sum(app.states.values()) - ended
        times = ("" if s is None else f"{s:.2f} s" for s in (app.mean_seconds, app.most_seconds))
        found.append((app.app or "?", str(left), str(ended - bad), str(bad), *times))
    return found  # type: ignore[return-value]  # four texts and two


def block_rows(now: Snapshot) -> list[tuple[str, str, str, str]]:
    """Return for each executor and state of its blocks: both, how many, and the workers that are connected there."""
    counts = Counter((b["executor"], b["status"]) for b in now.blocks)
    live = [m for m in now.managers if m["active"]]
    rows = []
    for (executor, status), count in sorted(counts.items(), key=str):
        mine = [m for m in live if m["executor"] in {None, executor}] if status == "RUNNING" else []
        workers = sum(m["worker_count"] or 0 for m in mine)
        connected = f"{workers} on {plural(len(mine), 'node')}" if mine else ""
        rows.append((str(executor), str(status), str(count), connected))
    return rows


def task_row(task: Task, now: float) -> tuple[str, str, str, str, str, str, str]:
    """Return of a task: number, app, state, try, seconds that it waited, seconds that it ran, and where."""
    # Threads do not say when they begin: of tasks that have ended there, the launch counts.
    began = task.running or (None if task.returned is None else task.launched)
    until = task.running_ended or task.returned or now
    waited = ((began or until) - task.invoked) if task.invoked is not None else 0.0
    ran = "" if began is None else f"{max(0.0, until - began):.2f}"
    where = " ".join(w for w in (task.executor, task.hostname, task.block and f"block {task.block}") if w)
    state = task.state.name if task.state is not None else ""
    return str(task.task), task.app or "?", state, str(task.try_id), f"{max(0.0, waited):.2f}", ran, where


TASK_COLUMNS = ("task", "app", "state", "try", "waited s", "ran s", "where")
APP_COLUMNS = ("app", "open", "done", "failed", "mean", "longest")
BLOCK_COLUMNS = ("executor", "blocks", "number", "workers")


def details(queries: RunQueries, run: int, task: int) -> str:
    """Return all that there is to say of a task: why it waits, its tries, and how it failed."""
    known = queries.task(run, task)
    explanation = why_waiting(queries, run, task)
    if known is None or explanation is None:
        return f"There is no task {task}."
    lines = [str(explanation), ""]
    lines += [_try_line(a_try) for a_try in known["try"]]
    for more in known["more"]:
        lines += [f"{name}: {value}" for name, value in more.items() if value and name not in {"run", "task"}]
    for failure in known["failure"]:
        kind = f"{failure['kind']}: " if failure["kind"] else ""
        lines += ["", f"Try {failure['try_id']} failed: {kind}{failure['message']}"]
        if failure["traceback"]:
            lines.append(failure["traceback"].rstrip())
    return "\n".join(lines)


def _try_line(a_try: Mapping[str, Any]) -> str:
    words = [f"Try {a_try['try_id']} on executor {a_try['executor']}"]
    if a_try["launched"] is not None:
        words.append(f"launched {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(a_try['launched']))}")
    if a_try["running"] is not None and a_try["running_ended"] is not None:
        words.append(f"ran {a_try['running_ended'] - a_try['running']:.3f} s")
    return ", ".join(words)


def as_text(now: Snapshot) -> str:
    """Return a snapshot as plain text, for where there is no terminal."""
    parts = ["\n".join(headline(now, None))]
    parts += [
        _table(columns, rows)
        for columns, rows in (
            (APP_COLUMNS, app_rows(now)),
            (BLOCK_COLUMNS, block_rows(now)),
            (TASK_COLUMNS, [task_row(task, now.at) for task in now.tasks]),
        )
        if rows
    ]
    return "\n\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    )
