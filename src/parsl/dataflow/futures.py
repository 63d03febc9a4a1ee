"""The future that a call of an app returns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future

# The standard names of the states; `wait` and `as_completed` compare with these very objects.
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, TypeVar

from parsl.dataflow.references import Reference
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error

if TYPE_CHECKING:
    from parsl.app.futures import DataFuture
    from parsl.dataflow.taskrecord import Outcome, TaskRecord

logger = logging.getLogger(__name__)

# A task whose try has failed is not running until it is launched again.
_RUNNING = frozenset((States.launched, States.joining))

T = TypeVar("T")

_OPEN = frozenset((PENDING, RUNNING))

# One for all, as many thousands may be cancelled at once: an object each would have the garbage collector look at all
# tasks again and again. Nobody raises this very object.
_CANCELLED = Error(CancelledError("the task was cancelled"))

# In place of the condition of a future that was settled before anybody waited for it: this one by the thread that owns
# the tasks. Others who settle a future put an object of their own there, and so know who was first.
_SETTLED_WITHOUT = object()


class LazyFuture(Future[T]):
    """A standard future that makes its lock, its waiters and its callbacks when they are first asked for.

    A standard future takes more than a kilobyte at birth, nearly all of it for a condition that most futures
    of a large graph never use. Here a field is made by `dict.setdefault`, which is atomic. So either a waiter is the
    first to make the condition, and the state changes under it, as `wait` relies on; or the thread that settles the
    future is first to say that there is none, and whoever asks for a condition later finds the future settled.
    """

    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None

    def __init__(self) -> None:
        # On purpose without super().__init__(), whose fields the properties below stand for.
        pass

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # made when asked for
        fields = self.__dict__
        lock = fields.get("lock") or fields.setdefault("lock", threading.Condition())
        if not isinstance(lock, threading.Condition):
            while self._state in _OPEN:
                time.sleep(0)  # the other thread is between two statements of `settle`
            lock = fields.setdefault("late_lock", threading.Condition())
        return lock  # type: ignore[no-any-return]  # out of a dictionary of anything

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]  # made when asked for
        return self.__dict__.setdefault("waiters", [])  # type: ignore[no-any-return]  # nothing else is put there

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        return self.__dict__.setdefault("callbacks", [])  # type: ignore[no-any-return]  # nothing else is put there

    def done(self) -> bool:
        """Tell whether the call has ended: with a result, with an exception, or cancelled."""
        return self._state not in _OPEN

    def follow(self, function: Callable[[], Sequence[LazyFuture[Any]] | None]) -> None:
        """Have `function()` called once this future is settled: at once if it is, else by the thread that settles it.

        This is for the kernel's own books. Callbacks may belong to users and so wait for the helper thread, which
        another callback may be blocking; a function that neither blocks nor runs a user's code need not wait.

        Args:
            function: does what follows from this; returns futures that it has settled and whose callbacks have to be
                run, if there are any.
        """
        with self._condition:
            if self._state in _OPEN:
                self.__dict__.setdefault("followers", []).append(function)
                return
        for future in function() or ():
            future.run_callbacks()

    def settle(self, outcome: Outcome, without: object = _SETTLED_WITHOUT) -> bool:
        """Give the future its result or exception and wake who waits for it; the first outcome counts.

        Args:
            outcome: how it ended.
            without: for the thread that owns the task what it is by default; for another one an object of its own.

        Returns:
            Whether callbacks are waiting to be called with `run_callbacks`: those of this future, or of others that
            have been settled with it.
        """
        fields = self.__dict__
        lock = fields.setdefault("lock", without)
        if lock is without:
            self._take(outcome)
            return False
        if not isinstance(lock, threading.Condition):
            return False  # somebody else was first, and nobody has waited before that
        followers: Sequence[Callable[[], Any]] = ()
        with lock:
            if self._state in _OPEN:
                self._take(outcome)
                for waiter in fields.get("waiters", ()):
                    if self._state is CANCELLED_AND_NOTIFIED:
                        waiter.add_cancelled(self)
                    elif self._exception is not None:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
                lock.notify_all()
                followers = fields.pop("followers", ())
        for function in followers:
            self._settled_with.extend(function() or ())
        return bool(fields.get("callbacks") or fields.get("settled_with"))

    def _take(self, outcome: Outcome) -> None:
        # The state comes last: who finds it settled reads the rest.
        if isinstance(outcome, Error):
            self._exception = outcome.exception
            self._state = CANCELLED_AND_NOTIFIED if isinstance(outcome.exception, CancelledError) else FINISHED
        else:
            self._result = outcome.result
            self._state = FINISHED

    @property
    def _settled_with(self) -> list[LazyFuture[Any]]:
        return self.__dict__.setdefault("settled_with", [])  # type: ignore[no-any-return]  # nothing else is put there

    def run_callbacks(self) -> None:
        """Call the callbacks of a settled future, and of those that were settled with it."""
        for callback in self.__dict__.pop("callbacks", ()):
            try:
                callback(self)
            except BaseException:  # a user's callback may even ask for the end of the program
                logger.exception("A callback of %r failed: %r", self, callback)
        for future in self.__dict__.pop("settled_with", ()):
            future.run_callbacks()


class AppFuture(LazyFuture[T]):
    """What a call of an app returns at once: the promise of its result.

    It is a `concurrent.futures.Future`: `result`, `exception`, `done`, `add_done_callback`, and the functions `wait`
    and `as_completed` of that module work. Further, it can be awaited inside asyncio; `future[key]` and
    `future.name` are futures of that item or attribute of the result; and given to another app as an argument, it
    makes that app wait for it.

    Callbacks are called on a helper thread, one after another, never on the thread that settles futures.
    """

    task_record: TaskRecord

    def __init__(self, task_record: TaskRecord) -> None:
        self.task_record = task_record

    def result(self, timeout: float | None = None) -> T:
        """Return the result of the call, waiting for it if need be.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            TimeoutError: (concurrent.futures) when the call did not end in time.
            CancelledError: when the call was cancelled.
            Exception: whatever the call raised.
        """
        if self._state is not FINISHED or self._exception is not None:
            self._refuse_on_loop()
            super().result(timeout)
        if isinstance(self._result, Reference) and not self.task_record.dfk.loop.on_loop():
            # The kernel itself hands references on to tasks of the same engine; all others want the value.
            self._result = self._result.get()
        return self._result  # type: ignore[no-any-return]  # of the type that the app returns

    @property
    def reference(self) -> Reference | None:
        """What stands for the result while an engine keeps that; None when it is here, or there is none."""
        return self._result if isinstance(self._result, Reference) else None

    def brought(self, value: T) -> None:
        """Take the value for which a reference stood."""
        self._result = value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception that the call raised, or None, waiting for its end if need be."""
        if self._state is FINISHED:
            return self._exception
        self._refuse_on_loop()
        return super().exception(timeout)

    def _refuse_on_loop(self) -> None:
        if self._state in _OPEN:
            self.task_record.dfk.refuse_to_wait(self.task_record)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result inside asyncio, without blocking its loop."""
        import asyncio

        return asyncio.wrap_future(self).__await__()

    @property
    def tid(self) -> int:
        """The task's number in its kernel."""
        return self.task_record.id

    @property
    def outputs(self) -> list[DataFuture]:
        """Futures of the files that the call produces, in the order of its `outputs` argument."""
        return self._outputs

    @property
    def _outputs(self) -> list[DataFuture]:
        return self.__dict__.setdefault("outputs", [])  # type: ignore[no-any-return]  # nothing else is put there

    @property
    def stdout(self) -> Any:
        """What the call was given as `stdout`; a DataFuture if that is a File."""
        return self.__dict__.get("stdout_given")

    @property
    def stderr(self) -> Any:
        """What the call was given as `stderr`; a DataFuture if that is a File."""
        return self.__dict__.get("stderr_given")

    def cancel(self) -> bool:
        """Cancel the call, and all calls that depend on it.

        A call that has not begun never will. One that runs is stopped where the executor can do that, with all
        programs that it has started: HighThroughputExecutor ends and replaces its worker, threads cannot be stopped.
        A join app that waits for others is cancelled with those that it has called.

        Returns:
            True when the call is cancelled (now, or already): `result` raises CancelledError. False when it has
            ended, or runs where it cannot be stopped.
        """
        if self._state not in _OPEN:
            return self.cancelled()
        return self.task_record.dfk.cancel_task(self.task_record)

    def cancel_at_once(self) -> bool:
        """Make the future cancelled if it is open, from any thread, for the kernel; return whether it is cancelled."""
        self.settle(_CANCELLED, object())
        if self._state in _OPEN:
            self._condition  # noqa: B018 - waits for the other thread, which is between two statements of `settle`
        return self._state is CANCELLED_AND_NOTIFIED

    def cancelled(self) -> bool:
        """Tell whether the call was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def running(self) -> bool:
        """Tell whether the call has been handed to an executor and has not ended."""
        task = self.task_record
        return self._state in _OPEN and task.try_launched is not None and task.status in _RUNNING

    def task_status(self) -> str:
        """Return the name of the state in which the task is."""
        return self.task_record.status.name

    def __getitem__(self, key: Any) -> AppFuture[Any]:
        """Return a future of `result[key]`; a wrong key fails inside that future."""
        return self._lift(deferred_getitem, key)

    def __getattr__(self, name: str) -> AppFuture[Any]:
        """Return a future of `result.name`; names that begin with an underscore are never lifted."""
        if name.startswith("_") or "task_record" not in self.__dict__:
            msg = f"{type(self).__name__} has no attribute {name!r}, and names with a leading underscore are not lifted"
            raise AttributeError(msg)
        return self._lift(deferred_getattr, name)

    # With `__getitem__` alone, `for x in future` would go on for ever: no index ever fails at once.
    __iter__ = None

    def _lift(self, function: Callable[[Any, Any], Any], key: Any) -> AppFuture[Any]:
        return self.task_record.dfk.submit(function, app_args=(self, key), executors=["_parsl_internal"], app_kwargs={})

    def __repr__(self) -> str:
        task = self.task_record
        return f"<AppFuture at {id(self):#x} of task {task.id} {task.func_name}, {self.task_status()}>"


def deferred_getitem(o: Any, k: Any) -> Any:
    """Return `o[k]`: what `future[k]` runs once the result is there."""
    return o[k]


def deferred_getattr(o: Any, name: str) -> Any:
    """Return attribute `name` of `o`: what `future.name` runs once the result is there."""
    return getattr(o, name)
