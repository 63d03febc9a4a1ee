"""When the memoizer is asked about a task, and when it is told of its end."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, TaskRecord, Value
from parsl.executors.base import outcome_of

if TYPE_CHECKING:
    from parsl.dataflow.futures import AppFuture
    from parsl.dataflow.graph import TaskGraph
    from parsl.dataflow.memoization import Memoizer
    from parsl.dataflow.taskrecord import Outcome
    from parsl.loop import Loop

logger = logging.getLogger(__name__)

# A call with one of these has futures of files, which others may wait for before the call itself is known to be done.
_WITH_FILES = ("outputs", "stdout", "stderr")

# When so many calls have been answered at once, the loop is woken to count them.
_WAKE_EVERY = 1000


class Remembering:
    """Asks the memoizer before a task is launched, and has it save results before their futures are told.

    Args:
        memoizer: what is asked and told.
        loop: the kernel's.
        graph: what is told what is remembered.
        when_done: has the graph told when a future, for which a task waits, is done.
        keep: where ended tasks are kept, by number; None forgets them.

    Attributes:
        running: by the hash of a call the task that runs it now.
        answered: tasks that were answered at once, and are not counted yet.
    """

    def __init__(
        self,
        memoizer: Memoizer,
        loop: Loop,
        graph: TaskGraph,
        when_done: Callable[[Future[Any], TaskRecord], None],
        keep: dict[int, TaskRecord] | None,
    ) -> None:
        self.running: dict[str, TaskRecord] = {}
        self.answered: deque[TaskRecord] = deque()
        self._memoizer = memoizer
        self._loop = loop
        self._graph = graph
        self._when_done = when_done
        self._keep = keep

    def recall_early(self, task: TaskRecord) -> Outcome | None:
        """Return what is remembered of a call that waits for nothing; on the thread of the caller."""
        if task.depends or (task.kwargs and any(map(task.kwargs.get, _WITH_FILES))):
            return None
        return self._memoizer.recall_early(task)

    def answer(self, task: TaskRecord, outcome: Outcome) -> AppFuture[Any]:
        """End a task, which nobody else knows of yet, with what is remembered of an equal one."""
        task.status, task.from_memo, task.returned = States.memo_done, True, time.time()
        if self._keep is None:
            task.args, task.kwargs = (), {}
        else:
            self._keep[task.id] = task
        task.app_fu.settle(outcome)
        # To wake the loop for each would take longer than all the rest.
        self.answered.append(task)
        if len(self.answered) % _WAKE_EVERY == 0:
            self._loop.post(self.count_answered)
        return task.app_fu

    def count_answered(self) -> None:
        """Have the graph take note of the calls that were answered at once; on the loop."""
        while self.answered:
            self._graph.recalled(self.answered.popleft())

    def recall(self, task: TaskRecord) -> bool:
        """End a task with what is remembered of an equal one, or have it wait for that one; False if it has to run."""
        future = self._memoizer.check_memo(task)
        if future is None:
            return self._wait_for_twin(task)
        if not future.done():
            task.waiting += 1
            self._when_done(future, task)
            return True
        outcome = outcome_of(future)
        if isinstance(outcome, Value) and not _outputs_are_there(task):
            return self._wait_for_twin(task)
        task.from_memo = True
        self._graph.memo_found(task, outcome)
        return True

    def _wait_for_twin(self, task: TaskRecord) -> bool:
        """Have a task wait while an equal one runs, to be looked up again when that has ended."""
        if task.hashsum is None:
            return False
        twin = self.running.setdefault(task.hashsum, task)
        if twin is task:
            task.from_memo = False
            return False
        task.waiting += 1
        twin.dependents.append(task)
        return True

    def save(self, task: TaskRecord, outcome: Value) -> bool:
        """Have the memoizer take note of a result; False when `TaskGraph.saved` will say that it is safe."""
        saved = functools.partial(self._loop.post, self._graph.saved, task, outcome)
        return not self._memoizer.save_result(task, outcome.result, saved)

    def ended(self, task: TaskRecord, outcome: Outcome) -> None:
        """Let equal tasks go on, and the memoizer know of a failure."""
        if task.hashsum is not None and self.running.get(task.hashsum) is task:
            del self.running[task.hashsum]
        if task.status is not States.failed or not isinstance(outcome, Error):
            return
        if isinstance(outcome.exception, CancelledError):
            return
        try:
            self._memoizer.update_memo_exception(task, outcome.exception)
        except Exception:
            # The future is to be told how the task failed, not this.
            logger.exception("The memoizer could not take note of the failure of task %s", task.id)

    def flush(self) -> None:
        """Have all that has been told saved."""
        self._end(self._memoizer.flush)

    def close(self) -> None:
        """End the memoizer."""
        self._end(self._memoizer.close)

    def _end(self, way: Callable[[], None]) -> None:
        """Call a method of the memoizer, which may be a user's; the cleanup goes on whatever it raises."""
        try:
            way()
        except Exception:
            logger.exception("The memoizer did not end cleanly")


def _outputs_are_there(task: TaskRecord) -> bool:
    """Tell whether the files that a remembered call has written are still where it put them."""
    outputs = task.kwargs.get("outputs") or ()
    return all(os.path.exists(o.path) for o in outputs if getattr(o, "scheme", None) == "file" and hasattr(o, "path"))
