"""What is written to the log about tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.app.exception_codec import shown
from parsl.dataflow.states import States

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import Outcome, TaskRecord

# Of the kernel, whose lines these are.
logger = logging.getLogger("parsl.dataflow.dflow")

_MOST_FAILURES_TOLD = 1000


class Telling:
    """The lines of the log; those about a single task that goes well are at DEBUG, and to be asked for only then.

    Args:
        describe: names a future.
    """

    def __init__(self, describe: Callable[[Future[Any]], str]) -> None:
        self._describe = describe
        self._failures_told = 0

    def submitted(self, task: TaskRecord) -> None:
        """A call has become a task."""
        extra = {"parsl.task": task.id, "parsl.app_name": task.func_name}
        to = task.executor if task.choices is None else " or ".join(task.choices)
        logger.debug("Task %s submitted for app %s to executor %s", task.id, task.func_name, to, extra=extra)
        for future in task.depends:
            tid = getattr(future, "tid", None)
            of_task = {} if tid is None else {"parsl.dependency_task": tid}
            logger.debug(
                "Task %s depends on %s", task.id, self._describe(future), extra={"parsl.task": task.id, **of_task}
            )

    def launched(self, task: TaskRecord) -> None:
        """An attempt has begun."""
        logger.debug(
            "Task %s try %s launched on executor %s with executor id %s",
            task.id,
            task.try_id,
            task.executor,
            task.executor_id,
            extra={"parsl.task": task.id, "parsl.executor": task.executor, "parsl.executor_task": task.executor_id},
        )

    def moved(self, task: TaskRecord) -> None:
        """A task is in another state."""
        logger.debug(
            "Task %s is %s",
            task.id,
            task.status.name,
            extra={"parsl.task": task.id, "parsl.task_state": task.status.name},
        )

    def failed(self, task: TaskRecord, outcome: Outcome) -> None:
        """A task is final, and has no result; of very many, only the first are told."""
        exception = getattr(outcome, "exception", None)
        if exception is None or self._failures_told > _MOST_FAILURES_TOLD:
            return
        if isinstance(exception, CancelledError):
            return  # no failure, and no news to who has cancelled it
        self._failures_told += 1
        logger.info(
            "Task %s (%s) ended as %s after %d tries: %s%s",
            task.id,
            task.func_name,
            task.status.name,
            task.try_id + 1,
            shown(exception),
            "; further failures are not logged" if self._failures_told > _MOST_FAILURES_TOLD else "",
            extra={"parsl.task": task.id, "parsl.app_name": task.func_name},
        )

    def summary(self, counts: Mapping[States, int]) -> None:
        """How many tasks are in each state."""
        logger.info("Summary of tasks in DFK:")
        for state in States:
            if counts[state]:
                logger.info("Tasks in state States.%s: %d", state.name, counts[state])
        logger.info("End of summary")
