"""Failures that travel from task to task."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
from typing import Any

import pytest

from parsl.dataflow.errors import BadCheckpoint, DataFlowException, DependencyError, JoinError, PropagatedException
from parsl.errors import ParslError


def chain(length: int, root: BaseException) -> DependencyError:
    error: Any = root
    for task in range(1, length + 1):
        error = DependencyError([(error, f"task {task - 1}")], task)
    return error  # type: ignore[no-any-return]


def test_hierarchy() -> None:
    assert issubclass(DataFlowException, ParslError)
    assert issubclass(BadCheckpoint, DataFlowException)
    assert issubclass(DependencyError, PropagatedException)
    assert issubclass(JoinError, PropagatedException)
    assert issubclass(PropagatedException, DataFlowException)


def test_the_direct_cause() -> None:
    root = ValueError("bad")
    error = DependencyError([(root, "task 3")], 4)
    assert error.dependent_exceptions_tids == [(root, "task 3")]
    assert error.task_id == 4
    assert error.__cause__ is root
    assert str(error) == "Dependency failure for task 4: task 3 failed with ValueError: bad"


def test_each_link_holds_the_previous_one_and_the_root_is_the_cause() -> None:
    root = ValueError("bad")
    error: Any = chain(3, root)
    assert str(error) == "Dependency failure for task 3: task 2 failed; the first cause is ValueError: bad in task 0"
    for _ in range(3):
        assert isinstance(error, DependencyError)
        assert error.__cause__ is root
        error = error.dependent_exceptions_tids[0][0]
    assert error is root


def test_several_failures_are_named_and_the_first_stands_for_them() -> None:
    first, second = ValueError("one"), KeyError("two")
    error = JoinError([(first, "task 3"), (second, "<Future at 0x1>")], 5)
    assert error.__cause__ is first
    text = str(error)
    assert text.startswith("Join failure for task 5: task 3 and <Future at 0x1> failed;")
    assert "ValueError: one in task 3" in text


def test_many_failures_are_counted() -> None:
    error = DependencyError([(ValueError(), f"task {i}") for i in range(1000)], 1000)
    assert "task 0, task 1, task 2 and 997 more failed" in str(error)
    assert len(error.dependent_exceptions_tids) == 1000


def test_a_root_that_stands_for_itself_although_it_has_a_cause() -> None:
    root = ValueError("mine")
    root.__cause__ = KeyError("a detail of the app's own")
    assert chain(5, root).__cause__ is root


def test_no_causes_at_all() -> None:
    error = DependencyError([], 1)
    assert error.__cause__ is None
    assert "no cause is recorded" in str(error)
    assert chain(1, error).__cause__ is error


class RaisesInStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


@pytest.mark.parametrize(
    ("root", "shown"),
    [
        (RaisesInStr(), "failed with RaisesInStr"),
        (ValueError(), "failed with ValueError"),
        (ValueError("first\nsecond"), "failed with ValueError: first"),
    ],
    ids=["raises in str", "empty", "two lines"],
)
def test_the_message_stays_one_line(root: Exception, shown: str) -> None:
    assert str(chain(1, root)).endswith(shown)


def test_a_long_text_is_cut() -> None:
    assert len(str(chain(1, ValueError("x" * 10_000)))) < 400


def test_own_descriptions() -> None:
    error = PropagatedException([(ValueError("bad"), "task 1")], 2, failure_description="Weather")
    assert str(error).startswith("Weather for task 2: task 1 failed")
    with pytest.raises(TypeError):
        PropagatedException([], 2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "error",
    [
        chain(1, ValueError("bad")),
        chain(50, ValueError("bad")),
        JoinError([(ValueError("a"), "task 1"), (KeyError("b"), "task 2")], 3),
        PropagatedException([(ValueError("bad"), "task 1")], 2, failure_description="Weather"),
    ],
    ids=["one", "chain", "join", "base"],
)
def test_pickling(error: PropagatedException) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert repr(copy) == repr(error)
    assert copy.task_id == error.task_id
    inner = copy
    while isinstance(inner, PropagatedException):
        inner = inner.dependent_exceptions_tids[0][0]
    assert copy.__cause__ is inner


def test_a_bad_checkpoint_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(BadCheckpoint("x/tasks.pkl is cut off")))
    assert str(copy) == copy.reason == "x/tasks.pkl is cut off"


def calls_made(action: Any) -> int:
    """Count the Python and C functions that an action calls: a cost that no other load on the machine changes."""
    count = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what other tests have left to collect has finalizers, whose calls would be counted
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_a_link_costs_the_same_at_any_depth() -> None:
    short, long = chain(2, ValueError("bad")), chain(10_000, ValueError("bad"))
    for action in (lambda e: DependencyError([(e, "task")], 1), str, repr):
        assert calls_made(lambda action=action: action(short)) == calls_made(lambda action=action: action(long))


def test_a_chain_of_100000_links_on_a_small_stack() -> None:
    texts: list[str] = []
    made: list[BaseException] = []

    def work() -> None:
        made.append(chain(100_000, ValueError("bad")))
        texts.append(str(made[0]))
        texts.append(repr(made[0]))

    # All links of such a chain go one after the other, for which Python 3.13 takes more than a small stack. So neither
    # this one goes there, nor what other tests have left to the collector.
    gc.collect()
    gc.disable()
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join(timeout=60)
    gc.enable()
    made.clear()
    assert len(texts) == 2
    assert "task 100000: task 99999 failed; the first cause is ValueError: bad in task 0" in texts[0]
