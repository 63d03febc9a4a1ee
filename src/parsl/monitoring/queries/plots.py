"""What plots of a run show: counted and summed in the database, so that a million tasks come as a few hundred numbers.

Each function takes a `RunQueries` and the number of a run. Times are in seconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries

# A run without an end whose last event is older than this has been killed: its plots end there, and not now.
KILLED_AFTER_SECONDS = 24 * 3600.0

# Up to so many workers each have a lane; beyond that each node has one.
MOST_LANES = 64

# Upper ends of the classes of durations, in seconds; there is one more class above the last.
DURATIONS = tuple(step * 10.0**power for power in range(-3, 6) for step in (1, 3))

_FAILED = f"({int(States.failed)}, {int(States.dep_fail)})"
# They end without having been launched.
_NOT_LAUNCHED = f"({int(States.memo_done)}, {int(States.dep_fail)})"

# Where the worker has not told when it began and ended, the kernel's times stand in.
_START = "coalesce(y.running, y.launched)"
_END = "coalesce(y.running_ended, y.returned)"


class Moment(NamedTuple):
    """How many tasks were in which state at a time."""

    at: float
    pending: int
    launched: int
    done: int
    failed: int


class Lane(NamedTuple):
    """How a worker, a node or an executor was used.

    Attributes:
        label: its name.
        busy: for each bin, how many tries ran on average.
        cpu: for each bin, how many cores they used, and `memory` how many bytes; empty unless asked for.
    """

    label: str
    busy: list[float]
    cpu: list[float]
    memory: list[float]


class Usage(NamedTuple):
    """The use of all lanes over time: bin `n` begins at `began + n * width`."""

    began: float
    width: float
    lanes: list[Lane]


class Bar(NamedTuple):
    """One try, from its begin to its end; `ended` None while it runs."""

    task: int
    try_id: int
    app: str | None
    state: States | None
    lane: str
    began: float
    ended: float | None


def span(queries: RunQueries, run: int) -> tuple[float, float]:
    """Return when a run began, and when it ended; or now, or its last event where it seems to have been killed."""
    began, completed = queries.select("SELECT began, completed FROM parsl_run WHERE run = :run", run=run)[0]
    if completed is not None and began is not None:
        return float(began), float(completed)
    first, *last = queries.select(
        "SELECT min(invoked), max(invoked), max(returned) FROM parsl_task WHERE run = :run", run=run
    )[0]
    now = time.time()
    known = max((float(at) for at in last if at is not None), default=now)
    began = float(began if began is not None else first if first is not None else now)
    return began, max(began, float(completed) if completed is not None else _now_or(known, now))


def _now_or(last: float, now: float) -> float:
    return last if now - last > KILLED_AFTER_SECONDS else now


def states_over_time(queries: RunQueries, run: int, bins: int = 240) -> list[Moment]:
    """Return how many tasks were in which state, at the end of each of equally long bins."""
    began, ended = span(queries, run)
    width = max((ended - began) / bins, 1e-3)
    came, left, gone, failed = ([0] * bins for _ in range(4))

    def count(into: list[int], table: str, column: str, where: str) -> None:
        for number, rows in queries.select(
            f"SELECT {queries.whole(f'({column} - :began) / :width')} AS bin, count(*) FROM {table} "
            f"WHERE run = :run AND {column} IS NOT NULL{where} GROUP BY bin",
            began=began,
            width=width,
            run=run,
        ):
            into[min(max(int(number), 0), bins - 1)] += rows

    count(came, "parsl_task", "invoked", "")
    count(left, "parsl_try", "launched", " AND try_id = 0")
    count(left, "parsl_task", "returned", f" AND state IN {_NOT_LAUNCHED}")
    count(gone, "parsl_task", "returned", "")
    count(failed, "parsl_task", "returned", f" AND state IN {_FAILED}")
    found, sums = [], [0, 0, 0, 0]
    for number, changes in enumerate(zip(came, left, gone, failed, strict=True), 1):
        sums = [total + change for total, change in zip(sums, changes, strict=True)]
        submitted, launched, ended_tasks, bad = sums
        found.append(
            Moment(
                began + number * width,
                # A task may end unlaunched in other ways, and clocks differ: never less than none.
                max(submitted - max(launched, ended_tasks), 0),
                max(launched - ended_tasks, 0),
                ended_tasks - bad,
                bad,
            )
        )
    return found


# -- who was busy when -------------------------------------------------------------------------------------------------


def usage_over_time(queries: RunQueries, run: int, bins: int = 120, *, resources: bool = False) -> Usage:
    """Return how busy each worker was over time; each node where there are more than `MOST_LANES` workers.

    A try counts in each bin with the share of it during which it ran, however short or long it is.

    Args:
        queries: the database.
        run: number of the run.
        bins: how many equally long bins.
        resources: by node, and with the CPU time and memory that tries used, where that was measured.
    """
    began, ended = span(queries, run)
    width = max((ended - began) / bins, 1e-3)
    workers = queries.select("SELECT count(*) FROM parsl_worker WHERE run = :run", run=run)[0][0]
    by_worker = not resources and 0 < workers <= MOST_LANES
    lane = "coalesce(w.hostname, y.executor, '')"
    if by_worker:
        lane += " || CASE WHEN w.worker IS NULL THEN '' ELSE ' · ' || coalesce(CAST(w.pid AS TEXT), '') END"
    sums = _sums(queries, run, lane, began, width, resources)
    lanes: dict[str, list[list[float]]] = {}
    for sign, rows in sums:
        for label, number, *values in rows:
            into = lanes.setdefault(str(label), [[0.0] * (2 * bins) for _ in range(len(values) // 2)])
            at = min(max(int(number), 0), bins - 1)
            for kind in range(len(values) // 2):
                weight, weighted = float(values[2 * kind] or 0), float(values[2 * kind + 1] or 0)
                into[kind][2 * at] += sign * weight
                into[kind][2 * at + 1] += sign * weighted
    found = []
    for label in sorted(lanes):
        busy, *rest = (_mean(kind, bins, width) for kind in lanes[label])
        found.append(Lane(label, busy, *(rest or ([], []))))
    return Usage(began, width, found)


def _sums(
    queries: RunQueries, run: int, lane: str, began: float, width: float, resources: bool
) -> list[tuple[int, list[Any]]]:
    """Sum up the weights of tries, and weights times the time, by the bin in which they begin (+1) and end (-1)."""
    cpu, memory, extra = "0", "0", ""
    if resources:
        of_try = "FROM parsl_resource s WHERE s.run = y.run AND s.task = y.task AND s.try_id = y.try_id"
        seconds = f"coalesce(y.cpu_time, (SELECT max(s.user_time + s.system_time) {of_try}))"
        cpu = f"CASE WHEN {_END} > {_START} THEN {seconds} / ({_END} - {_START}) ELSE 0 END"
        memory = f"coalesce((SELECT max(s.resident) {of_try}), w.resident)"
        extra = ", sum(cpu), sum(cpu * at), sum(memory), sum(memory * at)"
    found = []
    for sign, column in ((1, _START), (-1, _END)):
        # What still runs has begun, and has no end yet.
        rows = queries.select(
            f"SELECT lane, {queries.whole('at / :width')} AS bin, count(*), sum(at){extra} FROM ("
            f"SELECT {lane} AS lane, {column} - :began AS at, {cpu} AS cpu, {memory} AS memory FROM parsl_try y "
            "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker "
            f"WHERE y.run = :run AND {column} IS NOT NULL) tries GROUP BY lane, bin",
            run=run,
            began=began,
            width=width,
        )
        found.append((sign, rows))
    return found


def _mean(sums: list[float], bins: int, width: float) -> list[float]:
    """Turn sums by bin into the mean of each bin.

    Up to a time t, a try of weight w has used w * (min(t, end) - min(t, start)). Summed over all tries that is
    (their weights) * t - (their weights times their times), ends counted as negative.
    """
    found, weight, weighted, before = [], 0.0, 0.0, 0.0
    for number in range(bins):
        weight += sums[2 * number]
        weighted += sums[2 * number + 1]
        used = weight * (number + 1) * width - weighted
        found.append(max((used - before) / width, 0.0))
        before = used
    return found


def bars(queries: RunQueries, run: int, limit: int = 300) -> list[Bar]:
    """Return the tries of the newest tasks, the oldest of them first."""
    rows = queries.select(
        f"SELECT y.task, y.try_id, t.app, y.state, coalesce(w.hostname, y.executor, ''), w.pid, {_START}, {_END} "
        "FROM parsl_try y JOIN parsl_task t ON t.run = y.run AND t.task = y.task "
        "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker "
        f"WHERE y.run = :run AND {_START} IS NOT NULL ORDER BY y.task DESC, y.try_id DESC LIMIT :limit",
        run=run,
        limit=limit,
    )
    return [
        Bar(task, try_id, app, None if state is None else States(state), _lane(where, pid), began, ended)
        for task, try_id, app, state, where, pid, began, ended in reversed(rows)
    ]


def _lane(where: str, pid: int | None) -> str:
    return where if pid is None else f"{where} · {pid}"


def durations(queries: RunQueries, run: int) -> dict[str, list[int]]:
    """Return for each app how many of its tries took how long: a number for each class of `DURATIONS` and above."""
    cases = " ".join(f"WHEN took <= {end!r} THEN {number}" for number, end in enumerate(DURATIONS))
    found: dict[str, list[int]] = {}
    for app, number, count in queries.select(
        f"SELECT app, CASE {cases} ELSE {len(DURATIONS)} END AS class, count(*) FROM ("
        f"SELECT t.app, {_END} - {_START} AS took FROM parsl_try y "
        "JOIN parsl_task t ON t.run = y.run AND t.task = y.task "
        f"WHERE y.run = :run AND {_END} IS NOT NULL AND {_START} IS NOT NULL) tries GROUP BY app, class",
        run=run,
    ):
        found.setdefault(str(app), [0] * (len(DURATIONS) + 1))[number] = count
    return found


def executors(queries: RunQueries, run: int) -> list[str]:
    """Return the labels of the executors that tasks of a run were for."""
    rows: Iterable[Any] = queries.select(
        "SELECT DISTINCT executor FROM parsl_task WHERE run = :run AND executor IS NOT NULL ORDER BY executor", run=run
    )
    return [row[0] for row in rows]
