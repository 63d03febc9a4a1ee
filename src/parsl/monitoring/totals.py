"""Sums over the tasks of a run, kept while its rows come: so a plot of a million tasks reads a few hundred rows.

Time is cut into bins of equal width, `2.0**level` seconds, counted from the epoch. A run begins with the finest level;
when it would have more than `BINS` of them, two neighbours become one. What is told here is only added up, so that it
does not matter how records are cut into batches.

A try counts in the bin in which it began and, negative, in the one in which it ended: its weight, and the weight times
the seconds since the begin of the bin. Of these the mean of each bin follows exactly, however short or long tries are.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from parsl.dataflow.states import FINAL_FAILURE_STATES, States

# A run has so many bins at most, and more than half as many once it is long enough.
BINS = 256
FINEST = -6

# So many workers each have a lane; of those behind, all of a node share that of its first.
MOST_LANES = 64

# Upper ends of the classes of durations, in seconds; there is one more class above the last.
DURATIONS = tuple(step * 10.0**power for power in range(-3, 6) for step in (1, 3))

# So many of the longest tries are kept by name.
SLOWEST = 100

# Of so many tries that ended without a word of their worker it is known how they were counted, should it come late.
_MOST_UNSEEN = 10_000

_BAD = frozenset(int(s) for s in FINAL_FAILURE_STATES)
_DONE = int(States.exec_done)
# They end without having been launched.
_NOT_LAUNCHED = frozenset({int(States.memo_done), int(States.dep_fail)})

# Rows of sums by their key, of which the bin is the first part.
Bins = dict[tuple[Any, ...], list[Any]]


# What a worker has told of a try: the number of the worker that it counts for; when it began and ended, or None; its
# seconds of CPU; bytes of memory; whether these are of the try itself, or of its worker in general. A plain tuple:
# there is one for each try.
Seen: TypeAlias = tuple[int, "float | None", "float | None", float, int, bool]


class Sums(NamedTuple):
    """What has been added up.

    Attributes:
        level: of the bins.
        flow: by bin: how many tasks came, were launched (or ended without), ended, and failed.
        use: by bin, lane and executor: the weight of tries, and late; the same of their cores and their bytes; how many
            were measured, their seconds of CPU, and the most bytes of one.
        durations: how many tries took how long, by app and class.
        slow: the longest tries, by task and try, with their seconds.
        edges: how often tasks of an app wait for those of another, by both and by whether it is as a join app.
    """

    level: int
    flow: Bins
    use: Bins
    durations: dict[tuple[str, int], int]
    slow: list[tuple[int, int, float]]
    edges: dict[tuple[str, str, int], int]


class Totals:
    """The sums of one run since they were last taken, and what is needed to go on.

    Attributes:
        level: of the bins that are made; whoever stores them raises it when they are too many.
    """

    def __init__(self) -> None:
        self.level = FINEST
        # Of tries under way, what was last told; of those that ended without, how they were counted.
        self._seen: dict[tuple[int, int], Seen] = {}
        self._unseen: OrderedDict[tuple[int, int], tuple[str, str, float, float]] = OrderedDict()
        # The longest tries so far; what is shorter than the last of them need not be looked at.
        self._slow: list[tuple[float, int, int]] = []
        self._least = -math.inf
        self._clear()

    def _clear(self) -> None:
        self._came: list[float] = []
        self._launched: list[float] = []
        self._gone: list[float] = []
        self._failed: list[float] = []
        self._moved: list[float] = []
        self._use: Bins = {}
        self._level = self.level
        self._scale = 2.0**-self._level
        self._durations: dict[str, list[int]] = {}
        self._new_slow: dict[tuple[int, int], float] = {}
        self._edges: dict[tuple[str, str, int], int] = {}

    # -- what is told ----------------------------------------------------------------------------------------------

    def came(self, at: float) -> None:
        """A task was submitted."""
        self._came.append(at)

    def launched(self, at: float) -> None:
        """A task was launched for the first time."""
        self._launched.append(at)

    def ended(self, at: float, state: int) -> None:
        """A task ended in a state."""
        self._gone.append(at)
        if state != _DONE:
            if state in _NOT_LAUNCHED:
                self._launched.append(at)
            if state in _BAD:
                self._failed.append(at)

    def moved(self, at: float) -> None:
        """Something else has happened to a task: the run is at least so long."""
        self._moved.append(at)

    def waits(self, after: str, join: int, numbers: Mapping[str, int]) -> None:
        """A task of the app `after` waits for so many tasks of other apps."""
        for before, number in numbers.items():
            key = before, after, join
            self._edges[key] = self._edges.get(key, 0) + number

    def sampled(self, task: int, try_id: int, seen: Seen) -> None:
        """A worker has told of a try outside of its result."""
        key = task, try_id
        counted = self._unseen.pop(key, None)
        if counted is not None:
            app, executor, launched, at = counted
            self._count(app, (0, launched, at, 0.0, 0, False), executor, launched, at, -1)
            self.closed(task, try_id, app, executor, launched, at, seen)
            return
        self._seen[key] = _joined(self._seen.get(key), seen)

    def closed(
        self, task: int, try_id: int, app: str, executor: str, launched: float, at: float, seen: Seen | None
    ) -> None:
        """A try has ended.

        Args:
            task: number of the task, and `try_id` of the try.
            try_id: see there.
            app: name of the app.
            executor: label of the executor.
            launched: when it was launched, and `at` when the kernel knew that it had ended.
            at: see there.
            seen: what its worker has told with its result.
        """
        key = task, try_id
        if self._seen:
            known = self._seen.pop(key, None)
            seen = known if seen is None else _joined(known, seen)
        if seen is None:
            if len(self._unseen) == _MOST_UNSEEN:
                self._unseen.popitem(last=False)
            self._unseen[key] = app, executor, launched, at
            self._count(app, (0, launched, at, 0.0, 0, False), executor, launched, at, 1)
            return
        # Where the worker has not told when it began and ended, the kernel's times stand in.
        _, start, end, *_ = seen
        if start is None:
            start = launched
        if end is None:
            end = at
        elif end - start > self._least:
            self._rank(key, end - start)
        self._count(app, seen, "", start, end, 1)

    def _count(self, app: str, seen: Seen, executor: str, start: float, end: float, sign: int) -> None:
        took = end - start
        classes = self._durations.get(app)
        if classes is None:
            classes = self._durations[app] = [0] * (len(DURATIONS) + 1)
        classes[bisect_left(DURATIONS, took)] += sign
        if took < 0:
            end, took = start, 0.0
        lane, _, _, cpu, memory, sampled = seen
        scale = self._scale
        last = int(end * scale)
        row = self._use.get((last, lane, executor)) or self._row(last, lane, executor)
        if lane:
            row[6] += 1
            row[7] += cpu
            if sampled and memory > row[8]:
                row[8] = memory
        first = int(start * scale)
        if first == last:
            # Both weights meet in one bin: what is left is how long the try was.
            row[1] -= sign * took
            if took > 0:
                row[3] -= cpu
            row[5] -= memory * took
            return
        cores = cpu / took
        _add(row, -sign, cores, memory, end - last / scale)
        row = self._use.get((first, lane, executor)) or self._row(first, lane, executor)
        _add(row, sign, cores, memory, start - first / scale)

    def _row(self, number: int, lane: int, executor: str) -> list[Any]:
        row = self._use[number, lane, executor] = [0, 0.0, 0.0, 0.0, 0, 0.0, 0, 0.0, 0]
        return row

    def _rank(self, key: tuple[int, int], took: float) -> None:
        if len(self._slow) < SLOWEST:
            heapq.heappush(self._slow, (took, *key))
        else:
            heapq.heappushpop(self._slow, (took, *key))
        if len(self._slow) == SLOWEST:
            self._least = self._slow[0][0]
        self._new_slow[key] = took

    # -- what came of it -------------------------------------------------------------------------------------------

    def take(self) -> Sums:
        """Return what has been added up since this was last called."""
        flow: Bins = {}
        scale = self._scale
        for column, times in enumerate((self._came, self._launched, self._gone, self._failed)):
            for number, count in Counter([int(at * scale) for at in times]).items():
                flow.setdefault((number,), [0, 0, 0, 0])[column] = count
        for at in self._moved:
            flow.setdefault((int(at * scale),), [0, 0, 0, 0])
        durations = {
            (app, step): count
            for app, classes in self._durations.items()
            for step, count in enumerate(classes)
            if count
        }
        longest = heapq.nlargest(SLOWEST, ((took, *key) for key, took in self._new_slow.items()))
        slow = [(task, try_id, took) for took, task, try_id in longest]
        found = Sums(self._level, flow, self._use, durations, slow, self._edges)
        self._clear()
        return found


def _joined(known: Seen | None, seen: Seen) -> Seen:
    """Return the newer word on a try, with the most memory of both."""
    if known is None or known[4] <= seen[4]:
        return seen
    lane, started, ended, cpu, _, _ = seen
    return lane, started, ended, cpu, known[4], known[5]


def _add(row: list[Any], sign: int, cores: float, memory: int, late: float) -> None:
    row[0] += sign
    row[1] += sign * late
    row[2] += sign * cores
    row[3] += sign * cores * late
    row[4] += sign * memory
    row[5] += sign * memory * late


# -- coarser bins ------------------------------------------------------------------------------------------------------


def level_for(first: int, last: int, level: int) -> int:
    """Return the finest level, from `level` on, at which the bins from `first` to `last` of it are few enough."""
    while last - first >= BINS:
        first, last, level = first >> 1, last >> 1, level + 1
    return level


def bounds(numbers: Iterable[int]) -> tuple[int, int] | None:
    """Return the first and the last of some bins; None where there are none."""
    known = list(numbers)
    return (min(known), max(known)) if known else None


def coarser_flow(flow: Bins, steps: int) -> Bins:
    """Return the same with bins that are `2**steps` as wide."""
    found: Bins = {}
    for (number,), row in flow.items():
        into = found.setdefault((number >> steps,), [0] * len(row))
        for at, value in enumerate(row):
            into[at] += value
    return found


def coarser_use(use: Bins, level: int, steps: int, first: int, last: int) -> Bins:
    """Return the same with bins that are `2**steps` as wide; what lies before the first or behind the last is in those.

    Args:
        use: rows by bin, lane and executor.
        level: of these bins.
        steps: see above.
        first: the first bin, and `last` the last one, of the wider ones.
        last: see there.
    """
    width, wider = 2.0**level, 2.0 ** (level + steps)
    found: Bins = {}
    for (number, *key), row in use.items():
        into_bin = min(max(number >> steps, first), last)
        if into_bin == number >> steps:
            offset = number * width - into_bin * wider
        else:
            # Of another's clock, that is far off: at the edge.
            offset = 0.0 if into_bin > number >> steps else wider
        into = found.setdefault((into_bin, *key), [0, 0.0, 0.0, 0.0, 0, 0.0, 0, 0.0, 0])
        for at in (0, 2, 4):
            into[at] += row[at]
            into[at + 1] += row[at + 1] + row[at] * offset
        into[6] += row[6]
        into[7] += row[7]
        into[8] = max(into[8], row[8])
    return found
