"""What plots of a run show: counted and summed in the database, so that a million tasks come as a few hundred numbers.

Each function takes a `RunQueries` and the number of a run. Times are in seconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.totals import DURATIONS, FINEST, MOST_LANES, level_for

# A run without an end whose last event is older than this has been killed: its plots end there, and not now.
KILLED_AFTER_SECONDS = 24 * 3600.0

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


class _Bins(NamedTuple):
    """The bins of a plot, in bins as they are stored.

    Attributes:
        of: how many of them are one of the plot; `stored` is their width in seconds, and `width` that of the plot's.
        first: number of the plot's first bin, and `number` how many there are.
        began: when the run began, in the first bin, and `ended` when it ended, in the last.
    """

    of: int
    stored: float
    width: float
    first: int
    number: int
    began: float
    ended: float

    def at(self, number: int) -> int:
        """Return which of the plot's bins one is; what lies outside counts for the nearest."""
        return min(max(int(number) - self.first, 0), self.number - 1)

    def ends(self) -> list[float]:
        """Return when each of the bins ends; the last one when the run does."""
        ends = [(self.first + number + 1) * self.width for number in range(self.number)]
        ends[-1] = max(min(ends[-1], self.ended), self.began)
        return ends


def _bins(queries: RunQueries, run: int) -> _Bins:
    began, ended = span(queries, run)
    stored = queries.select("SELECT max(level) FROM parsl_flow WHERE run = :run", run=run)[0][0]
    known = FINEST if stored is None else int(stored)
    scale = 2.0**-known
    level = level_for(int(began * scale), int(ended * scale), known)
    width = 2.0**level
    first = int(began / width)
    return _Bins(2 ** (level - known), 2.0**known, width, first, int(ended / width) - first + 1, began, ended)


def states_over_time(queries: RunQueries, run: int) -> list[Moment]:
    """Return how many tasks were in which state at the end of each of equally long bins, 256 at most."""
    bins = _bins(queries, run)
    changes = [[0, 0, 0, 0] for _ in range(bins.number)]
    for number, *counts in queries.select(
        "SELECT bin / :of AS wider, sum(came), sum(launched), sum(ended), sum(failed) FROM parsl_flow "
        "WHERE run = :run GROUP BY wider",
        run=run,
        of=bins.of,
    ):
        into = changes[bins.at(number)]
        into[:] = [had + int(more) for had, more in zip(into, counts, strict=True)]
    found, sums = [], [0, 0, 0, 0]
    for at, change in zip(bins.ends(), changes, strict=True):
        sums = [total + more for total, more in zip(sums, change, strict=True)]
        submitted, launched, ended, bad = sums
        # A task may end unlaunched in other ways, and clocks differ: never less than none.
        found.append(Moment(at, max(submitted - max(launched, ended), 0), max(launched - ended, 0), ended - bad, bad))
    return found


# -- who was busy when -------------------------------------------------------------------------------------------------

# For each lane and bin: the weight of tries, and times its time since the bin began; the same of cores, and of bytes.
_Lanes = dict[str, list[list[float]]]


def usage_over_time(queries: RunQueries, run: int, *, resources: bool = False) -> Usage:
    """Return how busy each worker was over time; each node where there are more than `MOST_LANES` workers.

    A try counts in each bin, of 256 at most, with the share of it during which it ran, however short or long it is.

    Args:
        queries: the database.
        run: number of the run.
        resources: by node, and with the CPU time and memory that tries used, where that was measured.
    """
    bins = _bins(queries, run)
    workers = queries.select("SELECT count(*) FROM parsl_worker WHERE run = :run", run=run)[0][0]
    by_worker = not resources and 0 < workers <= MOST_LANES
    lanes: _Lanes = {}
    for rows in (_ended(queries, run, bins), _under_way(queries, run, bins, resources)):
        for hostname, pid, executor, number, *values in rows:
            label = hostname or executor or ""
            if by_worker and hostname is not None:
                label = f"{label} · {'' if pid is None else pid}"
            into = lanes.setdefault(label, [[0.0] * 6 for _ in range(bins.number)])
            row, at = into[bins.at(number)], bins.at(number)
            # Of another's clock, that is off: at the edge.
            moved = (int(number) - bins.first - at) * bins.width
            for kind in (0, 2, 4):
                weight = float(values[kind] or 0)
                row[kind] += weight
                row[kind + 1] += float(values[kind + 1] or 0) + weight * moved
    found = []
    for label in sorted(lanes):
        kinds = (0, 2, 4) if resources else (0,)
        busy, *rest = (_mean(lanes[label], kind, bins) for kind in kinds)
        found.append(Lane(label, busy, *(rest or ([], []))))
    return Usage(bins.first * bins.width, bins.width, found)


def _ended(queries: RunQueries, run: int, bins: _Bins) -> list[Any]:
    """Return what the tries that have ended come to, by lane and bin."""
    sums = ", ".join(
        f"sum(u.{name}), sum(u.{name}_late + u.{name} * (u.bin % :of) * :stored)"
        for name in ("tries", "cores", "bytes")
    )
    return queries.select(
        f"SELECT w.hostname, w.pid, u.executor, u.bin / :of AS wider, {sums} FROM parsl_use u "
        "LEFT JOIN parsl_worker w ON w.run = u.run AND w.worker = u.worker WHERE u.run = :run "
        "GROUP BY w.hostname, w.pid, u.executor, wider",
        run=run,
        of=bins.of,
        stored=bins.stored,
    )


def _under_way(queries: RunQueries, run: int, bins: _Bins, resources: bool) -> list[Any]:
    """Return what the tries that have begun and not ended come to, by lane and bin."""
    cores, memory = "0", "0"
    if resources:
        of_try = "FROM parsl_resource s WHERE s.run = y.run AND s.task = y.task AND s.try_id = y.try_id"
        # What it has used so far, per second until it was looked at.
        cores = (
            f"coalesce((SELECT max(s.user_time + s.system_time) {of_try}) "
            f"/ nullif((SELECT max(s.at) {of_try}) - y.running, 0), 0)"
        )
        memory = f"coalesce((SELECT max(s.resident) {of_try}), w.resident)"
    late = "(at - wider * :width)"
    return queries.select(
        f"SELECT hostname, pid, executor, wider, count(*), sum({late}), sum(cores), sum(cores * {late}), sum(memory), "
        f"sum(memory * {late}) FROM (SELECT w.hostname, w.pid, y.executor, {_START} AS at, "
        f"{queries.whole(f'{_START} / :width')} AS wider, {cores} AS cores, {memory} AS memory "
        "FROM parsl_task t JOIN parsl_try y ON y.run = t.run AND y.task = t.task AND y.try_id = t.try_id "
        "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker WHERE t.run = :run AND t.returned IS NULL "
        f"AND t.state = :launched AND {_START} IS NOT NULL AND y.returned IS NULL) tries "
        "GROUP BY hostname, pid, executor, wider",
        run=run,
        width=bins.width,
        launched=int(States.launched),
    )


def _mean(rows: list[list[float]], kind: int, bins: _Bins) -> list[float]:
    """Turn sums by bin into the mean of each bin; of the first and the last, over the part that is of the run.

    Up to a time t, a try of weight w has used w * (min(t, end) - min(t, start)). Summed over all tries that is
    (their weights) * t - (their weights times their times), ends counted as negative.
    """
    found, weight, weighted, before = [], 0.0, 0.0, 0.0
    begin, start = bins.began, bins.first * bins.width
    for number, (end, row) in enumerate(zip(bins.ends(), rows, strict=True)):
        weight += row[kind]
        weighted += row[kind + 1] + row[kind] * number * bins.width
        used = weight * (end - start) - weighted
        found.append(max((used - before) / max(end - begin, 1e-3), 0.0))
        before, begin = used, end
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
    found: dict[str, list[int]] = {}
    for app, step, number in queries.select(
        "SELECT app, step, number FROM parsl_durations WHERE run = :run AND number > 0", run=run
    ):
        found.setdefault(app, [0] * (len(DURATIONS) + 1))[step] = number
    return found


def executors(queries: RunQueries, run: int) -> list[str]:
    """Return the labels of the executors that tasks of a run were for."""
    rows: Iterable[Any] = queries.select(
        "SELECT DISTINCT executor FROM parsl_task WHERE run = :run AND executor IS NOT NULL ORDER BY executor", run=run
    )
    return [row[0] for row in rows]
