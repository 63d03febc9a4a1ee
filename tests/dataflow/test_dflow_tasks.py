"""What becomes of tasks on a live kernel: dependencies, failures, retries, cancelling, callbacks, records."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import parsl
from parsl import join_app, python_app
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.dependency_resolvers import SHALLOW_DEPENDENCY_RESOLVER
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.threads import ThreadPoolExecutor
from tests.dataflow.apps import add, give, wait_for
from tests.kernels import SOON, loaded


@python_app
def fail(text: str = "broken") -> None:
    raise ValueError(text)


# -- dependencies -----------------------------------------------------------------------------------------------------


def test_futures_of_any_kind_are_waited_for(kernel: DataFlowKernel, tmp_path: Path) -> None:
    foreign: Future[int] = Future()
    nested = give([{"a": add(1, 2)}, (add(3), {foreign: foreign})])
    total = add(add(1), add(2), foreign)
    assert not total.done()
    foreign.set_result(10)
    assert total.result(timeout=SOON) == 13
    assert nested.result(timeout=SOON) == [{"a": 3}, (3, {10: 10})]


def test_containers_of_futures_are_left_alone_where_the_user_says_so(tmp_path: Path) -> None:
    with loaded(tmp_path, dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER):
        inner = add(1)
        assert give([inner]).result(timeout=SOON) == [inner]
        assert give(inner).result(timeout=SOON) == 1


def test_a_container_that_holds_itself(kernel: DataFlowKernel) -> None:
    circle: list[Any] = [add(1)]
    circle.append(circle)
    result = give(circle).result(timeout=SOON)
    assert result[0] == 1
    assert result[1] is result


def test_futures_in_a_result_are_the_users(kernel: DataFlowKernel) -> None:
    inner = add(1)
    assert give(python_app(lambda: [inner])()).result(timeout=SOON) == [inner]


def test_a_chain_released_by_one_future_starts_on_a_shallow_stack(kernel: DataFlowKernel) -> None:
    depths: list[int] = []

    @python_app
    def link(previous: int) -> int:
        frame, depth = sys._getframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        depths.append(depth)
        return previous + 1

    first: Future[int] = Future()
    future: Any = first
    for _ in range(100):
        future = link(future)
    first.set_result(0)
    assert future.result(timeout=SOON) == 100
    assert max(depths) < 50


@pytest.mark.parametrize("end", ["well", "badly"])
def test_a_chain_longer_than_any_stack(kernel: DataFlowKernel, end: str) -> None:
    first: Future[int] = Future()
    future: Any = first
    for _ in range(20_000):
        future = add(future, 1)
    if end == "well":
        first.set_result(0)
        assert future.result(timeout=6 * SOON) == 20_000
    else:
        first.set_exception(LookupError("root"))
        assert isinstance(future.exception(timeout=6 * SOON).__cause__, LookupError)
    assert kernel.tasks == {}


def test_the_message_of_a_failed_dependency_names_tasks_and_futures(kernel: DataFlowKernel) -> None:
    foreign: Future[int] = Future()
    broken = fail()
    child = add(broken, foreign)
    error = LookupError("elsewhere")
    foreign.set_exception(error)
    failure = child.exception(timeout=SOON)
    assert isinstance(failure, DependencyError)
    assert failure.dependent_exceptions_tids == [(broken.exception(), f"task {broken.tid}"), (error, repr(foreign))]
    assert f"task {broken.tid}" in str(failure)
    assert repr(foreign) in str(failure)
    assert kernel.task_state_counts[States.dep_fail] == 1


def test_the_last_of_a_chain_of_failures_has_the_first_as_its_cause(kernel: DataFlowKernel) -> None:
    broken = future = fail()
    links = [broken]
    for _ in range(5):
        future = add(future)
        links.append(future)
    failure = future.exception(timeout=SOON)
    assert failure.__cause__ is broken.exception()
    for link, previous in zip(reversed(links[1:]), reversed(links[:-1]), strict=True):
        assert failure is link.exception()
        assert failure.dependent_exceptions_tids == [(previous.exception(), f"task {previous.tid}")]
        failure = previous.exception()


def test_an_object_that_cannot_be_compared_passes(kernel: DataFlowKernel) -> None:
    class Proud:
        def __eq__(self, other: object) -> bool:
            raise TypeError("incomparable")

        __hash__ = None  # type: ignore[assignment]

        def __bool__(self) -> bool:
            raise TypeError("neither true nor false")

    proud = Proud()

    @python_app
    def keep(a: Any, b: Any = proud, inputs: Any = (proud,), *, c: Any = proud) -> list[Any]:
        return [a, b, inputs[0], c]

    kept = keep(proud).result(timeout=SOON)
    assert all(o is proud for o in kept)
    assert give({"deep": [proud]}).result(timeout=SOON)["deep"][0] is proud


def test_a_gatherer_that_raises_raises_at_the_call(tmp_path: Path) -> None:
    def refuse(o: object) -> Any:
        raise LookupError("no idea")

    with loaded(
        tmp_path, dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER._replace(traverse_to_gather=refuse)
    ) as kernel:
        with pytest.raises(LookupError, match="no idea"):
            give([])
        assert kernel.tasks == {}
        assert add(1).result(timeout=SOON) == 1


# -- items and attributes of results ----------------------------------------------------------------------------------


def test_items_and_attributes_of_results_are_futures(kernel: DataFlowKernel) -> None:
    result = give({"list": [1, 2, {"deep": 3}], "file": File("/data/x.txt")})
    assert result["list"][2]["deep"].result(timeout=SOON) == 3
    assert result["file"].filename.result(timeout=SOON) == "x.txt"
    assert add(result["list"][0], result["list"][1]).result(timeout=SOON) == 3
    assert give([1, 2])[add(1)].result(timeout=SOON) == 2


def test_they_wait_for_nothing_when_they_are_made(kernel: DataFlowKernel, gate: threading.Event) -> None:
    late = python_app(lambda: wait_for.func(gate) and {"a": 1})()
    item = late["a"]
    assert not item.done()
    gate.set()
    assert item.result(timeout=SOON) == 1


@pytest.mark.parametrize(
    ("lift", "error"),
    [(lambda f: f["no"], KeyError), (lambda f: f.no, AttributeError), (lambda f: f["no"]["deeper"], DependencyError)],
)
def test_a_bad_key_fails_inside_the_future(kernel: DataFlowKernel, lift: Any, error: type[Exception]) -> None:
    assert isinstance(lift(give({})).exception(timeout=SOON), error)


# -- joins ------------------------------------------------------------------------------------------------------------


def test_a_join_app_gives_what_its_futures_give(kernel: DataFlowKernel) -> None:
    one = join_app(lambda n: add(n, 1))
    many = join_app(lambda n: [add(i) for i in range(n)])
    assert one(1).result(timeout=SOON) == 2
    assert many(3).result(timeout=SOON) == [0, 1, 2]
    assert many(0).result(timeout=SOON) == []
    assert add(one(5), one(one(1))).result(timeout=SOON) == 9


def test_a_join_app_may_return_what_it_was_given(kernel: DataFlowKernel) -> None:
    inner = add(3)
    assert join_app(lambda futures: futures)([inner, add(4)]).result(timeout=SOON) == [3, 4]


def test_join_apps_may_recurse(kernel: DataFlowKernel) -> None:
    @join_app
    def fibonacci(n: int) -> Any:
        return add(n) if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))

    assert fibonacci(9).result(timeout=SOON) == 34


def test_more_joins_wait_than_there_are_threads(tmp_path: Path) -> None:
    """A join app that waits holds no thread."""
    with loaded(tmp_path, internal_tasks_max_threads=1):
        foreign: Future[int] = Future()
        joins = [join_app(lambda: foreign)() for _ in range(50)]
        foreign.set_result(5)
        assert [j.result(timeout=SOON) for j in joins] == [5] * 50


def test_failures_of_joins(kernel: DataFlowKernel) -> None:
    inner = [add(1), fail("first"), add(2), fail("second")]
    error = join_app(lambda: inner)().exception(timeout=SOON)
    assert isinstance(error, JoinError)
    assert error.dependent_exceptions_tids == [(inner[i].exception(), f"task {inner[i].tid}") for i in (1, 3)]
    assert error.__cause__ is inner[1].exception()
    assert isinstance(join_app(lambda: 3)().exception(timeout=SOON), TypeError)
    assert isinstance(join_app(lambda: [add(1), None])().exception(timeout=SOON), TypeError)
    broken = join_app(lambda: 1 / 0)()
    assert isinstance(broken.exception(timeout=SOON), ZeroDivisionError)


def test_a_join_app_joins_a_file_to_come(kernel: DataFlowKernel, tmp_path: Path) -> None:
    file = File(str(tmp_path / "x"))
    assert join_app(lambda: DataFuture(add(1), file))().result(timeout=SOON) is file


# -- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cost", "attempts"), [(1, 3), (0.5, 5), (3, 1)])
def test_retries_are_a_budget(tmp_path: Path, cost: float, attempts: int) -> None:
    asked: list[tuple[str, int]] = []

    def handler(exception: Exception, task: TaskRecord) -> float:
        asked.append((str(exception), task["fail_count"]))
        assert task["func_name"] == "fail"
        assert len(task["fail_history"]) == task["fail_count"]
        return cost

    with loaded(tmp_path, retries=2, retry_handler=handler):
        future = fail("again")
        assert isinstance(future.exception(timeout=SOON), ValueError)
    assert asked == [("again", n + 1) for n in range(attempts)]
    assert future.task_record["fail_cost"] == cost * attempts


def test_a_handler_that_raises_gives_the_task_its_exception(tmp_path: Path) -> None:
    def handler(exception: Exception, task: TaskRecord) -> float:
        raise LookupError("no price")

    with loaded(tmp_path, retries=2, retry_handler=handler):
        assert isinstance(fail().exception(timeout=SOON), LookupError)
        assert add(1).result(timeout=SOON) == 1


def test_a_handler_that_waits_for_a_task_is_told_not_to(tmp_path: Path) -> None:
    def handler(exception: Exception, task: TaskRecord) -> float:
        return add(1).result()

    with loaded(tmp_path, retries=2, retry_handler=handler):
        error = fail().exception(timeout=SOON)
        assert isinstance(error, RuntimeError)
        assert "retry handler" in str(error)


# -- what the kernel shows --------------------------------------------------------------------------------------------


def test_records_of_open_tasks_are_kept_and_those_of_done_ones_are_gone(kernel: DataFlowKernel) -> None:
    never: Future[int] = Future()
    future = add(never)
    record = kernel.tasks[future.tid]
    assert record is future.task_record
    assert record["app_fu"] is future
    assert record["id"] == future.tid
    assert record["func"].__name__ == record["func_name"] == "add"
    never.set_result(1)
    for _ in range(50):
        done = add(1)
        done.result(timeout=SOON)
        assert done.tid not in kernel.tasks
    assert future.result(timeout=SOON) == 1
    assert kernel.tasks == {}


def test_without_garbage_collection_all_records_are_kept(tmp_path: Path) -> None:
    with loaded(tmp_path, garbage_collect=False) as kernel:
        futures = [add(i) for i in range(5)]
        parsl.wait_for_current_tasks()
        assert [kernel.tasks[f.tid]["app_fu"] for f in futures] == futures
        assert kernel.tasks[0]["args"] == (0,)


def test_states_are_counted(kernel: DataFlowKernel, gate: threading.Event) -> None:
    never: Future[int] = Future()
    ends = [add(1), fail(), add(fail()), join_app(lambda: [add(2)])()]
    wait(ends, timeout=SOON)
    waiting = add(never)
    begun = threading.Event()
    running = wait_for(gate, begun)
    assert begun.wait(SOON)
    kernel.loop.call(lambda: None)
    counts = {state.name: n for state, n in kernel.task_state_counts.items() if n}
    assert counts == {"exec_done": 3, "failed": 2, "dep_fail": 1, "pending": 1, "launched": 1}
    assert kernel.task_count == sum(counts.values())
    assert (waiting.task_status(), running.task_status(), ends[0].task_status()) == ("pending", "launched", "exec_done")
    gate.set()
    never.set_result(0)
    parsl.wait_for_current_tasks()


def test_numbers_are_unique_over_threads(kernel: DataFlowKernel) -> None:
    futures: SimpleQueue[Any] = SimpleQueue()
    threads = [
        threading.Thread(target=lambda: [futures.put(add(i)) for i in range(200)])  # type: ignore[func-returns-value]
        for _ in range(6)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    finally:
        sys.setswitchinterval(interval)
    made = [futures.get(timeout=SOON) for _ in range(1200)]
    assert sorted(f.tid for f in made) == list(range(1200))
    assert kernel.task_count == 1200
    assert sum(f.result(timeout=SOON) for f in made) == 6 * sum(range(200))


def test_a_resource_specification_is_the_executors_to_refuse(kernel: DataFlowKernel) -> None:
    @python_app
    def app(x: int, parsl_resource_specification: dict[str, Any] | None = None) -> tuple[int, Any]:
        return x, parsl_resource_specification

    error = app(1, parsl_resource_specification={"cores": 3}).exception(timeout=SOON)
    assert isinstance(error, InvalidResourceSpecification)
    assert "cores" in str(error)
    assert app(1, parsl_resource_specification={}).result(timeout=SOON) == (1, None)
    assert app(1).result(timeout=SOON) == (1, None)


def test_an_exception_that_cannot_be_shown_reaches_its_future(tmp_path: Path) -> None:
    class Mute(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    @python_app
    def mute() -> None:
        raise Mute

    with loaded(tmp_path, retries=1):
        future = mute()
        assert isinstance(future.exception(timeout=SOON), Mute)
        assert isinstance(add(future).exception(timeout=SOON), DependencyError)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda e: type(e).__name__)
def test_a_task_that_asks_for_the_end_ends_alone(tmp_path: Path, error: BaseException) -> None:
    @python_app
    def leave() -> None:
        raise error

    with loaded(tmp_path, executors=[ThreadPoolExecutor(max_threads=1)]):
        assert leave().exception(timeout=SOON) is error
        assert add(1).result(timeout=SOON) == 1
