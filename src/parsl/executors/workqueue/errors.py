"""Errors of Work Queue."""

from __future__ import annotations

from parsl.app.errors import AppException
from parsl.errors import ParslError
from parsl.executors.errors import EngineWorkerLost


class WorkQueueTaskFailure(AppException):
    """A task ended in Work Queue without having ended itself: a limit was exceeded, a file was not there.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"Work Queue could not run the task: {self.reason}"


class WorkQueueWorkerLost(WorkQueueTaskFailure, EngineWorkerLost):
    """The process of a task was killed, or its worker was lost as often as Work Queue tries.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
        label: the executor's label.
    """

    def __init__(self, reason: str, status: int, label: str = "") -> None:
        super().__init__(reason, status)
        self.args = (reason, status, label)
        self.label = label

    def __str__(self) -> str:
        return EngineWorkerLost.__str__(self)


class WorkQueueFailure(ParslError):
    """The manager of Work Queue could not start, or has ended."""
