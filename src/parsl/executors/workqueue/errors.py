"""Errors of Work Queue."""

from __future__ import annotations

from parsl.errors import ParslError
from parsl.executors.cctools_errors import CctoolsTaskFailure, CctoolsWorkerLost


class WorkQueueTaskFailure(CctoolsTaskFailure):
    """A task ended in Work Queue without having ended itself: a limit was exceeded, a file was not there.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
    """

    engine = "Work Queue"


class WorkQueueWorkerLost(CctoolsWorkerLost, WorkQueueTaskFailure):
    """The process of a task was killed, or its worker was lost as often as Work Queue tries.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
        label: the executor's label.
    """


class WorkQueueFailure(ParslError):
    """The manager of Work Queue could not start, or has ended."""
