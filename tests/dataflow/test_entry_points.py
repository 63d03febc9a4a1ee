"""The kernel's methods that other libraries call: each is an event, from any thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from parsl import join_app, python_app
from parsl.app.errors import RemoteExceptionWrapper
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.states import States
from parsl.errors import InternalConsistencyError
from tests.kernels import SOON


@python_app
def add(*numbers: int) -> int:
    return sum(numbers)


def test_launching_by_hand_launches_nothing_early_and_nothing_twice(kernel: DataFlowKernel) -> None:
    runs: list[int] = []
    app = python_app(runs.append)
    never: Future[int] = Future()
    waiting = app(never)
    done = app(1)
    done.result(timeout=SOON)
    for future in (waiting, done):
        kernel.launch_if_ready(future.task_record)
        assert kernel.launch_task(future.task_record) is future
    kernel.loop.call(lambda: None)
    assert runs == [1]
    never.set_result(2)
    waiting.result(timeout=SOON)
    assert runs == [1, 2]


@pytest.fixture
def running(kernel: DataFlowKernel) -> Any:
    """A task that runs until the end of the test."""
    release, begun = threading.Event(), threading.Event()
    future = python_app(lambda: (begun.set(), release.wait(SOON)))()
    assert begun.wait(SOON)
    yield future
    release.set()


def test_the_end_of_an_executors_future_ends_the_task(kernel: DataFlowKernel, running: Any) -> None:
    ended: Future[str] = Future()
    ended.set_result("from elsewhere")
    kernel.handle_exec_update(running.task_record, ended)
    assert running.result(timeout=SOON) == "from elsewhere"


@pytest.mark.parametrize("how", ["exception", "wrapped", "cancelled"])
def test_its_failure_is_the_tasks(kernel: DataFlowKernel, running: Any, how: str) -> None:
    ended: Future[Any] = Future()
    error = ValueError("elsewhere")
    if how == "exception":
        ended.set_exception(error)
    elif how == "wrapped":
        ended.set_result(RemoteExceptionWrapper(ValueError, error, None))
    else:
        ended.cancel()
    kernel.handle_exec_update(running.task_record, ended)
    if how == "cancelled":
        kernel.loop.call(lambda: None)
        assert running.cancelled()
    else:
        assert running.exception(timeout=SOON) is error


def test_updates_of_joins_and_apps_are_heard_and_change_nothing(kernel: DataFlowKernel) -> None:
    inner: Future[int] = Future()
    join = join_app(lambda: inner)()
    kernel.handle_join_update(join.task_record, None)
    kernel.handle_app_update(join.task_record, join)
    kernel.loop.call(lambda: None)
    assert not join.done()
    inner.set_result(3)
    assert join.result(timeout=SOON) == 3


def test_states_move_by_the_table_only(kernel: DataFlowKernel) -> None:
    never: Future[int] = Future()
    waiting = add(never)
    with pytest.raises(InternalConsistencyError, match="pending to joining"):
        kernel.update_task_state(waiting.task_record, States.joining)
    kernel.update_task_state(waiting.task_record, States.launched)
    assert waiting.task_status() == "launched"
    assert kernel.task_state_counts[States.launched] == 1


def test_futures_are_described(kernel: DataFlowKernel) -> None:
    foreign: Future[int] = Future()
    task = add(1)
    assert kernel.render_future_description(task) == f"task {task.tid}"
    assert kernel.render_future_description(DataFuture(task, File("x"), tid=task.tid)) == f"task {task.tid}"
    assert kernel.render_future_description(DataFuture(foreign, File("x"))).startswith("<DataFuture")
    assert kernel.render_future_description(foreign) == repr(foreign)


@pytest.mark.parametrize(("kwargs", "inhibited"), [({}, False), ({"_parsl_staging_inhibit": True}, True)])
def test_whether_staging_is_off(kwargs: dict[str, Any], inhibited: bool) -> None:
    assert DataFlowKernel.check_staging_inhibited(kwargs) is inhibited
