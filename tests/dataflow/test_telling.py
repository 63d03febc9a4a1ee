"""The lines about tasks, one by one; test_dflow_logs.py has them in the log of a run."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from parsl.dataflow import telling
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, TaskRecord, Value
from parsl.dataflow.telling import Telling


def add() -> None:
    pass


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG, logger="parsl")
    return lambda: caplog.messages


def record(number: int = 7, **fields: Any) -> TaskRecord:
    task = TaskRecord(number, None, add, (), {}, "threads", {})  # type: ignore[arg-type]
    for name, value in fields.items():
        setattr(task, name, value)
    return task


def test_a_submission_names_executors_and_what_is_waited_for(lines: Any, caplog: pytest.LogCaptureFixture) -> None:
    of_task, foreign = Future[int](), Future[int]()
    of_task.tid = 3  # type: ignore[attr-defined]
    told = Telling(lambda future: "task 3" if future is of_task else "a future of somebody else")
    told.submitted(record(depends=[of_task, foreign]))
    told.submitted(record(8, choices=("a", "b")))
    assert lines() == [
        "Task 7 submitted for app add to executor threads",
        "Task 7 depends on task 3",
        "Task 7 depends on a future of somebody else",
        "Task 8 submitted for app add to executor a or b",
    ]
    assert [getattr(r, "parsl.dependency_task", None) for r in caplog.records] == [None, 3, None, None]


def test_an_attempt_and_a_state_are_told(lines: Any) -> None:
    task = record(status=States.launched, try_id=1)
    Telling(repr).launched(task)
    Telling(repr).moved(task)
    assert lines() == ["Task 7 try 1 launched on executor threads with executor id None", "Task 7 is launched"]


def test_a_failure_is_told_unless_it_is_none(lines: Any) -> None:
    told = Telling(repr)
    told.failed(record(status=States.failed, try_id=2), Error(ValueError("bad")))
    told.failed(record(status=States.failed), Error(CancelledError()))
    told.failed(record(status=States.memo_done), Value(1))
    (line,) = lines()
    assert line.startswith("Task 7 (add) ended as failed after 3 tries: ValueError")


def test_after_many_failures_no_more_are_told(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_MOST_FAILURES_TOLD", 2)
    told = Telling(repr)
    for number in range(5):
        told.failed(record(number, status=States.failed), Error(ValueError()))
    assert [line.endswith("; further failures are not logged") for line in lines()] == [False, False, True]


def test_the_summary_has_the_states_in_which_there_are_tasks(lines: Any) -> None:
    Telling(repr).summary(dict.fromkeys(States, 0) | {States.exec_done: 2, States.failed: 1})
    assert lines()[0] == "Summary of tasks in DFK:"
    assert sorted(lines()[1:-1]) == ["Tasks in state States.exec_done: 2", "Tasks in state States.failed: 1"]
    assert lines()[-1] == "End of summary"
