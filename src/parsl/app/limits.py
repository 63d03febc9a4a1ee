"""The worker's side of Python apps: limits of time, and coroutines.

Apart from the app itself, so that a worker loads only this.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from parsl import watchdog
from parsl.app.errors import AppTimeout

# Programs that a limited call has started are known by a variable of its own.
_MARK = "PARSL_LIMITED_CALL"
_numbers = itertools.count(1)


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
    it takes effect when the thread next runs Python code. A worker process whose function does not come back to
    Python, or goes on regardless, is ended and replaced; what the function has started is ended in any case.

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
        limit = _limit_by_thread
        if _can_use_alarm():
            limit = _limit_in_worker if watchdog.installed() else _limit_by_signal
        try:
            return limit(f, seconds, args, kwargs)
        except AppTimeout as e:
            if e.args:
                raise
            # Raised by the timer's thread, which can give a class only: say what happened.
            raise AppTimeout(_text(f, seconds)) from None

    # Executors that know how long their workers last look at this.
    limited.parsl_walltime = seconds  # type: ignore[attr-defined]  # functions take attributes
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
    ended = False

    def expired(*_: object) -> None:
        # A signal may have come just before the timer was stopped, and Python call this just after.
        if not ended:
            raise AppTimeout(_text(f, seconds))

    before = signal.signal(signal.SIGALRM, expired)
    try:
        try:
            # Again every tenth of a second, for a function that catches the exception in a loop.
            signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
            return f(*args, **kwargs)
        finally:
            ended = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _limit_in_worker(f: Callable[..., Any], seconds: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Limit a call by a signal, and by the end of the worker where that is not heeded; nothing of it is left then."""
    mark = f"{_MARK}_{os.getpid()}_{next(_numbers)}"
    os.environ[mark] = "1"
    watchdog.arm(seconds, _text(f, seconds))
    try:
        return _limit_by_signal(f, seconds, args, kwargs)
    except AppTimeout:
        watchdog.disarm()
        from parsl.process_trees import kill_marked

        # Programs that it has started know nothing of its end.
        kill_marked({mark: "1"})
        raise
    finally:
        watchdog.disarm()
        del os.environ[mark]


def _limit_by_thread(f: Callable[..., Any], seconds: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    ident = ctypes.c_ulong(threading.get_ident())
    lock, ended, fired = threading.Lock(), False, False

    def expire() -> None:
        nonlocal fired
        with lock:
            if not ended:
                fired = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(AppTimeout))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        try:
            return f(*args, **kwargs)
        finally:
            # Under the lock, the timer has either fired or never will.
            with lock:
                ended = True
            if fired:
                # If the exception is still to come, it comes here. It is not taken back by setting it to nothing:
                # that leaves Python looking for it for ever, at each step of the whole process.
                for _ in range(_STEPS):
                    pass
            timer.cancel()
            timer.join()
    except AppTimeout as e:
        if e.args:
            raise  # of a limit inside this one
        # The timer can raise a class only: say what happened.
        raise AppTimeout(_text(f, seconds)) from None


# Python looks for exceptions from other threads at least once in so many steps of a loop.
_STEPS = 1000
