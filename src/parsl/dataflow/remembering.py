"""The kernel's part in memoization: when the memoizer is asked, and when it is told."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.memoization import BasicMemoizer, CheckpointCommand
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, TaskRecord, Value
from parsl.executors.base import outcome_of

if TYPE_CHECKING:
    from parsl.config import Config
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
    """Asks the memoizer before a task is launched, and has it save results before their futures are told."""

    loop: Loop
    memoizer: Memoizer
    run_dir: str
    tasks: dict[int, TaskRecord]
    _config: Config
    _graph: TaskGraph
    _answered: deque[TaskRecord]
    _running: dict[str, TaskRecord]
    when_done: Callable[[Future[Any], TaskRecord], None]

    def _recall_early(self, task: TaskRecord) -> Outcome | None:
        """Return what is remembered of a call that waits for nothing; on the thread of the caller."""
        if task.depends or (task.kwargs and any(map(task.kwargs.get, _WITH_FILES))):
            return None
        return self.memoizer.recall_early(task)

    def _answer(self, task: TaskRecord, outcome: Outcome) -> AppFuture[Any]:
        """End a task, which nobody else knows of yet, with what is remembered of an equal one."""
        task.status, task.from_memo, task.returned = States.memo_done, True, time.time()
        if self._config.garbage_collect:
            task.args, task.kwargs = (), {}
        else:
            self.tasks[task.id] = task
        task.app_fu.settle(outcome)
        # To wake the loop for each would take longer than all the rest.
        self._answered.append(task)
        if len(self._answered) % _WAKE_EVERY == 0:
            self.loop.post(self._count_answered)
        return task.app_fu

    def _count_answered(self) -> None:
        """Have the graph take note of the calls that were answered at once; on the loop."""
        while self._answered:
            self._graph.recalled(self._answered.popleft())

    def _recall(self, task: TaskRecord) -> bool:
        """End a task with what is remembered of an equal one, or have it wait for that one; False if it has to run."""
        future = self.memoizer.check_memo(task)
        if future is None:
            return self._wait_for_twin(task)
        if not future.done():
            task.waiting += 1
            self.when_done(future, task)
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
        twin = self._running.setdefault(task.hashsum, task)
        if twin is task:
            task.from_memo = False
            return False
        task.waiting += 1
        twin.dependents.append(task)
        return True

    def save(self, task: TaskRecord, outcome: Value) -> bool:
        """Have the memoizer take note of a result; False when `TaskGraph.saved` will say that it is safe."""
        saved = functools.partial(self.loop.post, self._graph.saved, task, outcome)
        return not self.memoizer.save_result(task, outcome.result, saved)

    def _remember_end(self, task: TaskRecord, outcome: Outcome) -> None:
        """Let equal tasks go on, and the memoizer know of a failure."""
        if task.hashsum is not None and self._running.get(task.hashsum) is task:
            del self._running[task.hashsum]
        if task.status is not States.failed or not isinstance(outcome, Error):
            return
        if isinstance(outcome.exception, CancelledError):
            return
        try:
            self.memoizer.update_memo_exception(task, outcome.exception)
        except Exception:
            # The future is to be told how the task failed, not this.
            logger.exception("The memoizer could not take note of the failure of task %s", task.id)

    def _end_memoizer(self, way: Callable[[], None]) -> None:
        """Call `flush` or `close` of a memoizer, which may be a user's; the cleanup goes on whatever it raises."""
        try:
            way()
        except Exception:
            logger.exception("The memoizer did not end cleanly")

    # -- for users ---------------------------------------------------------------------------------------------------

    def checkpoint(self, tasks: Sequence[TaskRecord] | None = None) -> str:
        """Write results of apps with `cache=True` to the checkpoint of this run.

        Args:
            tasks: the tasks whose results are wanted; None for all that have not been written yet.

        Returns:
            The path of the checkpoint.

        Raises:
            TypeError: when the kernel's memoizer is one that writes no checkpoints.
            OSError: when they cannot be written.
        """
        memoizer = self._basic_memoizer()
        if tasks is None:
            memoizer.checkpoint()
        for task in tasks or ():
            future = task.app_fu
            if future.done() and not future.cancelled() and future.exception() is None:
                memoizer.checkpoint_one(CheckpointCommand(task, result=future.result()))
        return os.path.join(self.run_dir, "checkpoint")

    def load_checkpoints(self, checkpointDirs: Sequence[str] | None) -> Mapping[str, Future[Any]]:  # noqa: N803 - the contract
        """Take results from checkpoints of earlier runs, instead of those that `Config` names.

        Args:
            checkpointDirs: the checkpoint folders, oldest first; None for none.

        Returns:
            A mapping of the results by hash, as futures; each is read when it is asked for.

        Raises:
            BadCheckpoint: when there is none in a folder.
        """
        return self._basic_memoizer().load_checkpoints(checkpointDirs)

    def _basic_memoizer(self) -> BasicMemoizer:
        if not isinstance(self.memoizer, BasicMemoizer):
            msg = f"the kernel's memoizer, a {type(self.memoizer).__name__}, is no BasicMemoizer and has no checkpoints"
            raise TypeError(msg)
        return self.memoizer


def _outputs_are_there(task: TaskRecord) -> bool:
    """Tell whether the files that a remembered call has written are still where it put them."""
    outputs = task.kwargs.get("outputs") or ()
    return all(os.path.exists(o.path) for o in outputs if getattr(o, "scheme", None) == "file" and hasattr(o, "path"))
