"""What monitoring is told of tasks that wait for long: the kernel's own word on why, for viewers elsewhere."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from parsl.dataflow.explanations import Explanation, Reason
from parsl.dataflow.states import FINAL_STATES
from parsl.monitoring.records import WAITS, Batch

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.loop import Loop

# How often it is looked, how long a task must have been there, and how many of the oldest are asked about. What keeps
# many is among the oldest, or named by these.
LOOK_SECONDS = 5.0
LONG_SECONDS = 2.0
MOST = 8

# Where tasks that have ended are kept, so many are passed over in search of those that have not.
_LONGEST_SEARCH = 10_000

# A viewer follows these through the database itself.
_IN_THE_DATABASE = frozenset({Reason.DEPENDENCY, Reason.JOINING, Reason.ENDED})


class WaitingReports:
    """Has the oldest tasks that have not ended explained every few seconds, and tells monitoring. On the loop.

    Args:
        loop: the kernel's loop.
        tasks: the records of tasks that have not ended, in the order of submission.
        explain: finds out why a task has not ended, and calls back, once.
        send: takes records.
    """

    def __init__(
        self,
        loop: Loop,
        tasks: Mapping[int, TaskRecord],
        explain: Callable[[TaskRecord, Callable[[Explanation], object]], None],
        send: Callable[[Batch], object],
    ) -> None:
        self._loop = loop
        self._tasks = tasks
        self._explain = explain
        self._send = send
        loop.call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._loop.call_later(LOOK_SECONDS, self._look_again)
        self.look()

    def look(self) -> None:
        """Have the oldest tasks explained."""
        # One call of C code: submitting threads add to the mapping meanwhile.
        oldest = list(itertools.islice(self._tasks.values(), _LONGEST_SEARCH))
        before = time.time() - LONG_SECONDS
        asked = [t for t in oldest if t.status not in FINAL_STATES and t.invoked <= before][:MOST]
        for task in asked:
            self._explain(task, self._take)

    def _take(self, explanation: Explanation) -> None:
        # The same word again is news too: that it still holds.
        steps = {step.task: step for step in (explanation.steps[0], explanation.blocker)}
        now = time.time()
        said = [
            (WAITS, step.task, now, step.cause.reason.value, step.cause.text, list(step.cause.details))
            for step in steps.values()
            if step.task is not None and step.cause.reason not in _IN_THE_DATABASE
        ]
        if said:
            self._send(Batch(said))
