"""TaskGraph event by event."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from parsl.dataflow.dependency_resolvers import (
    DEEP_DEPENDENCY_RESOLVER,
    SHALLOW_DEPENDENCY_RESOLVER,
    DependencyResolver,
)
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value
from parsl.errors import InternalConsistencyError
from tests.dataflow.graph_books import Books


@pytest.fixture
def books() -> Books:
    return Books()


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_task_alone_is_launched_at_once(books: Books) -> None:
    task = books.task(1, two=2)
    assert books.launched == [task]
    assert (task.args, task.kwargs) == ((1,), {"two": 2})
    books.end(task, "done")
    assert task.app_fu.result(timeout=0) == "done"
    assert books.moves == [(0, "pending"), (0, "launched"), (0, "exec_done")]


def test_a_task_waits_for_every_future_and_gets_their_results(books: Books) -> None:
    foreign: Future[str] = Future()
    first, second = books.task(), books.task()
    third = books.task(first.app_fu, [{"deep": second.app_fu}, foreign], again=first.app_fu)
    books.end(first, 1)
    foreign.set_result("f")
    assert third not in books.launched
    books.end(second, 2)
    assert books.launched[-1] is third
    assert (third.args, third.kwargs) == ((1, [{"deep": 2}, "f"]), {"again": 1})
    assert third.depends == ()


def test_items_of_inputs_are_values_whatever_the_resolver() -> None:
    books = Books(SHALLOW_DEPENDENCY_RESOLVER)
    first = books.task()
    books.end(first, "value")
    second = books.task([first.app_fu], inputs=[first.app_fu, "plain"])
    assert second.kwargs == {"inputs": ["value", "plain"]}
    assert second.args == ([first.app_fu],)


def test_a_join_app_has_a_resolver_of_its_own() -> None:
    books = Books(DEEP_DEPENDENCY_RESOLVER, joining=SHALLOW_DEPENDENCY_RESOLVER)
    first = books.task()
    books.end(first, "value")
    assert books.task([first.app_fu], first.app_fu, join=True).args == ([first.app_fu], "value")
    assert books.task([first.app_fu], first.app_fu).args == (["value"], "value")


def test_the_failure_of_a_dependency_is_named_and_the_task_not_launched(books: Books) -> None:
    foreign: Future[str] = Future()
    good, bad = books.task(), books.task()
    child = books.task(good.app_fu, bad.app_fu, foreign)
    grandchild = books.task(child.app_fu)
    error = books.break_down(bad)
    other = LookupError("elsewhere")
    foreign.set_exception(other)
    books.end(good)
    failure = child.app_fu.exception(timeout=0)
    assert isinstance(failure, DependencyError)
    assert failure.dependent_exceptions_tids == [(error, "task 1"), (other, "somebody")]
    assert child.status is grandchild.status is States.dep_fail
    last = grandchild.app_fu.exception(timeout=0)
    assert isinstance(last, DependencyError)
    assert last.dependent_exceptions_tids == [(failure, "task 2")]
    assert last.__cause__ is error
    assert books.launched == [good, bad]


def test_a_cancelled_foreign_future_counts_as_failed(books: Books) -> None:
    foreign: Future[str] = Future()
    task = books.task(foreign)
    foreign.cancel()
    assert isinstance(task.app_fu.exception(timeout=0).__cause__, CancelledError)  # type: ignore[union-attr]


@pytest.mark.parametrize("asked", ["done", "add_done_callback", "cancelled", "exception", "result"])
def test_a_foreign_future_that_raises_when_it_is_asked_fails_the_task_alone(books: Books, asked: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("the other side is gone")

    foreign: Future[int] = Future()
    setattr(foreign, asked, refuse)
    child = books.task(foreign)
    bystander = books.task()
    foreign.set_result(1)
    assert isinstance(child.app_fu.exception(timeout=0), OSError)
    assert bystander.status is States.launched


def test_looking_at_a_task_changes_nothing(books: Books) -> None:
    waiting = books.task(Future())
    running = books.task()
    for task in (waiting, running):
        books.graph.look(task)
    assert books.launched == [running]
    books.end(running)
    books.graph.look(running)
    assert books.ended == [1]


# -- attempts and retries ---------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_while_retries_last() -> None:
    books = Books(retries=2)
    task = books.task()
    for number in range(3):
        assert task.try_id == number
        error = books.break_down(task, ValueError(number))
    assert books.launched == [task] * 3
    assert task.app_fu.exception(timeout=0) is error
    assert task.fail_history == ["ValueError(0)", "ValueError(1)", "ValueError(2)"]
    assert (task.fail_count, task.fail_cost) == (3, 3)
    assert [state for _, state in books.moves] == [
        "pending",
        *["launched", "fail_retryable", "pending"] * 2,
        "launched",
        "failed",
    ]


def test_an_attempt_may_end_well_after_bad_ones() -> None:
    books = Books(retries=2)
    task = books.task()
    books.break_down(task)
    books.end(task, "at last")
    assert task.app_fu.result(timeout=0) == "at last"


@pytest.mark.parametrize(
    ("cost", "attempts"),
    [(0.5, 5), (1, 3), (2, 2), (2.5, 1), (True, 3), (math.inf, 1), (math.nan, 1)],
)
def test_the_handler_says_what_a_failure_costs(cost: float, attempts: int) -> None:
    asked: list[tuple[BaseException, TaskRecord]] = []

    def handler(exception: BaseException, task: TaskRecord) -> float:
        asked.append((exception, task))
        return cost

    books = Books(retries=2, retry_handler=handler)
    task = books.task()
    errors = []
    while not task.app_fu.done():
        errors.append(books.break_down(task))
    assert len(books.launched) == attempts
    assert asked == [(e, task) for e in errors]


@pytest.mark.parametrize("error", [ZeroDivisionError("in handler"), SystemExit(1)], ids=["Exception", "SystemExit"])
def test_what_the_handler_raises_becomes_the_tasks_exception(error: BaseException) -> None:
    def handler(exception: BaseException, task: TaskRecord) -> float:
        raise error

    books = Books(retries=5, retry_handler=handler)
    task = books.task()
    books.break_down(task)
    assert task.app_fu.exception(timeout=0) is error
    assert len(books.launched) == 1


@pytest.mark.parametrize("answer", [None, "much", [1]])
def test_a_handler_that_answers_no_number_fails_the_task(answer: Any) -> None:
    books = Books(retries=5, retry_handler=lambda *_: answer)
    task = books.task()
    books.break_down(task)
    assert isinstance(task.app_fu.exception(timeout=0), TypeError)


def test_a_handler_that_ends_the_task_itself_is_not_overruled() -> None:
    ended = KeyError("ended by the handler")

    def handler(exception: BaseException, task: TaskRecord) -> float:
        books.graph.fail(task, ended)
        return 0

    books = Books(retries=5, retry_handler=handler)
    task = books.task()
    books.break_down(task)
    assert task.app_fu.exception(timeout=0) is ended
    assert books.ended == [0]


def test_a_failure_to_launch_is_a_failed_attempt() -> None:
    books = Books(retries=1)

    def refuse(task: TaskRecord) -> None:
        books.graph.launched(task)
        raise OSError("no room")

    books.on_launch = refuse
    task = books.task()
    assert isinstance(task.app_fu.exception(timeout=0), OSError)
    assert len(books.launched) == 2


def test_an_exception_that_cannot_be_shown_still_ends_the_task() -> None:
    class Mute(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    books = Books(retries=1)
    task = books.task()
    child = books.task(task.app_fu)
    books.break_down(task, Mute())
    error = books.break_down(task, Mute())
    assert task.app_fu.exception(timeout=0) is error
    assert "Mute" in task.fail_history[0]
    assert "Mute" in str(child.app_fu.exception(timeout=0))


@pytest.mark.parametrize("error", [KeyError("not there"), SystemExit(2)], ids=["Exception", "SystemExit"])
def test_a_resolver_that_raises_is_a_failed_attempt(error: BaseException) -> None:
    tries: list[object] = []

    def unwrap(o: object) -> object:
        tries.append(o)
        raise error

    resolver = DependencyResolver(DEEP_DEPENDENCY_RESOLVER.traverse_to_gather, unwrap)
    books = Books(resolver, retries=1)
    done: Future[int] = Future()
    done.set_result(1)
    assert books.task(done).app_fu.exception(timeout=0) is error
    assert tries == [done, done]


def test_the_end_of_an_attempt_is_told_once() -> None:
    books = Books(retries=3)
    task = books.task()
    books.end(task, 1)
    books.end(task, 2)
    books.break_down(task)
    assert task.app_fu.result(timeout=0) == 1
    assert books.ended == [0]


def test_a_memoized_outcome_takes_the_place_of_the_attempt(books: Books) -> None:
    error = ValueError("as before")
    outcomes: list[Outcome] = [Value("as before"), Error(error)]
    books.on_launch = lambda task: books.graph.memo_found(task, outcomes[task.id])
    good, bad = books.task(), books.task()
    assert good.status is bad.status is States.memo_done
    assert good.app_fu.result(timeout=0) == "as before"
    assert bad.app_fu.exception(timeout=0) is error


def remembered(books: Books, **options: Any) -> TaskRecord:
    task = books.unsubmitted(**options)
    task.memoize = True
    books.graph.add(task)
    return task


def test_a_result_is_saved_before_it_is_told(books: Books) -> None:
    books.saves_at_once = False
    task = remembered(books)
    after = books.task(task.app_fu)
    books.end(task, 1)
    assert (books.saved, task.app_fu.done(), after.status) == ([task.id], False, States.pending)
    books.end(task, 2)  # the executor tells of the same end twice
    books.break_down(task)
    books.graph.saved(task, Value(1))
    assert (books.saved, task.app_fu.result(timeout=0), after.args) == ([task.id], 1, (1,))
    books.graph.saved(task, Value(2))
    assert books.ended == [task.id]


def test_a_result_that_is_saved_at_once_is_told_at_once(books: Books) -> None:
    task = remembered(books)
    books.end(task, 1)
    assert (books.saved, task.app_fu.result(timeout=0), task.status) == ([task.id], 1, States.exec_done)


def test_failures_are_not_saved(books: Books) -> None:
    task = remembered(books)
    books.break_down(task)
    assert (books.saved, task.status) == ([], States.failed)


def test_the_result_of_a_join_is_saved(books: Books) -> None:
    task, inner = remembered(books, join=True), books.task()
    books.end(task, inner.app_fu)
    assert books.saved == []
    books.end(inner, 5)
    assert (books.saved, task.app_fu.result(timeout=0)) == ([task.id], 5)


def test_a_result_that_comes_too_late_is_saved_all_the_same(books: Books) -> None:
    task = remembered(books)
    error = ValueError("too late")
    books.graph.fail(task, error)
    books.end(task, 1)
    assert (books.saved, task.app_fu.exception(timeout=0), books.ended) == ([task.id], error, [task.id])


def test_a_call_that_was_answered_at_once_is_counted(books: Books) -> None:
    task = books.unsubmitted()
    books.graph.recalled(task)
    assert (books.moves, task.status) == ([(task.id, "memo_done")], States.memo_done)


# -- joins ------------------------------------------------------------------------------------------------------------


def test_a_join_waits_for_what_the_app_returned(books: Books) -> None:
    join, inner = books.task(join=True), books.task()
    after = books.task(join.app_fu)
    books.end(join, inner.app_fu)
    assert join.status is States.joining
    assert join.joins is inner.app_fu
    books.end(inner, "inner result")
    assert join.app_fu.result(timeout=0) == "inner result"
    assert after.args == ("inner result",)


def test_a_join_of_a_list_keeps_its_order_and_its_own_copy(books: Books) -> None:
    foreign: Future[str] = Future()
    join, first, second = books.task(join=True), books.task(), books.task()
    returned = [second.app_fu, foreign, first.app_fu, second.app_fu]
    books.end(join, returned)
    returned.clear()
    books.end(first, 1)
    books.end(second, 2)
    assert not join.app_fu.done()
    foreign.set_result("f")
    assert join.app_fu.result(timeout=0) == [2, "f", 1, 2]


def test_an_empty_list_is_joined_at_once(books: Books) -> None:
    join = books.task(join=True)
    books.end(join, [])
    assert join.app_fu.result(timeout=0) == []


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (7, "returned a int"),
        (None, "returned a NoneType"),
        ((), "returned a tuple"),
        ([Future(), None], "returned a list with a NoneType"),
        (["x"], "returned a list with a str"),
    ],
)
def test_a_join_of_anything_else_is_a_type_error(books: Books, returned: Any, text: str) -> None:
    join = books.task(join=True)
    books.end(join, returned)
    error = join.app_fu.exception(timeout=0)
    assert isinstance(error, TypeError)
    assert text in str(error)


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: [f]], ids=["alone", "in a list"])
def test_a_join_of_itself_would_never_end_and_is_refused(books: Books, wrap: Callable[[Any], Any]) -> None:
    join = books.task(join=True)
    books.end(join, wrap(join.app_fu))
    assert isinstance(join.app_fu.exception(timeout=0), TypeError)


def test_failures_of_a_join_list_only_those_that_failed(books: Books) -> None:
    join, good, bad = books.task(join=True), books.task(), books.task()
    foreign: Future[str] = Future()
    books.end(join, [good.app_fu, bad.app_fu, foreign])
    books.end(good)
    error = books.break_down(bad)
    assert not join.app_fu.done()
    foreign.cancel()
    failure = join.app_fu.exception(timeout=0)
    assert isinstance(failure, JoinError)
    (first, label), (second, other) = failure.dependent_exceptions_tids
    assert (first, label, type(second), other) == (error, "task 2", CancelledError, "somebody")
    assert join.status is States.failed


def test_a_join_app_that_raises_is_retried_and_a_failed_join_is_not() -> None:
    books = Books(retries=1)
    join, inner = books.task(join=True), books.task()
    books.break_down(join)
    assert books.launched == [join, inner, join]
    books.break_down(inner)
    books.end(join, inner.app_fu)
    books.break_down(inner)
    assert isinstance(join.app_fu.exception(timeout=0), JoinError)
    assert books.launched == [join, inner, join, inner]


def test_a_joined_future_that_raises_when_it_is_asked_fails_the_join(books: Books) -> None:
    class Odd(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            raise OSError("lost")

    odd = Odd()
    odd.set_result(1)
    join = books.task(join=True)
    books.end(join, odd)
    assert isinstance(join.app_fu.exception(timeout=0), OSError)


# -- cancelling and failing -------------------------------------------------------------------------------------------


def test_a_waiting_task_can_be_cancelled_and_those_behind_it_are_too(books: Books) -> None:
    foreign: Future[int] = Future()
    other = books.task()
    task = books.task(foreign)
    child = books.task(task.app_fu, other.app_fu)
    grandchild, join = books.task(child.app_fu), books.task(join=True)
    books.end(join, [child.app_fu, other.app_fu])
    assert books.graph.cancel(task) is True
    assert books.graph.cancel(task) is True
    assert task.app_fu.cancelled()
    assert child.app_fu.cancelled(), "though something else that it waits for has not ended"
    assert grandchild.app_fu.cancelled()
    assert join.app_fu.cancelled()
    assert [t.status for t in (task, child, join)] == [States.failed, States.dep_fail, States.failed]
    late = books.task(task.app_fu)
    assert late.app_fu.cancelled()
    assert late.status is States.dep_fail
    foreign.set_result(1)
    books.end(other)
    assert books.launched == [other, join]


def test_a_launched_task_is_not_the_graphs_to_cancel(books: Books) -> None:
    task = books.task()
    assert books.graph.cancel(task) is False
    assert task.status is States.launched


def test_a_joining_task_is_cancelled_with_those_that_it_has_called(books: Books) -> None:
    given = books.task(Future())
    join = books.task(join=True)
    called, launched = books.task(Future()), books.task()
    books.end(join, [given.app_fu, Future(), called.app_fu, launched.app_fu])
    assert books.graph.cancel(join) is True
    assert join.status is States.failed
    assert called.app_fu.cancelled()
    assert not launched.app_fu.done(), "an executor has it"
    assert not given.app_fu.done(), "it was there before"
    books.end(launched)
    assert join.app_fu.cancelled()


def test_an_executor_that_cancels_ends_the_task_without_a_retry() -> None:
    books = Books(retries=3, retry_handler=lambda *_: 0)
    task = books.task()
    books.break_down(task, CancelledError())
    assert task.app_fu.cancelled()
    assert len(books.launched) == 1


def test_a_task_can_be_made_to_fail_wherever_it_stands(books: Books) -> None:
    early, waiting, launched = books.unsubmitted(), books.task(Future()), books.task()
    joining, done = books.task(join=True), books.task()
    books.end(joining, [Future()])
    books.end(done, "done")
    for task in (early, waiting, launched, joining, done):
        books.graph.fail(task, RuntimeError("enough"))
    books.graph.add(early)
    for task in (early, waiting, launched, joining):
        assert isinstance(task.app_fu.exception(timeout=0), RuntimeError)
        assert task.status is States.failed
    assert done.app_fu.result(timeout=0) == "done"
    assert sorted(books.ended) == [0, 1, 2, 3, 4]


def test_only_legal_moves_can_be_asked_for(books: Books) -> None:
    task = books.task(Future())
    with pytest.raises(InternalConsistencyError, match="task 0 cannot go from pending to exec_done"):
        books.graph.move(task, States.exec_done)
    books.graph.move(task, States.launched)
    assert task.status is States.launched
