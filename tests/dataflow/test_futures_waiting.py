"""AppFuture and those who wait for it: waiters, races, callbacks, what follows; no kernel."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    TimeoutError,  # noqa: A004 - not the builtin one before Python 3.11
    as_completed,
    wait,
)
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.futures import AppFuture, LazyFuture
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value

SOON = 10.0
LATER = 60.0  # for who should be woken long before


class Kernel:
    """Keeps what its futures ask of it."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Any, ...]] = []
        self.cancelling: Callable[[TaskRecord], bool] = lambda _: False

    def submit(self, func: Any, app_args: Any, executors: Any, app_kwargs: Any) -> str:
        self.submitted.append((func, app_args, executors, app_kwargs))
        return "a future"

    def cancel_task(self, task: TaskRecord) -> bool:
        return self.cancelling(task)

    def refuse_to_wait(self, task: TaskRecord) -> None:
        if threading.current_thread().name == "the loop":
            raise RuntimeError("not here")


def app() -> None: ...


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def future(kernel: Kernel) -> AppFuture[Any]:
    return make(kernel)


def make(kernel: Kernel | None = None) -> AppFuture[Any]:
    record = TaskRecord(7, kernel or Kernel(), app, (), {}, "threads", {})  # type: ignore[arg-type]
    record.app_fu = AppFuture(record)
    return record.app_fu


def settle(future: AppFuture[Any], outcome: Outcome) -> None:
    """Do what the loop and the helper do."""
    if future.settle(outcome):
        future.run_callbacks()


# -- waiters ----------------------------------------------------------------------------------------------------------


OUTCOMES = {"result": Value(1), "exception": Error(ValueError()), "cancelled": Error(CancelledError())}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_wait_knows_what_is_done_before(future: AppFuture[Any], outcome: Outcome) -> None:
    other = make()
    settle(future, outcome)
    assert wait([future, other], timeout=0) == ({future}, {other})
    assert list(as_completed([future])) == [future]


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_wait_is_woken_by_what_is_done_later(future: AppFuture[Any], outcome: Outcome) -> None:
    others: list[Future[Any]] = [make(), Future()]
    begun = threading.Barrier(2)

    def end() -> None:
        begun.wait(SOON)
        settle(future, outcome)

    thread = threading.Thread(target=end)
    thread.start()
    begun.wait(SOON)
    assert wait([future, *others], timeout=SOON, return_when=FIRST_COMPLETED) == ({future}, set(others))
    thread.join(SOON)


def test_wait_for_the_first_exception() -> None:
    futures = [make() for _ in range(3)]
    settle(futures[0], Value(1))
    assert wait(futures, timeout=0, return_when=FIRST_EXCEPTION).done == {futures[0]}
    settle(futures[1], Error(ValueError()))
    assert wait(futures, timeout=SOON, return_when=FIRST_EXCEPTION).not_done == {futures[2]}


def test_as_completed_gives_them_as_they_come() -> None:
    futures = [make() for _ in range(4)]
    settle(futures[2], Value(1))
    coming = as_completed(futures, timeout=SOON)
    assert next(coming) is futures[2]
    for i in (3, 0, 1):
        settle(futures[i], Value(1))
        assert next(coming) is futures[i]


def test_as_completed_times_out(future: AppFuture[Any]) -> None:
    with pytest.raises(TimeoutError):
        list(as_completed([future], timeout=0.01))


@given(
    waiters=st.lists(st.sampled_from(["result", "exception", "wait", "as_completed", "callback"]), max_size=6),
    outcome=st.sampled_from(sorted(OUTCOMES)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=120)
def test_no_waiter_misses_the_end(waiters: list[str], outcome: str, seed: int) -> None:
    """Whoever begins to wait before, while or after the future is settled sees its end."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        race(waiters, outcome, seed)
    finally:
        sys.setswitchinterval(interval)


def race(waiters: list[str], outcome: str, seed: int) -> None:
    future = make()
    seen: SimpleQueue[str] = SimpleQueue()
    begin = threading.Barrier(len(waiters) + 1)

    def ask(question: Callable[..., Any]) -> None:
        try:
            question(timeout=LATER)
            seen.put("result")
        except CancelledError:
            seen.put("cancelled")
        except ValueError:
            seen.put("exception")

    def run(way: str) -> None:
        begin.wait(SOON)
        if way in ("result", "exception"):
            ask(getattr(future, way))
        elif way == "wait":
            seen.put("waited" if wait([future], timeout=LATER).done else "missed")
        elif way == "as_completed":
            seen.put("waited" if list(as_completed([future], timeout=LATER)) else "missed")
        else:
            future.add_done_callback(lambda f: seen.put("called" if f is future else "missed"))

    threads = [threading.Thread(target=run, args=(way,)) for way in waiters]
    for thread in threads:
        thread.start()
    begin.wait(SOON)
    for _ in range(Random(seed).randrange(200)):
        pass
    settle(future, OUTCOMES[outcome])
    got = sorted(seen.get(timeout=SOON) for _ in waiters)
    asked = {"result": outcome, "exception": "result" if outcome == "exception" else outcome}
    others = {"wait": "waited", "as_completed": "waited", "callback": "called"}
    assert got == sorted({**asked, **others}[way] for way in waiters)
    for thread in threads:
        thread.join(SOON)


def test_the_state_never_changes_under_who_holds_the_condition(future: AppFuture[Any]) -> None:
    """`wait` looks at the state twice while it does, and counts wrongly if it has changed in between."""
    with future._condition:
        thread = threading.Thread(target=settle, args=(future, Value(1)))
        thread.start()
        thread.join(0.05)
        assert not future.done()
    thread.join(SOON)
    assert future.done()


def others_wait(future: AppFuture[Any]) -> bool:
    """Tell whether another thread, asking for the condition now, would have to wait for this one."""
    lock = vars(future).get("lock")
    return lock._is_owned() if isinstance(lock, threading.Condition) else lock is not None and not future.done()


def interrupted_at(line: int, future: AppFuture[Any], outcome: Outcome, act: Callable[[], object]) -> bool:
    """Settle a future, and act as another thread might before one line of that; return False without such a line."""
    left = line
    acted = False

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left, acted
        if frame.f_code not in (LazyFuture.settle.__code__, LazyFuture._take.__code__):
            return None
        if event == "line":
            left -= 1
            if left < 0 and not acted and not others_wait(future):
                acted = True
                act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        settle(future, outcome)
    finally:
        sys.settrace(before)
    return acted


@pytest.mark.parametrize("had_a_waiter", [False, True])
@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_what_comes_between_two_lines_of_settling_is_not_lost(outcome: Outcome, had_a_waiter: bool) -> None:
    line = 0
    while True:
        future = make()
        if had_a_waiter:
            wait([future], timeout=0)
        seen: list[Any] = []
        data: list[DataFuture] = []

        def act(future: AppFuture[Any] = future, seen: list[Any] = seen, data: list[DataFuture] = data) -> None:
            future.add_done_callback(seen.append)
            data.append(DataFuture(future, File("x")))

        if not interrupted_at(line, future, outcome, act):
            break
        assert seen == [future]
        assert data[0].done()
        line += 1
    assert line > 5


def test_many_threads_wait_for_one(future: AppFuture[Any]) -> None:
    results: SimpleQueue[Any] = SimpleQueue()
    threads = [threading.Thread(target=lambda: results.put(future.result(SOON))) for _ in range(20)]
    for thread in threads:
        thread.start()
    settle(future, Value("for all"))
    assert [results.get(timeout=SOON) for _ in threads] == ["for all"] * 20
    for thread in threads:
        thread.join(SOON)


# -- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_before_and_after_in_order(future: AppFuture[Any]) -> None:
    seen: list[Any] = []
    future.add_done_callback(lambda f: seen.append(("first", f)))
    future.add_done_callback(lambda f: seen.append(("second", f)))
    assert future.settle(Value(1)) is True
    assert seen == []
    future.run_callbacks()
    future.add_done_callback(lambda f: seen.append(("late", f)))
    assert seen == [("first", future), ("second", future), ("late", future)]


def test_without_callbacks_nothing_is_left_to_do(future: AppFuture[Any]) -> None:
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    assert future.settle(Value(1)) is False


@pytest.mark.parametrize("error", [ValueError("callback"), SystemExit(1)], ids=["Exception", "SystemExit"])
def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    future: AppFuture[Any], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise error

    seen: list[Any] = []
    future.add_done_callback(fail)
    future.add_done_callback(seen.append)
    with caplog.at_level(logging.ERROR, logger="parsl"):
        settle(future, Value(1))
    assert seen == [future]
    assert [r.exc_info[1] for r in caplog.records if r.exc_info] == [error]


def test_called_callbacks_are_forgotten(future: AppFuture[Any]) -> None:
    class Big:
        def __call__(self, _: Any) -> None: ...

    big = Big()
    gone = weakref.ref(big)
    future.add_done_callback(big)
    settle(future, Value(1))
    del big
    gc.collect()
    assert gone() is None


# -- what follows a future --------------------------------------------------------------------------------------------


def test_a_data_future_ends_with_its_task_before_any_callback(future: AppFuture[Any]) -> None:
    file = File("/data/x")
    data = DataFuture(future, file)
    staged = DataFuture(data, file.cleancopy())
    seen: list[Any] = []
    future.add_done_callback(lambda _: seen.append("task"))
    staged.add_done_callback(lambda _: seen.append("staged"))
    assert future.settle(Value(0)) is True
    assert data.result(timeout=0) is file
    assert staged.done()
    assert seen == []
    future.run_callbacks()
    assert seen == ["task", "staged"]


def test_a_data_future_of_a_settled_task(future: AppFuture[Any]) -> None:
    settle(future, Error(KeyError("x")))
    assert isinstance(DataFuture(future, File("x")).exception(timeout=0), KeyError)


def test_a_data_future_of_a_cancelled_task(future: AppFuture[Any]) -> None:
    data = DataFuture(future, File("x"))
    settle(future, Error(CancelledError()))
    assert data.cancelled()
    assert wait([data], timeout=0).done == {data}
    with pytest.raises(CancelledError):
        data.result(timeout=0)


def test_who_waits_for_a_data_future_is_woken(future: AppFuture[Any]) -> None:
    data = DataFuture(future, File("x"))
    results: SimpleQueue[Any] = SimpleQueue()
    thread = threading.Thread(target=lambda: results.put(data.result(SOON)))
    thread.start()
    settle(future, Value(0))
    assert results.get(timeout=SOON) is data.file_obj
    thread.join(SOON)
