"""A workflow as a standard executor: for programs that are written for `concurrent.futures`."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, wait
from itertools import chain, islice
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.dataflow.futures import AppFuture

    T = TypeVar("T")

__all__ = ["ParslPoolExecutor"]

# A program that makes a new lambda for each call must not make the pool grow without end.
_MOST_APPS = 1024

# What goes to a worker once. All else (bound methods, partials, callable objects) may change between two calls and goes
# along with each, so that a call sees the state of its moment.
_SENT_ONCE = (FunctionType, BuiltinFunctionType, type)


class ParslPoolExecutor(Executor):
    """A `concurrent.futures.Executor` whose calls run where a configuration or a kernel says.

    As a context manager it waits, at its end, for all its calls. Futures of earlier calls may be arguments: a call
    runs once they are done, and gets their results.

    Args:
        config: what to run on: a kernel of its own is started at the first use, or when a `with` block is entered, and
            cleaned up by `shutdown`.
        dfk: a kernel that runs already; it runs on after `shutdown`.
        executors: labels of the kernel's executors that may run the calls, or 'all'.

    Raises:
        ValueError: unless one of `config` and `dfk` is given, and only one.
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self, config: Config | None = None, *, dfk: DataFlowKernel | None = None, executors: str | list[str] = "all"
    ) -> None:
        if (config is None) == (dfk is None):
            given = "neither" if config is None else "both"
            msg = f"ParslPoolExecutor takes either a configuration or a running kernel (dfk=...), but got {given}"
            raise ValueError(msg)
        self._config = config
        self._kernel = dfk
        self._executors = executors
        self._lock = threading.RLock()
        self._closed = False
        self._closer: threading.Thread | None = None
        # The kernel holds the open ones; those that are done may go, with their results, when the caller lets go.
        self._futures: weakref.WeakSet[AppFuture[Any]] = weakref.WeakSet()
        # The most recently used last.
        self._apps: OrderedDict[Callable[..., Any], PythonApp] = OrderedDict()
        self._call_app: PythonApp | None = None

    def __enter__(self) -> ParslPoolExecutor:
        with self._lock:
            self._running_kernel()
        return self

    @property
    def app_count(self) -> int:
        """For how many functions the pool keeps an app."""
        return len(self._apps)

    def get_app(self, fn: Callable[..., Any]) -> PythonApp:
        """Return the app that calls a function here: the same each time, for the 1024 functions used last.

        Args:
            fn: what to call; hashable.

        Raises:
            RuntimeError: after `shutdown`.
        """
        with self._lock:
            app = self._apps.get(fn)
            if app is None:
                app = self._apps[fn] = self._make_app(fn)
                if len(self._apps) > _MOST_APPS:
                    self._apps.popitem(last=False)
            else:
                self._apps.move_to_end(fn)
            return app

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> AppFuture[T]:
        """Have `fn(*args, **kwargs)` called.

        A function is sent to a worker once, as it was at its first call; a bound method, a partial or a callable
        object is sent with each call.

        Args:
            fn: what to call.
            args: its arguments; futures among them are waited for, and their results passed.
            kwargs: keyword arguments, likewise. Those that mean something to every app (`walltime`, `stdout`,
                `parsl_resource_specification`, ...) mean that here, too.

        Returns:
            The future of the result.

        Raises:
            RuntimeError: after `shutdown`.
        """
        with self._lock:
            if isinstance(fn, _SENT_ONCE):
                return self._start(self.get_app(fn), args, kwargs)
            if self._call_app is None:
                self._call_app = self._make_app(call_of_anything())
            return self._start(self._call_app, (fn, *args), kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Have `fn` called in parallel with the items of all iterables; stops at the end of the shortest.

        Calls that have not started are cancelled when one before them fails, when the time is over, and when the
        iterator is closed.

        Args:
            fn: what to call.
            iterables: where the arguments come from: one for each of them.
            timeout: seconds from now until the last result has to be there; None waits as long as it takes.
            chunksize: how many calls make up a task. More than one saves time when calls are very short; when a call
                fails, all calls of its task have.
            buffersize: how many tasks there may be whose results have not been taken from the iterator; the iterables
                are read only so far ahead. None reads them to their end and submits all calls at once.

        Returns:
            An iterator over the results, in the order of the arguments.

        Raises:
            RuntimeError: after `shutdown`; by the iterator, when it has to submit further calls then.
            TimeoutError: (concurrent.futures) by the iterator, when a result is not there in time.
            Exception: by the iterator: whatever a call raised.
            ValueError: when `chunksize` or `buffersize` is less than 1.
        """
        for name, value in {"chunksize": chunksize, "buffersize": buffersize}.items():
            if value is not None and value < 1:
                msg = f"map: parameter {name!r} must be at least 1, but got {value!r}"
                raise ValueError(msg)
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        chunked = chunksize > 1 or not isinstance(fn, _SENT_ONCE)
        submitted = self._submit_chunks(fn, calls, chunksize) if chunked else self._submit_each(fn, calls)
        waiting: deque[AppFuture[Any]] = deque()
        try:
            waiting.extend(islice(submitted, buffersize))
        except BaseException:
            cancel(waiting)
            raise
        results = in_order(waiting, submitted, buffersize, deadline)
        next(results)
        return flat(results) if chunked else results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls and, once the calls so far have ended, give back what the pool has started.

        Args:
            wait: return when that has happened. Otherwise it happens in the background, and the program does not end
                before.
            cancel_futures: cancel the calls that no worker has yet.
        """
        with self._lock:
            self._closed = True
            futures = [future for future in self._futures if not future.done()]
            self._apps.clear()
        if cancel_futures:
            cancel(futures)
        if wait:
            self._finish(futures)
        elif self._config is not None and self._kernel is not None and self._closer is None:
            self._closer = threading.Thread(target=self._finish, args=(futures,), name="parsl-pool-shutdown")
            self._closer.start()

    # -- insides -------------------------------------------------------------------------------------------------

    def _running_kernel(self) -> DataFlowKernel:
        if self._closed:
            msg = "a ParslPoolExecutor takes no calls after its shutdown"
            raise RuntimeError(msg)
        if self._kernel is None:
            self._kernel = DataFlowKernel(self._config)
        return self._kernel

    def _make_app(self, fn: Callable[..., Any]) -> PythonApp:
        return PythonApp(fn, data_flow_kernel=self._running_kernel(), executors=self._executors)

    def _start(self, app: PythonApp, args: Iterable[Any], kwargs: dict[str, Any]) -> AppFuture[Any]:
        with self._lock:
            self._running_kernel()
            future = app(*args, **kwargs)
            self._futures.add(future)
            return future

    def _submit_each(self, fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[AppFuture[Any]]:
        app = self.get_app(fn)
        for call in calls:
            yield self._start(app, call, {})

    def _submit_chunks(
        self, fn: Callable[..., Any], calls: Iterator[tuple[Any, ...]], size: int
    ) -> Iterator[AppFuture[Any]]:
        with self._lock:
            app = self._make_app(calls_of(fn))
        while chunk := list(islice(calls, size)):
            # The arguments lie side by side, as those of one call, so that futures and files among them are seen.
            yield self._start(app, (len(chunk[0]), *chain.from_iterable(chunk)), {})

    def _finish(self, futures: Iterable[AppFuture[Any]]) -> None:
        if self._closer is not None and self._closer is not threading.current_thread():
            self._closer.join()
        if self._config is None:
            wait(futures)
        elif self._kernel is not None:
            self._kernel.wait_for_current_tasks()
            self._kernel.cleanup()


# -- the calls, as closures: those are pickled by value, and workers need not import this module -----------------------


def call_of_anything() -> Callable[..., Any]:
    """Return a function that calls what it is given."""

    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return call


def calls_of(fn: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Return a function that calls `fn` again and again, each time with the next `width` of `values`."""

    def calls(width: int, *values: Any) -> list[Any]:
        return [fn(*values[i : i + width]) for i in range(0, len(values), width)]

    calls.__name__ = getattr(fn, "__name__", calls.__name__)
    return calls


# -- the results of a map ----------------------------------------------------------------------------------------------


def in_order(
    waiting: deque[AppFuture[Any]],
    submitted: Iterator[AppFuture[Any]],
    buffersize: int | None,
    deadline: float | None,
) -> Iterator[Any]:
    """Yield None, and then the results of futures in their order; submit further calls as results are taken.

    Args:
        waiting: the futures of calls that are submitted already.
        submitted: submits a further call each time it is asked.
        buffersize: how many futures may wait at most; None when `submitted` has come to its end.
        deadline: until when (`time.monotonic`) results have to be there; None for no limit.
    """
    try:
        # So far `map` itself goes: the end of a generator that was never begun would cancel nothing.
        yield None
        while waiting:
            yield take_result(waiting, deadline)
            if buffersize is not None:
                waiting.extend(islice(submitted, buffersize - len(waiting)))
    finally:
        cancel(waiting)


def take_result(waiting: deque[AppFuture[Any]], deadline: float | None) -> Any:
    """Wait for the first of the futures, remove it, and return its result."""
    result = waiting[0].result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    waiting.popleft()
    return result


def flat(results: Iterator[list[Any]]) -> Iterator[Any]:
    """Yield the items of lists."""
    for items in results:
        yield from items


def cancel(futures: Iterable[AppFuture[Any]]) -> None:
    """Cancel the calls that have not started, without waiting to hear about each."""
    for future in futures:
        if not future.done():
            future.task_record.dfk.cancel_soon(future.task_record)
