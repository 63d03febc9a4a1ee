"""FuturesExecutor: the contract on the standard process pool, and what belongs to the adapter alone."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.futures import FuturesExecutor
from tests.executors.contract import PATIENCE, ExecutorContract, add, end_worker

SPAWN = multiprocessing.get_context("spawn")


def pool(workers: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=SPAWN)


@pytest.mark.leaks_ok("the standard library keeps its resource tracker")
class TestProcessPool(ExecutorContract):
    LOST = EngineWorkerLost

    @pytest.fixture
    def executor(self) -> FuturesExecutor:
        return FuturesExecutor(pool, label="pool")


class InLine(Executor):
    """Runs each call when it is submitted, and remembers with which options."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []
        self.ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.options.append(options)
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except BaseException as e:
            future.set_exception(e)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.ended = True


@pytest.fixture
def in_line() -> Iterator[tuple[InLine, FuturesExecutor]]:
    engine = InLine()
    executor = FuturesExecutor(lambda: engine, label="line", resource_keyword="resource_dict")
    executor.start()
    yield engine, executor
    executor.shutdown()


def test_specifications_go_to_the_keyword_that_was_named(in_line: tuple[InLine, FuturesExecutor]) -> None:
    engine, executor = in_line
    assert executor.submit(add, {"cores": 2}, 1, 2).result(timeout=PATIENCE) == 3
    assert executor.submit(add, {}, 1, 2).result(timeout=PATIENCE) == 3
    assert engine.options == [{"resource_dict": {"cores": 2}}, {}]


def test_the_room_of_a_pool_is_known_and_that_of_others_is_not(in_line: tuple[InLine, FuturesExecutor]) -> None:
    _, executor = in_line
    assert executor.room() is None
    with ThreadPoolExecutor(3) as mine, FuturesExecutor(mine) as other:
        other.start()
        assert other.room() == (0, 3, 3)


def test_without_a_keyword_specifications_are_refused() -> None:
    with FuturesExecutor(InLine, label="line") as executor:
        executor.start()
        with pytest.raises(InvalidResourceSpecification, match="resource_keyword"):
            executor.submit(add, {"cores": 2}, 1)


def test_what_was_made_here_is_shut_down_and_what_was_given_runs_on(in_line: tuple[InLine, FuturesExecutor]) -> None:
    engine, executor = in_line
    executor.shutdown()
    assert engine.ended
    mine = InLine()
    with FuturesExecutor(mine) as other:
        other.start()
        assert other.submit(add, {}, 1).result(timeout=PATIENCE) == 1
    assert not mine.ended


@pytest.mark.leaks_ok("the standard library keeps its resource tracker")
def test_a_given_pool_that_is_broken_stays_broken() -> None:
    with pool(1) as mine, FuturesExecutor(mine, label="mine") as executor:
        executor.start()
        lost = executor.submit(end_worker, {})
        assert isinstance(lost.exception(timeout=PATIENCE), EngineWorkerLost)
        with pytest.raises(EngineWorkerLost, match="a function that makes the pool"):
            executor.submit(add, {}, 1)


def test_the_engine_s_own_exception_is_the_task_s(in_line: tuple[InLine, FuturesExecutor]) -> None:
    class Full(InLine):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(OSError("no room"))
            return future

    with FuturesExecutor(Full) as executor:
        executor.start()
        assert str(executor.submit(add, {}, 1).exception(timeout=PATIENCE)) == "no room"


def test_a_type_error_names_the_parameter() -> None:
    with pytest.raises(TypeError, match="executor"):
        FuturesExecutor(3)  # type: ignore[arg-type]


def test_the_representation_reads_like_the_call() -> None:
    made = functools.partial(InLine)
    assert repr(FuturesExecutor(made, label="x")).startswith("FuturesExecutor(")
