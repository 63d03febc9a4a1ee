"""What the errors of tasks in Work Queue and in TaskVine have in common."""

from __future__ import annotations

from typing import ClassVar

from parsl.app.errors import AppException
from parsl.executors.errors import EngineWorkerLost


class CctoolsTaskFailure(AppException):
    """A task ended in an engine without having ended itself: a limit was exceeded, a file was not there.

    Args:
        reason: what happened: a sentence.
        status: exit code of the task's command, or 0.
    """

    engine: ClassVar[str]

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"{self.engine} could not run the task: {self.reason}"


class CctoolsWorkerLost(CctoolsTaskFailure, EngineWorkerLost):
    """The process of a task was killed, or its worker was lost as often as the engine tries.

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
