"""Records of tasks' lives, with a loop that is turned by hand."""

from __future__ import annotations

import time

import pytest

from parsl.dataflow import reports
from parsl.dataflow.reports import Reports
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.monitoring import records
from parsl.monitoring.records import decode, join


class HandLoop:
    def __init__(self):
        self.timers = []

    def call_later(self, delay, function):
        self.timers.append(function)
        return function


class Books:
    """Reports, and the records that have come out of them."""

    def __init__(self):
        self.sent = []
        self.tasks = {}
        self.loop = HandLoop()
        self.reports = Reports(self.sent.append, self.loop, self.tasks, 30.0)

    def task(self, number=0, **changes):
        task = TaskRecord(number, None, print, (), {}, "htex", {}, invoked=time.time())
        for name, value in changes.items():
            setattr(task, name, value)
        self.tasks[number] = task
        self.move(task, States.pending)
        return task

    def move(self, task, state):
        old, task.status = task.status, state
        if state is States.launched:
            task.try_launched = time.time()
        self.reports.moved(task, old)

    def look(self):
        self.reports.flush()
        timers, self.loop.timers = self.loop.timers, []
        for timer in timers:
            timer()

    def kinds(self):
        self.reports.flush()
        return [record[0] for record in decode(join(self.sent))]


def test_a_quick_task_is_one_record():
    books = Books()
    task = books.task()
    books.move(task, States.launched)
    task.usage = b"usage"
    books.move(task, States.exec_done)
    assert books.kinds() == [records.RAN]
    assert decode(join(books.sent))[0][-1] == b"usage"
    del books.tasks[0]
    books.look()
    assert books.kinds() == [records.RAN]


def test_a_task_that_takes_a_while_is_told_of_meanwhile():
    books = Books()
    waiting, launched = books.task(0), books.task(1)
    books.move(launched, States.launched)
    books.look()
    assert books.kinds() == [records.SUBMITTED] * 2
    assert [r[5] is None for r in decode(join(books.sent))] == [True, False]
    books.move(waiting, States.launched)
    books.move(waiting, States.exec_done)
    books.move(launched, States.exec_done)
    assert books.kinds()[2:] == [records.LAUNCHED, records.ENDED, records.ENDED]


def test_of_many_that_wait_only_some_are_told_of_at_once(monkeypatch):
    monkeypatch.setattr(reports, "MOST_AT_A_LOOK", 2)
    books = Books()
    for number in range(5):
        books.task(number)
    books.look()
    assert len(books.kinds()) == 2
    books.look()
    assert len(books.kinds()) == 4
    books.reports.close()
    assert len(books.kinds()) == 5
    books.look()
    assert len(books.kinds()) == 5


@pytest.mark.parametrize(
    "changes", [{"kwargs": {"inputs": [1]}}, {"memoize": True}, {"join": True}, {"hashsum": "x"}], ids=str
)
def test_one_with_more_to_tell_takes_two_records(changes):
    books = Books()
    task = books.task(**changes)
    books.move(task, States.launched)
    books.move(task, States.exec_done)
    assert books.kinds() == [records.SUBMITTED, records.ENDED]


def test_a_memo_hit_has_no_try():
    books = Books()
    task = books.task(memoize=True, hashsum="x")
    books.move(task, States.memo_done)
    assert books.kinds() == [records.SUBMITTED, records.ENDED]
    _, _, _, _, state, _, _, hashsum, app, seconds, *_ = decode(join(books.sent))[1]
    assert (state, hashsum, app, seconds) == (States.memo_done, "x", "print", None)


def test_a_retry_names_the_try_that_failed():
    books = Books()
    task = books.task()
    books.move(task, States.launched)
    task.fail_history.append("ValueError('x')")
    task.fail_count, task.try_id = 1, 1
    books.move(task, States.fail_retryable)
    books.move(task, States.pending)
    books.move(task, States.launched)
    books.move(task, States.exec_done)
    assert books.kinds() == [records.SUBMITTED, records.MOVED, records.MOVED, records.LAUNCHED, records.ENDED]
    moved = decode(join(books.sent))[1]
    assert (moved[2], moved[5]) == (0, "ValueError('x')")


def test_values_that_cannot_be_shown_do_not_stop_the_report():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    books = Books()
    books.move(books.task(kwargs={"inputs": [Odd()], "stdout": ("path", "w")}), States.exec_done)
    books.reports.flush()
    more = decode(join(books.sent))[0][6]
    assert more[3] == "<a list whose repr raised RuntimeError>"
    assert more[6] == "path"


def test_tracebacks_are_kept_of_the_first_failures_only(monkeypatch):
    monkeypatch.setattr(reports, "_MOST_TRACEBACKS", 1)
    books = Books()
    for number in range(2):
        try:
            raise ValueError("x")
        except ValueError as e:
            books.reports.failed(books.task(number), e)
    books.reports.flush()
    texts = [r[5] for r in decode(join(books.sent)) if r[0] == records.FAILED]
    assert "Traceback" in texts[0]
    assert texts[1] is None
