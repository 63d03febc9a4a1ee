"""The errors of the dataflow kernel: a task that can't run, or can't end, because of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl.errors import ParslError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LABELS_SHOWN = 3
_TEXT_SHOWN = 300


class DataFlowException(ParslError):
    """Base class of the errors that the dataflow kernel raises."""


class BadCheckpoint(DataFlowException):
    """A checkpoint cannot be read.

    Args:
        reason: which file it is, and what is wrong with it: a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class PropagatedException(DataFlowException):
    """A task failed because of exceptions that were raised elsewhere.

    A failure travels down a chain of tasks as one such exception a task, each holding the previous one. `__cause__` of
    all of them is the exception at the beginning of that chain, which is the one to look at. Where several failures
    come together, the first stands for all.

    Making and printing one costs the same at any depth: it takes the beginning of the chain from the previous link.

    Args:
        dependent_exceptions_tids: the exceptions, each with a label of where it came from, such as `task 3`.
        task_id: the number of the task that failed because of them.
        failure_description: what kind of failure this is, in two or three words that begin the message.
    """

    def __init__(
        self,
        dependent_exceptions_tids: Sequence[tuple[BaseException, str]],
        task_id: int,
        *,
        failure_description: str,
    ) -> None:
        super().__init__(dependent_exceptions_tids, task_id)
        self.dependent_exceptions_tids = dependent_exceptions_tids
        self.task_id = task_id
        self._failure_description = failure_description
        self._root_label = ""
        self._find_root()

    def _find_root(self) -> None:
        if not self.dependent_exceptions_tids:
            return
        first, label = self.dependent_exceptions_tids[0]
        if isinstance(first, PropagatedException) and first.__cause__ is not None:
            self._root_label = first._root_label  # noqa: SLF001 - of this very class
            self.__cause__ = first.__cause__
        else:
            self._root_label = label
            self.__cause__ = first

    def __str__(self) -> str:
        failures = self.dependent_exceptions_tids
        start = f"{self._failure_description} for task {self.task_id}: "
        if not failures:
            return start + "no cause is recorded"
        labels = [label for _, label in failures[:_LABELS_SHOWN]]
        if len(failures) > _LABELS_SHOWN:
            labels.append(f"{len(failures) - _LABELS_SHOWN} more")
        names = " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
        if len(failures) == 1 and labels[0] == self._root_label:
            return f"{start}{names} failed with {_brief(self.__cause__)}"
        return f"{start}{names} failed; the first cause is {_brief(self.__cause__)} in {self._root_label}"

    def __repr__(self) -> str:
        # The default would print `args`, and with them the whole chain, one inside the other.
        return f"<{type(self).__name__}: {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by the constructor: subclasses have parameters of their own, and `__cause__` has to be found again.
        return _restore, (type(self), self.args, self.__dict__)


class DependencyError(PropagatedException):
    """A task was not run because something that it depends on failed.

    Args:
        dependent_exceptions_tids: the exceptions of those dependencies that failed, each with a label of where it
            came from: `task 3` for an app, the repr of any other future.
        task_id: the number of the task that was not run.
    """

    def __init__(self, dependent_exceptions_tids: Sequence[tuple[BaseException, str]], task_id: int) -> None:
        super().__init__(dependent_exceptions_tids, task_id, failure_description="Dependency failure")


class JoinError(PropagatedException):
    """A join app returned futures, and some of them failed.

    Args:
        dependent_exceptions_tids: the exceptions of the futures that failed, each with a label of where it came from.
        task_id: the number of the join app's task.
    """

    def __init__(self, dependent_exceptions_tids: Sequence[tuple[BaseException, str]], task_id: int) -> None:
        super().__init__(dependent_exceptions_tids, task_id, failure_description="Join failure")


def _brief(exception: BaseException | None) -> str:
    """Show an exception in a part of one line, whatever its `__str__` does."""
    name = type(exception).__name__
    try:
        text = str(exception)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything, and the class still says something
        return name
    lines = text.strip().splitlines()
    if not lines:
        return name
    line = lines[0] if len(lines[0]) <= _TEXT_SHOWN else lines[0][:_TEXT_SHOWN] + "..."
    return f"{name}: {line}"


def _restore(cls: type[PropagatedException], args: tuple[Any, ...], fields: dict[str, Any]) -> PropagatedException:
    exception = cls.__new__(cls, *args)
    exception.__dict__.update(fields)
    exception._find_root()  # noqa: SLF001 - what its constructor would do
    return exception
