"""Methods of the kernel for users and libraries that are not on a task's way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.autopath import default_std_autopath
from parsl.dataflow.memoization import BasicMemoizer, CheckpointCommand
from parsl.executors.base import outcome_of

if TYPE_CHECKING:
    from parsl.dataflow.graph import TaskGraph
    from parsl.dataflow.memoization import Memoizer
    from parsl.dataflow.states import States
    from parsl.dataflow.taskrecord import Outcome, TaskRecord
    from parsl.loop import Loop


class EntryPoints:
    """Checkpoints at will, and the events of a task's life as methods.

    Each may be called from any thread; an event has its effect on the loop.
    """

    loop: Loop
    memoizer: Memoizer
    run_dir: str
    _graph: TaskGraph
    attempt_done: Callable[[TaskRecord, Outcome], None]
    describe: Callable[[Future[Any]], str]

    # -- checkpoints ---------------------------------------------------------------------------------------------

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

    # -- what earlier releases called from their own threads -----------------------------------------------------

    @staticmethod
    def check_staging_inhibited(kwargs: dict[str, Any]) -> bool:
        """Tell whether a call's keywords switch staging off."""
        return bool(kwargs.get("_parsl_staging_inhibit", False))

    def default_std_autopath(self, taskrecord: TaskRecord, kw: str) -> str:
        """Return the path that AUTO_LOGNAME stands for."""
        return default_std_autopath(self.run_dir, taskrecord, kw)

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
