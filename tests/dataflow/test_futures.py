"""AppFuture as a standard future: states, waiters, callbacks, races; no kernel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import (
    CancelledError,
    Future,
    InvalidStateError,
    TimeoutError,  # noqa: A004 - not the builtin one before Python 3.11
)
from concurrent.futures import wait as wait_for
from queue import SimpleQueue
from typing import Any

import pytest

from parsl.data_provider.files import File
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value

SOON = 10.0


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


# -- states -----------------------------------------------------------------------------------------------------------


def test_an_open_future(future: AppFuture[Any]) -> None:
    assert isinstance(future, Future)
    assert not future.done()
    assert not future.cancelled()
    assert not future.running()
    for ask in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            ask(timeout=0)
        with pytest.raises(TimeoutError):
            ask(timeout=0.01)


def test_a_result(future: AppFuture[Any]) -> None:
    result = object()
    settle(future, Value(result))
    assert future.done()
    assert not future.cancelled()
    assert not future.running()
    assert future.result() is future.result(timeout=0) is result
    assert future.exception() is None
    assert future.cancel() is False


def test_an_exception(future: AppFuture[Any]) -> None:
    error = ValueError("no")
    settle(future, Error(error))
    assert future.done()
    assert future.exception() is error
    with pytest.raises(ValueError, match="no") as raised:
        future.result()
    assert raised.value is error
    assert future.cancel() is False


def test_a_cancelled_future(future: AppFuture[Any]) -> None:
    settle(future, Error(CancelledError()))
    assert future.done()
    assert future.cancelled()
    assert future.cancel() is True
    for ask in (future.result, future.exception):
        with pytest.raises(CancelledError):
            ask(timeout=0)


def test_of_two_that_settle_a_future_the_first_counts(future: AppFuture[Any]) -> None:
    assert future.cancel_at_once()
    assert future.settle(Value("late")) is False
    assert future.cancel_at_once()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result(timeout=0)


def test_a_future_that_is_settled_cannot_be_cancelled(future: AppFuture[Any]) -> None:
    settle(future, Value("first"))
    assert not future.cancel_at_once()
    assert future.result() == "first"
    future._condition  # noqa: B018 - made when it is looked at
    assert not future.cancel_at_once()
    assert not future.cancelled()


def test_who_waits_is_woken_by_a_cancel_and_callbacks_run_once(future: AppFuture[Any]) -> None:
    called: list[Any] = []
    future.add_done_callback(called.append)
    seen: SimpleQueue[Any] = SimpleQueue()
    waiting = threading.Thread(target=lambda: seen.put(wait_for([future], timeout=SOON)))
    waiting.start()
    assert future.cancel_at_once()
    assert seen.get(timeout=SOON).done == {future}
    waiting.join(SOON)
    assert called == [], "users' code is not run by whoever cancels"
    assert future.settle(Error(CancelledError())), "there are callbacks to run"
    future.run_callbacks()
    future.run_callbacks()
    assert called == [future]


def test_many_threads_cancel_and_settle_and_one_of_them_counts() -> None:
    for _ in range(200):
        future = make(Kernel())
        said: list[bool] = []
        begin = threading.Barrier(4)

        def cancel(future: Any = future, said: Any = said, begin: Any = begin) -> None:
            begin.wait(SOON)
            said.append(future.cancel_at_once())

        def end(future: Any = future, begin: Any = begin) -> None:
            begin.wait(SOON)
            future.settle(Value(1))

        threads = [threading.Thread(target=t) for t in (cancel, cancel, cancel, end)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        assert future.done()
        assert said == [future.cancelled()] * 3


def test_cancel_asks_the_kernel(future: AppFuture[Any], kernel: Kernel) -> None:
    asked: list[TaskRecord] = []
    kernel.cancelling = lambda task: not asked.append(task)  # type: ignore[func-returns-value]
    assert future.cancel() is True
    assert asked == [future.task_record]


def test_a_launched_task_is_running(future: AppFuture[Any]) -> None:
    future.task_record.try_launched = 1.0
    future.task_record.status = States.launched
    assert future.running()
    future.task_record.status = States.pending  # after a failure that is retried
    assert not future.running()
    future.task_record.status = States.joining
    assert future.running()
    settle(future, Value(1))
    assert not future.running()


def test_waiting_on_the_kernels_own_thread_is_refused_unless_it_is_done(future: AppFuture[Any]) -> None:
    seen: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        for question in (future.result, future.exception):
            try:
                seen.put(question())
            except RuntimeError as e:
                seen.put(str(e))

    for expected in (["not here", "not here"], [5, None]):
        thread = threading.Thread(target=ask, name="the loop")
        thread.start()
        assert [seen.get(timeout=SOON) for _ in range(2)] == expected
        thread.join(SOON)
        settle(future, Value(5))


def test_nobody_else_can_settle_a_settled_future(future: AppFuture[Any]) -> None:
    settle(future, Value(1))
    with pytest.raises(InvalidStateError):
        future.set_result(2)
    assert future.result() == 1


def test_task_and_state_are_told(future: AppFuture[Any]) -> None:
    assert future.tid == 7
    assert future.task_status() == "unsched"
    assert "task 7 app, unsched" in repr(future)
    assert future.stdout is future.stderr is None
    assert future.outputs == []


# -- asyncio ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "later"])
def test_await(future: AppFuture[Any], when: str) -> None:
    async def main() -> Any:
        if when == "later":
            threading.Thread(target=settle, args=(future, Value("awaited"))).start()
        return await future

    if when == "before":
        settle(future, Value("awaited"))
    assert asyncio.run(main()) == "awaited"


def test_awaiting_many_and_a_failure() -> None:
    futures = [make() for _ in range(3)]

    async def main() -> list[Any]:
        gathered = asyncio.gather(*[asyncio.wrap_future(f) for f in futures], return_exceptions=True)
        await asyncio.sleep(0)
        for i, future in enumerate(futures):
            settle(future, Error(KeyError(i)) if i == 1 else Value(i))
        return await asyncio.wait_for(gathered, SOON)

    first, error, last = asyncio.run(main())
    assert (first, repr(error), last) == (0, "KeyError(1)", 2)


def test_a_cancelled_await_cancels_the_task(future: AppFuture[Any], kernel: Kernel) -> None:
    asked: list[TaskRecord] = []

    def cancel(task: TaskRecord) -> bool:
        asked.append(task)
        settle(future, Error(CancelledError()))
        return True

    kernel.cancelling = cancel

    async def waiting() -> Any:
        return await future

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting(), 0.01)

    asyncio.run(main())
    assert asked == [future.task_record]


# -- items and attributes ---------------------------------------------------------------------------------------------


def test_items_and_attributes_are_tasks_of_their_own(future: AppFuture[Any], kernel: Kernel) -> None:
    assert future["key"] == "a future"
    assert future.name == "a future"
    (getitem, args, executors, kwargs), (getattribute, other, _, _) = kernel.submitted
    assert (args, executors, kwargs) == ((future, "key"), ["_parsl_internal"], {})
    assert other == (future, "name")
    assert getitem({"key": 1}, "key") == 1
    assert getattribute(File("/data/x"), "filename") == "x"


@pytest.mark.parametrize("name", ["_private", "__len__", "_repr_html_", "__array__"])
def test_names_with_an_underscore_are_refused_at_once(future: AppFuture[Any], kernel: Kernel, name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(future, name)
    assert kernel.submitted == []


def test_a_future_is_no_iterable(future: AppFuture[Any], kernel: Kernel) -> None:
    """It has items, but no end of them."""
    with pytest.raises(TypeError):
        iter(future)
    with pytest.raises(TypeError):
        list(future)
    with pytest.raises(TypeError):
        assert 1 in future
    assert kernel.submitted == []


def test_an_unused_future_holds_no_lock() -> None:
    """A graph of a million tasks has a million of these."""
    assert set(vars(make())) == {"task_record"}
