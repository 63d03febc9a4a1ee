"""What the kernel relies on in an executor, and what a third-party one gets for free."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any

import pytest

from parsl import python_app
from parsl.app.errors import RemoteExceptionWrapper
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.executors.base import FutureCall, ParslExecutor, outcome_of, outcome_of_result
from tests.kernels import SOON, loaded


class Minimal(ParslExecutor):
    """As little as a third-party executor may have: three methods, no call of the base's constructor."""

    label = "minimal"

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.futures: list[Future[Any]] = []

    def start(self) -> None:
        self.events.append(("start", self.run_dir, self.run_id))

    def submit(self, func: Any, resource_specification: dict[str, Any], *args: Any, **kwargs: Any) -> Future[Any]:
        self.events.append(("submit", resource_specification, args, kwargs))
        future: Future[Any] = Future()
        self.futures.append(future)
        try:
            future.set_result(func(*args, **kwargs))
        except Exception as e:
            future.set_result(RemoteExceptionWrapper(type(e), e, e.__traceback__))
        return future

    def shutdown(self) -> None:
        self.events.append(("shutdown",))


def test_three_methods_are_enough(tmp_path: Path) -> None:
    executor = Minimal()
    with loaded(tmp_path, executors=[executor]) as kernel:
        assert executor.events == [("start", kernel.run_dir, kernel.run_id)]
        app = python_app(lambda a, b=0: a / b)
        assert app(app(6, b=3), b=2).result(timeout=SOON) == 1
        error = app(1, parsl_resource_specification={"cores": 2}).exception(timeout=SOON)
        assert isinstance(error, ZeroDivisionError)
        assert executor.monitor_resources() is True
    assert executor.events[1:] == [
        ("submit", {}, (6,), {"b": 3}),
        ("submit", {}, (2.0,), {"b": 2}),
        ("submit", {"cores": 2}, (1,), {}),
        ("shutdown",),
    ]


def test_a_task_of_such_an_executor_cannot_be_cancelled_once_it_is_launched(tmp_path: Path) -> None:
    class Slow(Minimal):
        def submit(self, func: Any, resource_specification: Any, *args: Any, **kwargs: Any) -> Future[Any]:
            self.future: Future[Any] = Future()
            return self.future

    executor = Slow()
    with loaded(tmp_path, executors=[executor]) as kernel:
        future = python_app(len)("abc")
        kernel.loop.call(lambda: None)
        assert future.cancel() is False
        executor.future.set_result("late")
        assert future.result(timeout=SOON) == "late"
        # Dropping what has not begun is what cancelling is, where that stops nothing.
        assert not executor.stops_calls
        future = python_app(len)("abc")
        kernel.cancel_soon(future.task_record)
        kernel.loop.call(lambda: None)
        assert not future.cancelled()
        executor.future.set_result("later still")
        assert future.result(timeout=SOON) == "later still"
        # One that its own executor cancels is cancelled.
        future = python_app(len)("abc")
        kernel.loop.call(lambda: None)
        executor.future.cancel()
        with pytest.raises(CancelledError):
            future.result(timeout=SOON)


def test_a_submit_that_raises_is_the_tasks_failure(tmp_path: Path) -> None:
    class Full(Minimal):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            raise OSError("no room")

    with loaded(tmp_path, executors=[Full()]):
        assert isinstance(python_app(len)("x").exception(timeout=SOON), OSError)


def test_the_executors_number_of_a_task_is_noted(tmp_path: Path) -> None:
    class Numbering(Minimal):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(*args, **kwargs)
            future.parsl_executor_task_id = 17  # type: ignore[attr-defined]
            return future

    with loaded(tmp_path, executors=[Numbering()]):
        future = python_app(len)("abc")
        assert future.result(timeout=SOON) == 3
        assert future.task_record.executor_id == 17


def test_the_base_is_abstract_and_a_context_manager() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ParslExecutor()  # type: ignore[abstract]
    executor = Minimal()
    with executor as entered:
        assert entered is executor
    assert executor.events == [("shutdown",)]


def test_what_the_base_is_given_is_kept() -> None:
    class Full(Minimal):
        def __init__(self, **options: Any) -> None:
            ParslExecutor.__init__(self, **options)

    executor = Full(run_dir="/runs", run_id="x", monitoring_messages="queue", hub_address="h", hub_zmq_port=3)
    assert (executor.run_dir, executor.run_id, executor.monitoring_messages) == ("/runs", "x", "queue")
    assert (executor.hub_address, executor.hub_zmq_port, executor.submit_monitoring_radio) == ("h", 3, None)
    assert (Full().run_dir, Full().run_id) == (".", None)


# -- outcomes ---------------------------------------------------------------------------------------------------------


def shown(outcome: Outcome) -> tuple[str, Any]:
    return ("error", outcome.exception) if isinstance(outcome, Error) else ("value", outcome.result)


def test_the_outcome_of_a_future() -> None:
    good, bad, cancelled, wrapped = (Future[Any]() for _ in range(4))
    error = ValueError("no")
    good.set_result(1)
    bad.set_exception(error)
    cancelled.cancel()
    wrapped.set_result(RemoteExceptionWrapper(ValueError, error, None))
    assert shown(outcome_of(good)) == ("value", 1)
    assert shown(outcome_of(bad)) == shown(outcome_of(wrapped)) == ("error", error)
    assert isinstance(shown(outcome_of(cancelled))[1], CancelledError)
    assert shown(outcome_of_result(error)) == ("value", error)


def call() -> FutureCall:
    return FutureCall(len, ("abc",), {}, {}, Future())


@pytest.mark.parametrize("begins", [True, False])
def test_a_call_settles_its_future(begins: bool) -> None:
    good, bad = call(), call()
    error = ValueError()
    for c, outcome in ((good, Value(3)), (bad, Error(error))):
        assert not c.future.running()
        if begins:
            assert c.begin() is True
            assert c.future.running()
            assert c.future.cancel() is False
        c.done(outcome)
    assert good.future.result(timeout=0) == 3
    assert bad.future.exception(timeout=0) is error


@pytest.mark.parametrize("begins", [True, False])
def test_a_call_whose_future_is_cancelled(begins: bool) -> None:
    c = call()
    assert c.future.cancel() is True
    if begins:
        assert c.begin() is False
    c.done(Value(3))
    assert c.future.cancelled()
    assert wait([c.future], timeout=0).done == {c.future}
