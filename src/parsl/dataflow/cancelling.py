"""The kernel's part in cancelling tasks, and in refusing waits that would never end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.dataflow.states import States
from parsl.loop import LoopClosedError

if TYPE_CHECKING:
    from collections import deque

    from parsl.dataflow.graph import TaskGraph
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.executors.base import ParslExecutor
    from parsl.loop import Loop


# The loop has others to serve as well.
_TASKS_PER_CALL = 1000


def _ignore(_: bool) -> None:
    pass


class Cancelling:
    """What `AppFuture` asks of the kernel, besides its outcome."""

    executors: Mapping[str, ParslExecutor]
    loop: Loop
    _graph: TaskGraph

    # Tasks whose futures are cancelled, and for which the rest is still to be done.
    _cancelled: deque[TaskRecord]
    _will_follow_up = False

    def cancel_task(self, task: TaskRecord) -> bool:
        """Cancel a task with those that depend on it; return whether it is cancelled. For `AppFuture.cancel`.

        Where a running call can be stopped, nothing has to be asked: the future is cancelled here and now, and the rest
        follows. So many thousands of calls are cancelled in a loop without a wait for each.
        """
        if self.executors[task.executor].stops_calls:
            cancelled = task.app_fu.cancel_at_once()
            if cancelled:
                self._cancelled.append(task)
                if not self._will_follow_up:
                    self._will_follow_up = True
                    self.loop.post(self._follow_up)
            return cancelled
        answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

        def cancel() -> None:
            self._cancel(task, lambda cancelled: answers.put((True, cancelled)))

        self.refuse_to_wait(task)
        try:
            return bool(self.loop.ask(cancel, answers))
        except LoopClosedError:
            return task.app_fu.cancelled()

    def cancel_soon(self, task: TaskRecord) -> None:
        """Cancel a task if it has not begun, without waiting to hear about it: for many tasks at once."""
        self.loop.post(self._drop, task)

    def _drop(self, task: TaskRecord) -> None:
        if task.status is States.launched:
            self.executors[task.executor].drop(task)
        elif task.status is not States.joining:
            self._graph.cancel(task)

    def cancel(self, task: TaskRecord) -> None:
        """Cancel a task if that is still possible; on the loop."""
        self._cancel(task, _ignore)

    def _follow_up(self) -> None:
        """Do what else there is to do for tasks whose futures are cancelled."""
        # Before the tasks are taken: who appends one after that posts this anew.
        self._will_follow_up = False
        cancelled = self._cancelled
        for _ in range(min(len(cancelled), _TASKS_PER_CALL)):
            task = cancelled.popleft()
            launched = task.status is States.launched
            self._graph.fail(task, CancelledError(f"task {task.id} was cancelled"))
            if launched:
                self.executors[task.executor].cancel(task, _ignore)
        if cancelled:
            self.loop.post(self._follow_up)

    def _cancel(self, task: TaskRecord, answer: Callable[[bool], object]) -> None:
        if task.app_fu.done() or self._graph.cancel(task):
            answer(task.app_fu.cancelled())
        elif task.status is States.launched:
            # The executor may answer on a thread of its own, before the loop has taken in the end of the task.
            told = functools.partial(self.loop.post, lambda: answer(task.app_fu.cancelled()))
            self.executors[task.executor].cancel(task, lambda _: told())
        else:
            answer(False)

    def refuse_to_wait(self, task: TaskRecord) -> None:
        """Raise RuntimeError on the loop's own thread, where waiting for a task would never end."""
        if self.loop.on_loop():
            msg = (
                f"task {task.id} ({task.func_name}) has not ended, and is waited for on the kernel's own thread, which "
                "would have to end it: don't wait for futures in a retry handler, memoizer or dependency resolver"
            )
            raise RuntimeError(msg)
