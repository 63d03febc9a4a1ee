"""What the terminal shows of a run, as rows and as text."""

from __future__ import annotations

import pytest

from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import Task
from parsl.monitoring.top import snapshot
from parsl.monitoring.top.snapshot import PAGE, Wish
from tests.monitoring import finished


@pytest.fixture
def opened(tmp_path):
    queries, run = finished.opened(tmp_path)
    with queries:
        yield queries, run


def test_all_of_a_run(opened):
    queries, run = opened
    now = snapshot.take(queries, run.run_id, Wish())
    assert (now.submitted, now.ended, now.failed) == (120, 120, 12)
    first, second = snapshot.headline(now, None)
    assert "has ended" in first
    assert second.startswith("120 of 120 tasks ended (108 exec_done, 12 failed); ")
    found = {row[0]: row[1:4] for row in snapshot.app_rows(now)}
    assert found == {"fit": ("0", "48", "12"), "combine": ("0", "60", "0")}
    assert snapshot.block_rows(now) == [("htex", "RUNNING", "1", "4 on 1 node")]
    assert [t.task for t in now.tasks] == list(range(PAGE))


def test_pages_and_filters(opened):
    queries, run = opened

    def numbers(**wish):
        return [t.task for t in snapshot.take(queries, run.run_id, Wish(**wish)).tasks]

    assert numbers(after=99) == list(range(100, 120))
    assert numbers(state=States.failed) == list(range(9, 120, 10))
    assert numbers(app="combine")[:3] == [0, 2, 4]
    assert numbers(slowest=True)[0] == 119
    assert numbers(app="nobody's") == []


def test_a_rate_between_two_looks(opened):
    queries, run = opened
    now = snapshot.take(queries, run.run_id, Wish())
    going = now._replace(run=type(run)(**{**vars(run), "completed": None}), at=1010.0)
    before = going._replace(states={States.exec_done: 20}, at=1000.0)
    assert snapshot.headline(going, before)[1].endswith(", 10.0/s now")


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ({"invoked": 10.0}, ("90.00", "")),
        ({"invoked": 10.0, "launched": 20.0}, ("90.00", "")),
        ({"invoked": 10.0, "launched": 20.0, "running": 30.0}, ("20.00", "70.00")),
        (
            {"invoked": 10.0, "launched": 20.0, "running": 30.0, "running_ended": 35.0, "returned": 40.0},
            ("20.00", "5.00"),
        ),
        ({"invoked": 10.0, "launched": 20.0, "returned": 40.0}, ("10.00", "20.00")),
        ({"invoked": 10.0, "returned": 40.0}, ("30.00", "")),
    ],
)
def test_how_long_a_task_waited_and_ran(times, shown):
    nothing = dict.fromkeys(("invoked", "returned", "launched", "running", "running_ended"))
    task = Task(1, "f", States.pending, 0, "htex", **{**nothing, **times}, block=None, hostname=None, pid=None)
    assert snapshot.task_row(task, 100.0)[4:6] == shown


def test_details_of_a_task(opened):
    queries, run = opened
    text = snapshot.details(queries, run.run, 9)
    assert text.startswith("Task 9 (fit) has ended: failed.")
    assert "Try 0 failed: ValueError: ValueError('no <script>" in text
    assert "Traceback of 9" in text
    assert snapshot.details(queries, run.run, 4711) == "There is no task 4711."


def test_a_run_that_is_gone(opened):
    queries, _ = opened
    with pytest.raises(LookupError, match="not in the database any more"):
        snapshot.take(queries, "other", Wish())


def test_as_text(opened):
    queries, run = opened
    text = snapshot.as_text(snapshot.take(queries, run.run_id, Wish()))
    parts = text.split("\n\n")
    assert [part.split()[0] for part in parts[1:]] == ["app", "executor", "task"]
    assert len(parts[3].splitlines()) == PAGE + 1
