"""TaskRecord: an object for the kernel, a mapping for users' hooks."""

from __future__ import annotations

import datetime
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from parsl.dataflow.futures import AppFuture
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord


class Kernel:
    def __init__(self) -> None:
        self.done: list[tuple[TaskRecord, Outcome]] = []

    def attempt_done(self, task: TaskRecord, outcome: Outcome) -> None:
        self.done.append((task, outcome))


def app(x: int) -> int:
    return x


@pytest.fixture
def record() -> TaskRecord:
    record = TaskRecord(3, Kernel(), app, (1,), {"y": 2}, "threads", {}, memoize=True, invoked=1_700_000_000.5)  # type: ignore[arg-type]
    record.app_fu = AppFuture(record)
    return record


def test_entries_and_attributes_are_the_same(record: TaskRecord) -> None:
    assert record["id"] == record.id == 3
    assert record["func"] is record.func is app
    assert record["func"].__name__ == record["func_name"] == "app"
    assert record["app_fu"] is record.app_fu
    assert record["status"] is record.status is States.unsched
    assert (record["args"], record["kwargs"], record["executor"]) == ((1,), {"y": 2}, "threads")
    assert (record["memoize"], record["join"], record["hashsum"], record["from_memo"]) == (True, False, None, None)
    assert (record["fail_count"], record["fail_cost"], record["fail_history"], record["try_id"]) == (0, 0, [], 0)
    assert record["depends"] == ()
    record["hashsum"] = "abc"
    assert record.hashsum == "abc"


def test_times_are_seconds_for_the_kernel_and_datetimes_for_hooks(record: TaskRecord) -> None:
    assert record["time_invoked"].timestamp() == 1_700_000_000.5
    assert record["time_invoked"].tzinfo is None
    assert record["time_returned"] is record["try_time_launched"] is record["try_time_returned"] is None
    now = datetime.datetime.now(datetime.timezone.utc)
    record["time_returned"] = now
    assert record["time_returned"].timestamp() == now.timestamp()
    assert record.returned == pytest.approx(time.time(), abs=60)


def test_it_reads_like_a_dict(record: TaskRecord) -> None:
    as_dict = dict(record)
    assert as_dict["id"] == 3
    assert list(record) == list(record.keys()) == list(as_dict)
    assert len(record) == len(as_dict)
    assert dict(record.items()) == as_dict
    assert {"func_name", "time_invoked", "fail_history", "joins", "resource_specification"} <= set(record)
    assert all(name in record for name in record)
    assert not any(name.startswith("_") for name in record)
    assert record.get("id") == 3
    assert record.get("nothing", "default") == "default"


@pytest.mark.parametrize("key", ["nothing", "done", "get", "_dependents", "__class__", "invoked"])
def test_what_is_no_entry_is_a_key_error(record: TaskRecord, key: str) -> None:
    assert key not in record
    with pytest.raises(KeyError, match=key):
        record[key]
    with pytest.raises(KeyError, match=key):
        record[key] = 1


def test_two_records_are_never_equal(record: TaskRecord) -> None:
    other = TaskRecord(3, record.dfk, app, (1,), {"y": 2}, "threads", {})
    assert record != other
    assert len({record, other}) == 2


def test_the_name_of_what_has_no_name() -> None:
    class Callable:
        def __call__(self) -> None: ...

    def name(func: Any) -> str:
        return TaskRecord(0, Kernel(), func, (), {}, "x", {}).func_name  # type: ignore[arg-type]

    assert name(Callable()) == "Callable"
    assert name(partial(app, 1)) == "partial"


def test_an_executor_tells_the_end_by_the_record(record: TaskRecord) -> None:
    outcome = Error(ValueError())
    record.done(outcome)
    assert record.dfk.done == [(record, outcome)]  # type: ignore[attr-defined]


def test_dependents_are_taken_once(record: TaskRecord) -> None:
    child = TaskRecord(4, record.dfk, app, (), {}, "x", {})
    record.dependents.append(child)
    assert record.take_dependents() == [child]
    assert list(record.take_dependents()) == []


def test_repr_names_task_app_and_state(record: TaskRecord) -> None:
    record.status = States.launched
    assert repr(record) == "<TaskRecord 3 app launched>"


def test_futures_are_made_for_each_record(record: TaskRecord) -> None:
    assert isinstance(record.app_fu, Future)
    assert record.app_fu.tid == 3
