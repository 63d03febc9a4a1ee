"""Errors of TaskVine."""

from __future__ import annotations

from parsl.errors import ParslError
from parsl.executors.cctools_errors import CctoolsTaskFailure, CctoolsWorkerLost


class TaskVineTaskFailure(CctoolsTaskFailure):
    """A task ended in TaskVine without having ended itself: a limit was exceeded, a file was not there.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
    """

    engine = "TaskVine"


class TaskVineWorkerLost(CctoolsWorkerLost, TaskVineTaskFailure):
    """The process of a task was killed, or its worker was lost as often as TaskVine tries.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
        label: the executor's label.
    """


class TaskVineManagerFailure(ParslError):
    """The manager of TaskVine could not start, or has ended."""


class TaskVineFactoryFailure(ParslError):
    """The factory that starts TaskVine's workers could not start, or has ended."""
