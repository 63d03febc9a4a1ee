"""What the kernel knows of one call of an app, and how an attempt at it ends."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, KeysView, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from parsl.dataflow.states import States

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.dataflow.futures import AppFuture
    from parsl.loop import Loop


class Value:
    """An attempt ended well, with this result."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


class Error:
    """An attempt ended badly, with this exception."""

    __slots__ = ("exception",)

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception


Outcome = Value | Error


class Kernel(Protocol):
    """What a record and its future ask of the DataFlowKernel that owns them."""

    loop: Loop

    def submit(
        self,
        func: Callable[..., Any],
        app_args: tuple[Any, ...],
        executors: str | list[str] = "all",
        cache: bool = False,
        ignore_for_cache: list[str] | None = None,
        app_kwargs: dict[str, Any] | None = None,
        join: bool = False,
    ) -> AppFuture[Any]:
        """Make a task of a call."""

    def attempt_done(self, task: TaskRecord, outcome: Outcome) -> None:
        """Take note of how an attempt at `task` ended; safe from every thread."""

    def cancel_task(self, task: TaskRecord) -> bool:
        """Cancel `task` and what depends on it, if that is still possible."""

    def cancel_soon(self, task: TaskRecord) -> None:
        """Cancel `task` if it has not begun, without waiting to hear about it."""

    def refuse_to_wait(self, task: TaskRecord) -> None:
        """Raise RuntimeError when the calling thread is the one that would have to settle `task`."""


# Keys of the record as users' retry handlers and memoizers read them, where they differ from the slot that holds
# the fact.
_TIMES = {
    "time_invoked": "invoked",
    "time_returned": "returned",
    "try_time_launched": "try_launched",
    "try_time_returned": "try_returned",
}


class TaskRecord:
    """One call of an app: what to run, with what, where, and how far it has come.

    Readable both as `record.status` and, as callers' hooks do, as `record['status']`. Only the kernel's loop
    changes a record once it has been submitted.

    Attributes:
        id: number of the task in its kernel, from 0 in order of submission.
        func: what to call; with `func_name`, the name of the user's function.
        app_func: what the app had called, before staging put anything around it.
        args: positional arguments; futures among them are replaced by their results before launch.
        kwargs: keyword arguments, likewise.
        app_fu: the future that the caller holds.
        executor: label of the executor that runs the task; while `choices` are open, of the one that ran it last, or of
            the first that may.
        choices: labels of the executors that may run the task, one of which is chosen at each launch; None once that
            is settled.
        status: where the task stands.
        depends: the futures that had to be done before launch.
        waiting: how many of them (or, for a joining task, of the futures it joins) are not done yet.
        dependents: tasks that wait for this one.
        fail_count: failed attempts so far; `fail_cost` what they cost, and `fail_history` their texts.
        losses: how often the task was lost with what ran it; `worker_losses` how often that was its worker.
        try_id: number of the current attempt, from 0.
        usage: what the last attempt used, packed for monitoring, or None.
        told: whether monitoring has been told of the task.
        invoked: seconds since the epoch at submission, and `returned`, `try_launched`, `try_returned` likewise.
    """

    __slots__ = (
        "_dependents",
        "_fail_history",
        "app_fu",
        "app_func",
        "args",
        "checkpoint",
        "choices",
        "depends",
        "dfk",
        "executor",
        "executor_id",
        "fail_cost",
        "fail_count",
        "from_memo",
        "func",
        "func_name",
        "hashsum",
        "id",
        "ignore_for_cache",
        "invoked",
        "join",
        "joins",
        "kwargs",
        "losses",
        "memoize",
        "resource_specification",
        "returned",
        "status",
        "told",
        "try_id",
        "try_launched",
        "try_returned",
        "usage",
        "waiting",
        "worker_losses",
    )

    app_fu: AppFuture[Any]

    def __init__(
        self,
        id: int,  # noqa: A002 - the name of the entry that hooks read
        dfk: Kernel,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executor: str,
        resource_specification: dict[str, Any],
        *,
        memoize: bool = False,
        ignore_for_cache: list[str] | None = None,
        join: bool = False,
        invoked: float = 0.0,
    ) -> None:
        self.id = id
        self.dfk = dfk
        self.func = self.app_func = func
        self.func_name: str = getattr(func, "__name__", None) or type(func).__name__
        self.args = args
        self.kwargs = kwargs
        self.executor = executor
        self.choices: Sequence[str] | None = None
        self.resource_specification = resource_specification
        self.memoize = memoize
        self.ignore_for_cache = ignore_for_cache
        self.join = join
        self.invoked = invoked
        self.status = States.unsched
        self.depends: Sequence[Future[Any]] = ()
        self.waiting = 0
        self._dependents: list[TaskRecord] | None = None
        self.joins: Any = None
        self.fail_count = 0
        self.fail_cost: float = 0
        self._fail_history: list[str] | None = None
        self.losses = self.worker_losses = 0
        self.try_id = 0
        self.executor_id: int | None = None
        self.hashsum: str | None = None
        self.from_memo: bool | None = None
        self.checkpoint = False
        self.returned: float | None = None
        self.try_launched: float | None = None
        self.try_returned: float | None = None
        self.usage: bytes | None = None
        self.told = False

    @property
    def dependents(self) -> list[TaskRecord]:
        """The tasks that wait for this one, to be appended to."""
        if self._dependents is None:
            self._dependents = []
        return self._dependents

    def take_dependents(self) -> list[TaskRecord]:
        """Return the tasks that wait for this one, and forget them."""
        dependents, self._dependents = self._dependents, None
        return dependents or _NO_TASKS

    @property
    def fail_history(self) -> list[str]:
        """Texts of the exceptions that attempts ended with, oldest first."""
        if self._fail_history is None:
            self._fail_history = []
        return self._fail_history

    def done(self, outcome: Outcome) -> None:
        """Say how the current attempt ended; for executors, from any thread."""
        self.dfk.attempt_done(self, outcome)

    # -- the record as a mapping, which is how hooks written for earlier releases read it --------------------------

    def __getitem__(self, key: str) -> Any:
        if key in _TIMES:
            seconds = getattr(self, _TIMES[key])
            return None if seconds is None else datetime.datetime.fromtimestamp(seconds)  # noqa: DTZ006 - local time is the contract
        if key not in _KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _TIMES and isinstance(value, datetime.datetime):
            value = value.timestamp()
        if key not in _KEYS:
            raise KeyError(f"a task record has no entry {key!r}")
        setattr(self, _SLOTS.get(key, key), value)

    def __contains__(self, key: object) -> bool:
        return key in _KEYS

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def get(self, key: str, default: Any = None) -> Any:
        """Return entry `key`, or `default` when there is none."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> KeysView[str]:
        """Name the entries."""
        return _KEYS.keys()

    def items(self) -> list[tuple[str, Any]]:
        """Return each entry with its name."""
        return [(key, self[key]) for key in _KEYS]

    def __repr__(self) -> str:
        return f"<TaskRecord {self.id} {self.func_name} {self.status.name}>"


# The names of the entries, in order.
_KEYS = dict.fromkeys([*(s.lstrip("_") for s in TaskRecord.__slots__ if s not in _TIMES.values()), *_TIMES])
_SLOTS = {**_TIMES, **{s.lstrip("_"): s for s in TaskRecord.__slots__ if s.startswith("_")}}

_NO_TASKS: list[TaskRecord] = []
