"""TaskGraph on chains that are longer than any stack."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from parsl.dataflow.errors import DependencyError
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Outcome, TaskRecord, Value
from tests.dataflow.graph_books import Books

LONG = 100_000


class Deep(Books):
    """Books that measure how deep the stack is where effects are asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.deepest = 0

    def launch(self, task: TaskRecord) -> None:
        self.measure()
        self.on_launch(task)

    def settle(self, task: TaskRecord, outcome: Outcome) -> None:
        self.measure()
        super().settle(task, outcome)

    def measure(self) -> None:
        frame, depth = sys._getframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        self.deepest = max(self.deepest, depth)

    def chain(self, first: Future[Any]) -> TaskRecord:
        future, task = first, None
        for _ in range(LONG):
            task = self.task(future)
            future = task.app_fu
        assert task is not None
        return task


def frames_here() -> int:
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def add_one(task: TaskRecord) -> Value:
    return Value(task.args[0] + 1)


def test_a_long_chain_of_ready_tasks_resolves_on_a_flat_stack() -> None:
    books = Deep()

    def run(task: TaskRecord) -> None:
        books.graph.launched(task)
        books.graph.attempt_done(task, add_one(task))

    books.on_launch = run
    first: Future[int] = Future()
    last = books.chain(first)
    first.set_result(0)
    assert last.app_fu.result(timeout=0) == LONG
    assert books.deepest - frames_here() < 15


def test_a_long_chain_of_memoized_tasks_resolves_on_a_flat_stack() -> None:
    books = Deep()
    books.on_launch = lambda task: books.graph.memo_found(task, add_one(task))
    first: Future[int] = Future()
    last = books.chain(first)
    first.set_result(0)
    assert last.app_fu.result(timeout=0) == LONG
    assert last.status is States.memo_done
    assert books.deepest - frames_here() < 15


@pytest.mark.parametrize("way", ["fails", "is cancelled"])
def test_a_long_chain_fails_on_a_flat_stack_and_its_last_error_knows_the_first(way: str) -> None:
    books = Deep()
    first: Future[int] = Future()
    last = books.chain(first)
    if way == "fails":
        first.set_exception(ValueError("root"))
    else:
        first.cancel()
    failure = last.app_fu.exception(timeout=0)
    assert isinstance(failure, DependencyError)
    assert isinstance(failure.__cause__, ValueError if way == "fails" else CancelledError)
    assert "somebody" in str(failure)
    assert len(str(failure)) < 1000
    assert len(books.ended) == LONG
    assert books.deepest - frames_here() < 15


def test_a_long_chain_of_joins_resolves_on_a_flat_stack() -> None:
    """Each join app returned the future of the next: the innermost end is passed on all the way up."""
    books = Deep()
    innermost: Future[str] = Future()
    future: Future[Any] = innermost
    for _ in range(LONG // 10):
        join = books.task(join=True)
        books.end(join, future)
        future = join.app_fu
    innermost.set_result("from below")
    assert future.result(timeout=0) == "from below"
    assert books.deepest - frames_here() < 15


def test_a_wide_fan_resolves_in_one_go() -> None:
    books = Deep()
    root: Future[int] = Future()
    leaves = [books.task(root) for _ in range(LONG // 10)]
    sink = books.task([leaf.app_fu for leaf in leaves])
    root.set_result(1)
    for leaf in leaves:
        books.end(leaf, 1)
    assert sum(sink.args[0]) == LONG // 10
