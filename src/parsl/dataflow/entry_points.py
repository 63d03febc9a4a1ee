"""Methods of the kernel that earlier releases called from their own threads, for libraries that call them too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.executors.base import outcome_of

if TYPE_CHECKING:
    from parsl.dataflow.graph import TaskGraph
    from parsl.dataflow.states import States
    from parsl.dataflow.taskrecord import Outcome, TaskRecord
    from parsl.loop import Loop


class EntryPoints:
    """The events of a task's life as methods; each may be called from any thread, and has its effect on the loop."""

    loop: Loop
    _graph: TaskGraph
    attempt_done: Callable[[TaskRecord, Outcome], None]
    describe: Callable[[Future[Any]], str]

    @staticmethod
    def check_staging_inhibited(kwargs: dict[str, Any]) -> bool:
        """Tell whether a call's keywords switch staging off."""
        return bool(kwargs.get("_parsl_staging_inhibit", False))

    def launch_if_ready(self, task_record: TaskRecord) -> None:
        """Launch a task if nothing that it waits for is open; a task that was launched before is left alone."""
        self.loop.post(self._graph.look, task_record)

    def launch_task(self, task_record: TaskRecord) -> Future[Any]:
        """Launch a task whose dependencies are done, and return its future."""
        self.loop.call(self._graph.look, task_record)
        return task_record.app_fu

    def handle_exec_update(self, task_record: TaskRecord, future: Future[Any]) -> None:
        """Take note that the executor's future of an attempt is done."""
        self.attempt_done(task_record, outcome_of(future))

    def handle_join_update(self, task_record: TaskRecord, inner_app_future: Future[Any] | None) -> None:
        """Take note that one of the futures that a join app joins is done."""
        del inner_app_future
        self.loop.post(self._graph.look, task_record)

    def handle_app_update(self, task_record: TaskRecord, future: Future[Any]) -> None:
        """Do nothing: what has to be done at the end of a task is done before its future is."""
        del task_record, future

    def update_task_state(self, task_record: TaskRecord, new_state: States) -> None:
        """Put a task into another state.

        Raises:
            InternalConsistencyError: when no task goes there from its present state.
        """
        self.loop.call(self._graph.move, task_record, new_state)

    def render_future_description(self, dep: Future[Any]) -> str:
        """Name a future in the message of an error."""
        return self.describe(dep)
