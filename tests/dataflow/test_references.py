"""References to results that have stayed with an engine: alone, in futures, and in the graph's decisions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.references import Reference, arrived_value, arriving, packing
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.executors.base import Call, ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON


class Kept(Reference):
    """A reference that says when it is fetched, and by whom."""

    def __init__(self, executor: str, outcome: Outcome) -> None:
        super().__init__(executor)
        self.outcome = outcome
        self.fetched: list[str] = []

    def fetch(self, done: Callable[[Outcome], object]) -> None:
        self.fetched.append(threading.current_thread().name)
        done(self.outcome)


class Engine(ParslExecutor):
    """Makes calls at once, and keeps what they return; a reference among its arguments is its own value."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self.kept: list[Kept] = []
        self.held: list[tuple[Call, Any]] = []

    def start(self) -> None:
        pass

    def submit(self, func: Any, resource_specification: dict[str, Any], *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError("the kernel launches")

    def launch(self, call: Call) -> None:
        args = [a.outcome.result if isinstance(a, Kept) else a for a in call.args]
        reference = Kept(self.label, Value(call.func(*args)))
        self.kept.append(reference)
        self.held.append((call, reference))

    def release(self) -> None:
        held, self.held = self.held, []
        for call, reference in held:
            call.done(Value(reference))

    def shutdown(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    return Engine("engine")


@pytest.fixture
def kernel(engine: Engine, tmp_path: Path) -> Iterator[DataFlowKernel]:
    here = ThreadPoolExecutor(label="here")
    with DataFlowKernel(Config(executors=[engine, here], run_dir=str(tmp_path), strategy="none")) as kernel:
        yield kernel


def call(kernel: DataFlowKernel, where: str, function: Any, *args: Any, **options: Any) -> Any:
    return python_app(function, data_flow_kernel=kernel, executors=[where], **options)(*args)


def release(kernel: DataFlowKernel, engine: Engine) -> None:
    """Let all calls end that the engine has been given so far."""
    kernel.loop.call(engine.release)


def double(x: int) -> int:
    return 2 * x


# -- alone ------------------------------------------------------------------------------------------------------------


def test_get_returns_the_value_or_raises_why_there_is_none() -> None:
    assert Kept("e", Value(3)).get() == 3
    with pytest.raises(OSError, match="gone"):
        Kept("e", Error(OSError("gone"))).get()


def test_packing_and_arriving_are_of_one_thread_and_one_block() -> None:
    with packing() as found:
        assert Kept("e", Value(1)).__reduce__() == (arrived_value, (0,))
        assert Kept("e", Value(1)).__reduce__() == (arrived_value, (1,))
        assert len(found) == 2
    with arriving(lambda number: number * 10):
        assert arrived_value(3) == 30


# -- in a kernel ------------------------------------------------------------------------------------------------------


def test_a_result_that_nobody_of_the_engine_waits_for_is_fetched_before_it_is_told(
    kernel: DataFlowKernel, engine: Engine
) -> None:
    one = call(kernel, "engine", double, 1)
    release(kernel, engine)
    assert one.result(timeout=SOON) == 2
    assert one.reference is None
    assert engine.kept[0].fetched == ["parsl-loop"]


def test_one_that_only_the_engine_waits_for_is_fetched_by_whoever_asks(kernel: DataFlowKernel, engine: Engine) -> None:
    one = call(kernel, "engine", double, 1)
    two = call(kernel, "engine", double, one)
    release(kernel, engine)
    assert one.exception(timeout=SOON) is None
    assert one.reference is engine.kept[0]
    release(kernel, engine)
    assert two.result(timeout=SOON) == 4
    assert engine.kept[0].fetched == []
    assert one.result() == 2
    assert one.result() == 2
    assert engine.kept[0].fetched == ["MainThread"]


def test_a_later_task_elsewhere_has_it_fetched_once(kernel: DataFlowKernel, engine: Engine) -> None:
    one = call(kernel, "engine", double, 1)
    call(kernel, "engine", double, one)
    release(kernel, engine)
    assert one.exception(timeout=SOON) is None
    late = [call(kernel, "here", double, one) for _ in range(2)]
    assert [f.result(timeout=SOON) for f in late] == [4, 4]
    assert engine.kept[0].fetched[0] == "parsl-loop"
    assert one.reference is None


def test_a_value_that_cannot_be_had_fails_what_needs_it(kernel: DataFlowKernel, engine: Engine) -> None:
    one = call(kernel, "engine", double, 1)
    call(kernel, "engine", double, one)
    release(kernel, engine)
    assert one.exception(timeout=SOON) is None
    engine.kept[0].outcome = Error(OSError("the engine is gone"))
    error = call(kernel, "here", double, one).exception(timeout=SOON)
    assert isinstance(error, DependencyError)
    assert "the engine is gone" in str(error)
    with pytest.raises(OSError, match="gone"):
        one.result()


def test_what_is_remembered_is_fetched_at_once(kernel: DataFlowKernel, engine: Engine) -> None:
    one = call(kernel, "engine", double, 1, cache=True)
    call(kernel, "engine", double, one)
    release(kernel, engine)
    assert one.exception(timeout=SOON) is None
    assert one.reference is None
