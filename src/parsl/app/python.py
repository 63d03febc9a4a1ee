"""Apps that are Python functions."""

from __future__ import annotations

import ctypes
import functools
import inspect
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parsl.app.base import AppBase
from parsl.app.errors import AppTimeout

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.futures import AppFuture


class PythonApp(AppBase):
    """An app whose function is run by a worker, or by this process when it is a join app.

    Args:
        func: the user's function; may be `async def`.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        executors: labels of the executors that may run it, or 'all'.
        ignore_for_cache: names of parameters that don't make calls differ.
        join: the function returns a future or a list of futures, whose results become the result.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        data_flow_kernel: DataFlowKernel | None = None,
        cache: bool = False,
        executors: str | Sequence[str] = "all",
        ignore_for_cache: Sequence[str] | None = None,
        join: bool = False,
    ) -> None:
        super().__init__(
            func, data_flow_kernel=data_flow_kernel, executors=executors, cache=cache, ignore_for_cache=ignore_for_cache
        )
        self.join = join
        self._callable = run_coroutine(func) if inspect.iscoroutinefunction(func) else func
        # One wrapped function for each walltime, so that a worker is sent each of them once.
        self._timed: dict[float, Callable[..., Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture[Any]:
        """Have a kernel run the function.

        Returns:
            The future of its result.

        Raises:
            NoDataFlowKernelError: when no kernel is loaded.
        """
        kernel = self.kernel
        kwargs = self.with_defaults(args, kwargs)
        func = self._callable
        if "walltime" in kwargs:
            if kwargs["walltime"] is not None:
                func = self._with_walltime(kwargs["walltime"])
            if not self.accepts("walltime"):
                del kwargs["walltime"]
        return kernel.submit(
            func,
            app_args=args,
            executors=self.executors,
            cache=self.cache,
            ignore_for_cache=self.ignore_for_cache,
            app_kwargs=kwargs,
            join=self.join,
        )

    def _with_walltime(self, seconds: float) -> Callable[..., Any]:
        timed = self._timed.get(seconds)
        if timed is None:
            timed = self._timed[seconds] = timeout(self._callable, seconds)
        return timed


def run_coroutine(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that runs an `async def` function to its end."""

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        return asyncio.run(func(*args, **kwargs))

    return run


def timeout(f: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Return `f` with a limit on its time.

    In the main thread of a process, as in a worker, the limit interrupts whatever Python waits for; in another thread
    it takes effect when the thread next runs Python code.

    Args:
        f: a function.
        seconds: how long it may run; 0 or less ends it at once.

    Returns:
        A function like `f` that raises AppTimeout when the time is over.
    """

    @functools.wraps(f)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if seconds <= 0:
            raise AppTimeout(_text(f, seconds))
        limit = _limit_by_signal if _can_use_alarm() else _limit_by_thread
        return limit(f, seconds, args, kwargs)

    return limited


def _text(f: Callable[..., Any], seconds: float) -> str:
    return f"{getattr(f, '__name__', 'the app')} did not end within its walltime of {seconds:g} s"


def _can_use_alarm() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )


def _limit_by_signal(f: Callable[..., Any], seconds: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def expired(*_: object) -> None:
        raise AppTimeout(_text(f, seconds))

    before = signal.signal(signal.SIGALRM, expired)
    try:
        # Again every tenth of a second, for a function that catches the exception in a loop.
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
        try:
            return f(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def _limit_by_thread(f: Callable[..., Any], seconds: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    ident = ctypes.c_ulong(threading.get_ident())
    lock, ended = threading.Lock(), False
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def expire() -> None:
        with lock:
            if not ended:
                raise_in(ident, ctypes.py_object(AppTimeout))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        return f(*args, **kwargs)
    except AppTimeout as e:
        if e.args:
            raise
        # Raised by the timer, which can give a class only: say what happened.
        raise AppTimeout(_text(f, seconds)) from None
    finally:
        # Under the lock, the timer has either fired (and its exception is pending or was raised) or never will.
        with lock:
            ended = True
            raise_in(ident, None)
        timer.cancel()
        timer.join()
