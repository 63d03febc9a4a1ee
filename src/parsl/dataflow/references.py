"""Results that have stayed where they were computed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.dataflow.taskrecord import Error

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import Outcome

_packing = threading.local()
_arrived = threading.local()


class Reference(ABC):
    """The result of a task that an engine keeps until somebody asks for it.

    It stands for the value while the value only feeds tasks of the same engine. When it is packed with such a task's
    arguments, it notes itself in the list of `packing`; on the engine's worker the value takes its place.

    Args:
        executor: label of the executor whose engine keeps the value.
    """

    def __init__(self, executor: str) -> None:
        self.executor = executor

    @abstractmethod
    def fetch(self, done: Callable[[Outcome], object]) -> None:
        """Have `done` called with the value, or with why it cannot be had; on any thread. Never blocks."""

    def get(self) -> Any:
        """Return the value, waiting for it; not on the kernel's loop.

        Raises:
            Exception: why the value cannot be had.
        """
        answers: SimpleQueue[Outcome] = SimpleQueue()
        self.fetch(answers.put)
        outcome = answers.get()
        if isinstance(outcome, Error):
            raise outcome.exception
        return outcome.result

    def __reduce__(self) -> tuple[Any, ...]:
        found: list[Reference] | None = getattr(_packing, "found", None)
        if found is None:
            msg = f"a result that has stayed on executor {self.executor} can only be packed for a task of that executor"
            raise TypeError(msg)
        found.append(self)
        return arrived_value, (len(found) - 1,)


class packing:  # noqa: N801 - used like a function: with packing() as found
    """Collects the references that are packed within the `with` block, in the order of their numbers."""

    def __enter__(self) -> list[Reference]:
        found: list[Reference] = []
        _packing.found = found
        return found

    def __exit__(self, *_: object) -> None:
        _packing.found = None


class arriving:  # noqa: N801 - as above
    """Says what the values of references are that are unpacked within the `with` block.

    Args:
        value_of: gives the value for a reference's number.
    """

    def __init__(self, value_of: Callable[[int], Any]) -> None:
        self._value_of = value_of

    def __enter__(self) -> None:
        _arrived.value_of = self._value_of

    def __exit__(self, *_: object) -> None:
        _arrived.value_of = None


def arrived_value(number: int) -> Any:
    """Return the value of a reference that is being unpacked on the engine's worker."""
    return _arrived.value_of(number)
