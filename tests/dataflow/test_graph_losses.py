"""Two budgets: what the user's code does wrong, and what is lost beneath it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.dataflow.graph import POISONOUS
from parsl.dataflow.taskrecord import TaskRecord
from parsl.executors.errors import EngineWorkerLost, ExecutionLost
from parsl.executors.high_throughput.errors import InterchangeLost, ManagerLost, PoisonTask, WorkerLost
from tests.dataflow.graph_books import Books

LOSSES = [ManagerLost("m", "node"), InterchangeLost("htex", "signal SIGKILL"), EngineWorkerLost("dask", "gone")]


def never(exception: Any, task: TaskRecord) -> float:
    raise AssertionError(f"asked about {exception!r}")


def worker_lost() -> WorkerLost:
    return WorkerLost(0, "node")


@pytest.mark.parametrize("loss", LOSSES, ids=lambda e: type(e).__name__)
def test_a_loss_costs_no_retry_and_nobody_is_asked(loss: ExecutionLost) -> None:
    books = Books(retries=0, retry_handler=never, system_retries=2)
    task = books.task()
    for _ in range(2):
        books.break_down(task, loss)
    books.end(task, "after all")
    assert task.app_fu.result(timeout=0) == "after all"
    assert (task.losses, task.fail_cost, task.fail_count, task.try_id) == (2, 0, 2, 2)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda e: type(e).__name__)
def test_one_loss_too_many_is_the_tasks_failure_whatever_retries_are_left(loss: ExecutionLost) -> None:
    books = Books(retries=9, system_retries=2)
    task = books.task()
    for _ in range(3):
        books.break_down(task, loss)
    assert task.app_fu.exception(timeout=0) is loss
    assert len(books.launched) == 3


def test_three_dead_workers_make_a_task_poison() -> None:
    books = Books(retries=9, system_retries=9)
    task = books.task()
    books.break_down(task, ManagerLost("m", "node"))
    for _ in range(POISONOUS):
        books.break_down(task, worker_lost())
    error = task.app_fu.exception(timeout=0)
    assert isinstance(error, PoisonTask)
    assert error.times == POISONOUS
    assert len(books.launched) == POISONOUS + 1


def test_what_a_task_has_asked_for_is_a_failure_like_any_other() -> None:
    books = Books(retries=1, system_retries=9)
    task = books.task()
    for _ in range(2):
        error = worker_lost()
        error.asked_for = True
        books.break_down(task, error)
    assert task.app_fu.exception(timeout=0) is error
    assert (task.losses, task.fail_cost) == (0, 2)


def test_without_a_limit_of_their_own_losses_cost_retries() -> None:
    books = Books(retries=1)
    task = books.task()
    for _ in range(2):
        error = books.break_down(task, worker_lost())
    assert task.app_fu.exception(timeout=0) is error
    assert task.fail_cost == 2


def test_where_nothing_would_run_it_again_a_loss_is_a_failure_like_any_other() -> None:
    books = Books(retries=1, system_retries=9)
    books.elsewhere = False
    task = books.task()
    for _ in range(2):
        error = books.break_down(task, ManagerLost("m", "node"))
    assert task.app_fu.exception(timeout=0) is error
    assert task.fail_cost == 2


ENDS = st.sampled_from(["worker", "manager", "asked for", "raise", "value"])


@given(ends=st.lists(ENDS, max_size=20), retries=st.integers(0, 3), system_retries=st.integers(0, 4))
def test_the_budgets_do_not_touch_each_other(ends: list[str], retries: int, system_retries: int) -> None:
    books = Books(retries=retries, system_retries=system_retries)
    task = books.task()
    makes: dict[str, Any] = {"worker": worker_lost, "manager": lambda: ManagerLost("m", "n"), "raise": ValueError}
    failures = losses = deaths = 0
    for end in ends:
        if task.app_fu.done():
            break
        if end == "value":
            books.end(task, "value")
            continue
        error = makes[{"asked for": "worker"}.get(end, end)]()
        lost = system_retries > 0 and end in ("worker", "manager")
        if end == "asked for":
            error.asked_for = True
        failures += not lost
        losses += lost
        deaths += lost and end == "worker"
        books.break_down(task, error)
        assert task.app_fu.done() == (failures > retries or losses > system_retries or deaths >= POISONOUS)
    assert (task.fail_cost, task.losses) == (failures, losses)
    failed = task.app_fu.done() and task.app_fu.exception(timeout=0) is not None
    assert len(books.launched) == failures + losses + (not failed)
