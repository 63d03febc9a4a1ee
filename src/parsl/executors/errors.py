"""Exceptions that executors raise, or give to the futures of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl.errors import ParslError

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor


class ExecutorError(ParslError):
    """An executor failed.

    Args:
        executor: the executor concerned.
        reason: what happened.
    """

    def __init__(self, executor: ParslExecutor, reason: str) -> None:
        super().__init__(executor, reason)
        self.executor = executor
        self.reason = reason

    def __str__(self) -> str:
        return f"Executor {self.executor.label} failed due to: {self.reason}"


class BadStateException(ExecutorError):
    """The executor can run no more tasks, for example because its blocks do not start.

    Args:
        executor: the executor concerned.
        exception: why it can run no more tasks.
    """

    def __init__(self, executor: ParslExecutor, exception: Exception | None) -> None:
        super().__init__(executor, str(exception))
        self.args = (executor, exception)
        self.exception = exception
        self.__cause__ = exception

    def __str__(self) -> str:
        return f"Executor {self.executor.label} is in a bad state and runs no more tasks: {self.reason}"


class UnsupportedFeatureError(ExecutorError):
    """A task asked an executor for something that only another executor can do.

    Args:
        feature: what was asked for.
        current_executor: label of the executor that was asked.
        target_executor: label or class of an executor that can do it.
    """

    def __init__(self, feature: str, current_executor: str, target_executor: str | ParslExecutor) -> None:
        ParslError.__init__(self, feature, current_executor, target_executor)
        self.feature = feature
        self.current_executor = current_executor
        self.target_executor = target_executor

    def __str__(self) -> str:
        return (
            f"The {self.feature} feature is not supported by executor {self.current_executor}; "
            f"use {self.target_executor} for it"
        )


class InvalidResourceSpecification(ExecutorError):
    """`parsl_resource_specification` of a call holds what the executor does not understand.

    Args:
        invalid_keys: the entries at fault.
        message: what is wrong with them, or what would be right.
    """

    def __init__(self, invalid_keys: set[str], message: str = "") -> None:
        ParslError.__init__(self, invalid_keys, message)
        self.invalid_keys = invalid_keys
        self.message = message

    def __str__(self) -> str:
        return f"Invalid resource specification options: {sorted(self.invalid_keys)}. {self.message}".rstrip()


class MissingResourceSpecification(InvalidResourceSpecification):
    """A call has no `parsl_resource_specification`, and its executor cannot run it without one.

    Args:
        invalid_keys: the entries that are missing.
        message: what is needed.
    """

    def __str__(self) -> str:
        return f"Missing resource specification: {', '.join(sorted(self.invalid_keys))}. {self.message}".rstrip()


class ScalingFailed(ExecutorError):
    """An executor could not be scaled.

    Args:
        executor: the executor concerned, or its label.
        reason: what happened.
    """

    def __init__(self, executor: ParslExecutor | str | None, reason: str) -> None:
        ParslError.__init__(self, executor, reason)
        self.label = executor if isinstance(executor, str) or executor is None else executor.label
        self.reason = reason

    def __str__(self) -> str:
        return f"Executor {self.label} could not be scaled: {self.reason}"


class BadMessage(ParslError):
    """A message between processes could not be understood.

    Args:
        reason: what is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Received an unexpected message: {self.reason}"


class ExecutorShutDownError(ParslError):
    """A task was still queued when its executor was shut down.

    Args:
        label: the executor's label.
    """

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label

    def __str__(self) -> str:
        return f"Executor {self.label} was shut down before the task ended"


class ExecutionLost(ParslError):
    """What ran the task is gone, for all that is known through no fault of the task: it may well run elsewhere.

    The kernel runs such a task again by itself, see `Config.system_retries`.
    """

    # Whether the task may be what ended it, as when a worker process dies.
    suspect: bool = False

    # Whether the task has asked for it, as by SystemExit: then it is a failure like any other.
    asked_for: bool = False

    def as_poison(self, times: int) -> ExecutionLost:
        """Return what a task gets that has been at the scene for the `times`-th time."""
        del times
        return self


class EngineWorkerLost(ExecutionLost):
    """The engine beneath an executor has lost the worker that ran the task.

    Args:
        label: the executor's label.
        reason: what the engine said.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(label, reason)
        self.label = label
        self.reason = reason

    def __str__(self) -> str:
        return f"Task failure due to loss of a worker of executor {self.label}: {self.reason}"
