"""What becomes of a call: its task, without a kernel around it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from parsl import AUTO_LOGNAME
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER, SHALLOW_DEPENDENCY_RESOLVER
from parsl.dataflow.intake import Intake
from parsl.dataflow.placement import INTERNAL, Placement
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.utils import AtomicIDCounter


def add(*numbers: int, **named: Any) -> int:
    return sum(numbers)


class FakeFiling:
    """Notes which tasks have their files seen to."""

    def __init__(self) -> None:
        self.filed: list[tuple[int, bool]] = []
        self.error: Exception | None = None

    def file(self, task: TaskRecord, *, stage: bool) -> None:
        self.filed.append((task.id, stage))
        if self.error is not None:
            raise self.error


class Desk:
    """An intake with all that it asks for."""

    def __init__(self) -> None:
        self.filing = FakeFiling()
        self.spoiled: list[tuple[TaskRecord, BaseException]] = []
        self.kernel: Any = object()
        executors: Any = dict.fromkeys(("a", "b", INTERNAL))
        placement = Placement(executors, INTERNAL)
        placement.refresh()
        filing: Any = self.filing
        self.intake = Intake(
            self.kernel,
            AtomicIDCounter(),
            placement,
            filing,
            resolver=DEEP_DEPENDENCY_RESOLVER,
            joining=SHALLOW_DEPENDENCY_RESOLVER,
            autopath=lambda task, kind: f"{task.id}.{kind}",
            spoiled=lambda *failure: self.spoiled.append(failure),
        )

    def take(self, *args: Any, executors: Any = "all", join: bool = False, **kwargs: Any) -> TaskRecord:
        return self.intake.take(add, args, executors, False, None, kwargs, join)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_call_becomes_a_task_that_nobody_has_seen(desk: Desk) -> None:
    first, second = desk.take(1, 2, executors=["a"]), desk.take(x=3, executors=["a"])
    assert (first.id, second.id) == (0, 1)
    assert (first.func, first.args, first.kwargs, second.kwargs) == (add, (1, 2), {}, {"x": 3})
    assert (first.dfk, first.executor, first.status) == (desk.kernel, "a", States.unsched)
    assert first.app_fu.task_record is first
    assert not first.depends


@pytest.mark.parametrize(
    ("executors", "join", "executor", "choices"),
    [
        ("all", False, "a", ("a", "b")),
        (["b"], False, "b", None),
        (["b", "a"], False, "b", ("b", "a")),
        ("all", True, INTERNAL, None),
        (["b"], True, INTERNAL, None),
    ],
)
def test_where_a_task_may_run(desk: Desk, executors: Any, join: bool, executor: str, choices: Any) -> None:
    task = desk.take(executors=executors, join=join)
    assert (task.executor, task.choices) == (executor, choices)


def test_special_keywords_are_no_arguments_and_the_callers_are_left_alone(desk: Desk) -> None:
    given = {"parsl_resource_specification": {"priority": 1}, "parsl_executors": ["b"], "x": 3}
    task = desk.intake.take(add, [], ["a"], True, ["x"], given, False)
    assert (task.executor, task.resource_specification, task.kwargs) == ("b", {"priority": 1}, {"x": 3})
    assert (task.memoize, task.ignore_for_cache) == (True, ["x"])
    assert set(given) == {"parsl_resource_specification", "parsl_executors", "x"}


def test_futures_are_found_where_the_resolver_looks(desk: Desk) -> None:
    one, two, three = (Future[int]() for _ in range(3))
    assert not desk.take(1, "x").depends
    assert desk.take(one, [two], x={"y": three}).depends == [one, two, three]
    assert desk.take(one, [two], join=True).depends == [one]
    assert desk.take(inputs=[one, two], join=True).depends == [one, two], "inputs are looked into in any case"
    assert desk.take(inputs=[one, two]).depends == [one, two], "and not twice"


@pytest.mark.parametrize(
    ("args", "kwargs", "filed"),
    [
        ((1, "x", 2.0, None, b"x", True), {}, []),
        (([],), {}, [(0, True)]),
        ((), {"x": 1}, [(0, True)]),
        ((), {"x": 1, "_parsl_staging_inhibit": True}, []),
        ((), {"outputs": [], "_parsl_staging_inhibit": True}, [(0, False)]),
        ((), {"stdout": "out", "_parsl_staging_inhibit": True}, [(0, False)]),
    ],
)
def test_files_are_seen_to_where_there_may_be_some(
    desk: Desk, args: tuple[Any, ...], kwargs: dict[str, Any], filed: list[tuple[int, bool]]
) -> None:
    desk.take(*args, **kwargs)
    assert desk.filing.filed == filed


def test_log_files_are_named_and_do_not_make_calls_differ(desk: Desk) -> None:
    task = desk.take(stdout=AUTO_LOGNAME, stderr="mine")
    assert task.kwargs == {"stdout": "0.stdout", "stderr": "mine"}
    assert task.ignore_for_cache == ["stdout"]


def test_a_call_that_cannot_be_prepared_is_told_and_raises(desk: Desk) -> None:
    desk.filing.error = ValueError("no provider")
    with pytest.raises(ValueError, match="no provider"):
        desk.take([])
    ((task, error),) = desk.spoiled
    assert (task.id, error) == (0, desk.filing.error)


@pytest.mark.parametrize("executors", [["c"], [], "a", [INTERNAL, "c"]])
def test_a_call_for_executors_that_there_are_not_is_no_task(desk: Desk, executors: Any) -> None:
    with pytest.raises(ValueError, match="Task 0"):
        desk.take(executors=executors)
    assert desk.spoiled == []
