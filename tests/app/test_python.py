"""Python apps: results, errors, coroutines, walltime."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import join_app, python_app
from parsl.app.errors import AppTimeout
from parsl.app.python import PythonApp, timeout
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded

SHORT = 0.05  # a walltime that is meant to pass


def spin(seconds: float = SOON) -> str:
    """Keep busy in Python, as a calculation does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "to its end"


# -- results and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "text", [1], {"a": 1}, ValueError("as a value"), int])
def test_a_result_comes_back_as_it_is(kernel: DataFlowKernel, value: Any) -> None:
    assert python_app(lambda: value)().result(timeout=SOON) is value


def test_an_exception_comes_back_as_it_is_with_where_it_was_raised(kernel: DataFlowKernel) -> None:
    error = LookupError("mine")

    @python_app
    def outer() -> None:
        def inner() -> None:
            raise error

        inner()

    future = outer()
    assert future.exception(timeout=SOON) is error
    with pytest.raises(LookupError, match="mine") as raised:
        future.result()
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames[-2:] == ["outer", "inner"]


# -- coroutines -------------------------------------------------------------------------------------------------------


def test_async_functions_are_apps(kernel: DataFlowKernel) -> None:
    @python_app
    async def double(x: int, *, times: int = 1) -> int:
        await asyncio.sleep(0)
        return 2 * x * times

    assert isinstance(double, PythonApp)
    assert double(double(1), times=3).result(timeout=SOON) == 12


def test_async_functions_fail_like_others(kernel: DataFlowKernel) -> None:
    @python_app
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("inside")

    assert isinstance(fail().exception(timeout=SOON), LookupError)


def test_async_apps_run_at_the_same_time(kernel: DataFlowKernel) -> None:
    meeting = threading.Barrier(3)

    @python_app
    async def meet() -> int:
        return await asyncio.to_thread(meeting.wait, SOON)

    futures = [meet() for _ in range(3)]
    assert sorted(f.result(timeout=SOON) for f in futures) == [0, 1, 2]


def test_async_join_apps(kernel: DataFlowKernel) -> None:
    add = python_app(lambda x: x + 1)

    @join_app
    async def join() -> Any:
        first = await add(1)
        return [add(first), add(10)]

    assert join().result(timeout=SOON) == [3, 11]


def test_apps_are_called_and_awaited_inside_asyncio(kernel: DataFlowKernel) -> None:
    add = python_app(lambda x, y=0: x + y)

    async def main() -> Any:
        one = add(1)
        both = await asyncio.gather(one, add(one, y=1))
        with pytest.raises(TypeError):
            await add("x", y=1)
        return both

    assert asyncio.run(main()) == [1, 2]


def test_a_coroutine_has_a_walltime_too(kernel: DataFlowKernel) -> None:
    @python_app
    async def slow(walltime: float = SHORT) -> None:
        await asyncio.sleep(0)
        spin()

    assert isinstance(slow().exception(timeout=SOON), AppTimeout)


# -- walltime on threads ----------------------------------------------------------------------------------------------


def test_a_busy_function_is_stopped(kernel: DataFlowKernel) -> None:
    app = python_app(spin)
    begun = time.monotonic()
    error = app(walltime=SHORT).exception(timeout=SOON)
    assert isinstance(error, AppTimeout)
    assert str(error) == f"spin did not end within its walltime of {SHORT} s"
    assert time.monotonic() - begun < SOON / 2


def test_walltime_may_be_a_default_or_given_at_the_call(kernel: DataFlowKernel) -> None:
    @python_app
    def app(seconds: float, walltime: float | None = SHORT) -> Any:
        spin(seconds)
        return walltime

    assert isinstance(app(SOON).exception(timeout=SOON), AppTimeout)
    assert app(0).result(timeout=SOON) == SHORT
    assert app(0, walltime=SOON).result(timeout=SOON) == SOON
    assert app(2 * SHORT, walltime=None).result(timeout=SOON) is None


@pytest.mark.parametrize("walltime", [0, -1, 0.0])
def test_no_time_at_all(kernel: DataFlowKernel, walltime: float) -> None:
    assert isinstance(python_app(lambda: 1)(walltime=walltime).exception(timeout=SOON), AppTimeout)


@pytest.mark.parametrize("walltime", ["soon", object(), 1j])
def test_a_walltime_that_is_no_number_fails_in_the_future(kernel: DataFlowKernel, walltime: Any) -> None:
    assert isinstance(python_app(lambda: 1)(walltime=walltime).exception(timeout=SOON), TypeError)


def test_walltime_is_no_option_of_the_decorator() -> None:
    with pytest.raises(TypeError, match="walltime"):
        python_app(walltime=1)  # type: ignore[call-overload]


def test_walltime_hides_nothing(kernel: DataFlowKernel) -> None:
    @python_app
    def named(x: int) -> int:
        """Documented."""
        return x

    future = named(3, walltime=SOON)
    assert future.task_record["func_name"] == "named"
    assert future.task_record["func"].__name__ == "named"
    assert future.task_record["func"].__doc__ == "Documented."
    assert future.result(timeout=SOON) == 3


def test_what_the_function_raises_comes_through(kernel: DataFlowKernel) -> None:
    def fail() -> None:
        raise LookupError("in time")

    def own() -> None:
        raise AppTimeout("my own words")

    assert isinstance(python_app(fail)(walltime=SOON).exception(timeout=SOON), LookupError)
    assert str(python_app(own)(walltime=SOON).exception(timeout=SOON)) == "my own words"


def test_walltime_never_strikes_after_the_function_has_ended(tmp_path: Path) -> None:
    """Functions that end, or raise, just when their time is over: each has one end, and the next task none of it."""

    def end(seconds: float, raising: bool) -> str:
        spin(seconds)
        if raising:
            raise LookupError("in time")
        return "in time"

    with loaded(tmp_path, executors=[ThreadPoolExecutor(max_threads=1)]):
        limited, after = python_app(end), python_app(spin)
        ends = []
        for i in range(120):
            ends.append(limited(0.003 + (i % 10 - 5) * 0.0002, i % 2 == 0, walltime=0.003))
            assert after(0.0005).result(timeout=SOON) == "to its end"
        kinds = {type(e.exception(timeout=SOON)) for e in ends}
        assert kinds <= {type(None), LookupError, AppTimeout}
        assert len(kinds) > 1
        texts = {str(e.exception()) for e in ends if isinstance(e.exception(), AppTimeout)}
        assert texts <= {"end did not end within its walltime of 0.003 s"}
        assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


# -- walltime in the main thread, as in a worker ----------------------------------------------------------------------


@pytest.fixture
def alarm() -> Iterator[Callable[[], Any]]:
    """The state of SIGALRM, which must be as before after each test."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda: (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("wait", [threading.Event().wait, signal.pause, spin], ids=["lock", "C call", "busy"])
def test_the_main_thread_is_interrupted_in_whatever_it_does(alarm: Any, wait: Callable[..., Any]) -> None:
    with pytest.raises(AppTimeout, match=r"walltime of 0\.05 s"):
        timeout(wait, SHORT)()


def test_a_function_that_catches_the_exception_is_told_again(alarm: Any) -> None:
    tries = itertools.count()

    def stubborn() -> None:
        while next(tries) < 2:
            try:
                threading.Event().wait()
            except AppTimeout:
                continue
        threading.Event().wait()

    with pytest.raises(AppTimeout):
        timeout(stubborn, SHORT)()
    assert next(tries) == 3


def test_a_function_in_time(alarm: Any) -> None:
    assert timeout(lambda a, b=0: a + b, SOON)(1, b=2) == 3
    with pytest.raises(LookupError):
        timeout({}.__getitem__, SOON)(1)


def test_a_function_with_an_alarm_of_its_own_keeps_it() -> None:
    """Where somebody else uses the alarm, the limit comes from a thread."""
    rings: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, SHORT)
    try:
        with pytest.raises(AppTimeout):
            timeout(spin, 3 * SHORT)()
        assert rings == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_another_handler_is_put_back(alarm: Any) -> None:
    mine = lambda *_: None
    before = signal.signal(signal.SIGALRM, mine)
    try:
        timeout(spin, SOON)(0)
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_limit_keeps_the_functions_name() -> None:
    limited = timeout(spin, 1)
    assert (limited.__name__, limited.__doc__) == (spin.__name__, spin.__doc__)


def test_one_function_is_made_for_each_walltime(kernel: DataFlowKernel) -> None:
    """Workers are sent a function once, and know it by its identity."""
    app = python_app(spin)
    functions = [app(0, walltime=seconds).task_record.func for seconds in (5, 6, 5.0, 6)]
    assert functions[0] is functions[2]
    assert functions[1] is functions[3]
    assert functions[0] is not functions[1]
