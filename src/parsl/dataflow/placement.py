"""Which executor runs a task that several may run: the one with room, decided as late as possible.

A task that only one executor may run is bound to it from the start. One that several may run is bound when it is
launched, each attempt anew; one with files already at its submission, since staging differs between executors.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord

# Label of the executor for the kernel's own work.
INTERNAL = "_parsl_internal"


class Room(NamedTuple):
    """How much an executor has to do, and how much it can do.

    Attributes:
        outstanding: calls that have been launched and have not ended.
        slots: calls that it can run at once now; 0 while none of its workers has come.
        expected: the same once all blocks that have been asked for are there; 0 when it can run nothing any more.
    """

    outstanding: int
    slots: float
    expected: float


class HasRoom(Protocol):
    """An executor, as far as placing tasks is concerned."""

    def room(self) -> Room | None:
        """Tell how much there is to do; None when the executor cannot tell."""


def choose(rooms: Sequence[Room | None], turn: int) -> int:
    """Choose the executor that begins a task soonest.

    An executor with a free slot goes first, the least loaded of several; then one that cannot tell, which may have
    room; then the one that has the least to do for what it is expected to be. Equals take turns.

    Args:
        rooms: what each candidate told of itself; at least one.
        turn: a number that grows with each choice.

    Returns:
        The index of the chosen one.
    """
    order = [(turn + i) % len(rooms) for i in range(len(rooms))]
    best, best_key = order[0], (9, 0.0)
    for i in order:
        key = _key(rooms[i])
        if key < best_key:
            best, best_key = i, key
    return best


def _key(room: Room | None) -> tuple[int, float]:
    """Order candidates, the best first."""
    if room is None:
        return 1, 0.0
    if room.expected <= 0:
        return 3, room.outstanding
    if room.outstanding < room.slots:
        return 0, room.outstanding / room.slots
    return 2, (room.outstanding + 1) / room.expected


class Placement:
    """Finds the executors that a call may run on, and binds tasks to one of them.

    Args:
        executors: the executors by label, as the kernel keeps them.
        hidden: label of the executor for the kernel's own work, which 'all' leaves out.
    """

    def __init__(self, executors: Mapping[str, HasRoom], hidden: str) -> None:
        self._executors = executors
        self._hidden = hidden
        self._all: tuple[str, ...] = ()
        self._turns = itertools.count()

    def refresh(self) -> None:
        """Take note that executors have come."""
        self._all = tuple(label for label in self._executors if label != self._hidden)

    def allowed(self, executors: str | Sequence[str], task_id: int) -> Sequence[str]:
        """Return the labels of the executors that a call may run on.

        Args:
            executors: what the app, or the call, says: 'all', or a list of labels.
            task_id: number of the task, for the texts of errors.

        Raises:
            ValueError: when an executor is named that there is not, or none is named.
        """
        if executors == "all":
            return self._all
        if not isinstance(executors, (list, tuple)) or not executors:
            msg = f"Task {task_id}: 'executors' must be 'all' or a list of labels, but got {executors!r}"
            raise ValueError(msg)
        for label in executors:
            if label not in self._executors:
                msg = f"Task {task_id} asks for executor {label!r}, but there are only {sorted(self._all)}"
                raise ValueError(msg)
        # A copy: the task looks at it again at each launch, when the caller's list may say something else.
        return executors if len(executors) == 1 else tuple(executors)

    def place(self, task: TaskRecord) -> None:
        """Have a task that several executors may run go to the one with room now."""
        choices = task.choices
        if choices is not None:
            task.executor = choices[choose([self._executors[c].room() for c in choices], next(self._turns))]

    def bind(self, task: TaskRecord) -> None:
        """Bind a task for good if it has files: they are staged for one executor."""
        if task.choices is not None and has_files(task):
            self.place(task)
            task.choices = None


def has_files(task: TaskRecord) -> bool:
    """Tell whether there is a file among the arguments of a task, where staging looks for them."""
    kwargs = task.kwargs
    values = [*task.args, *kwargs.values()]
    for name in ("inputs", "outputs"):
        listed = kwargs.get(name)
        if isinstance(listed, (list, tuple)):
            values += listed
    return any(isinstance(value, (File, DataFuture)) for value in values)
