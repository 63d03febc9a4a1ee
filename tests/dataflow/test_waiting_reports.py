"""What is written of tasks that wait for long, with a loop that is turned by hand."""

from __future__ import annotations

import time

import pytest

from parsl.dataflow.explanations import Cause, Explanation, Reason, Step
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.dataflow.waiting_reports import LONG_SECONDS, LOOK_SECONDS, MOST, WaitingReports
from parsl.monitoring.records import WAITS, decode, join


class FakeLoop:
    def __init__(self):
        self.timers = []

    def call_later(self, delay, function):
        self.timers.append((delay, function))


class Bench:
    """Tasks, what is said of them, and what is sent."""

    def __init__(self):
        self.loop, self.tasks, self.asked, self.sent = FakeLoop(), {}, [], []
        self.steps = {}
        self.reports = WaitingReports(self.loop, self.tasks, self.explain, self.sent.append)

    def add(self, number, age=60.0, status=States.launched):
        task = TaskRecord(number, None, abs, (), {}, "htex", {}, invoked=time.time() - age)
        task.status = status
        self.tasks[number] = task

    def explain(self, task, answer):
        self.asked.append(task.id)
        answer(Explanation(self.steps.get(task.id) or (step(task.id, Reason.QUEUED),)))

    def records(self):
        return [tuple(r) for r in decode(join(self.sent))]


def step(number, reason, text="waits"):
    return Step(number, "f", Cause(reason, text, ["because"]))


@pytest.fixture
def bench():
    return Bench()


def test_it_looks_again_and_again(bench):
    ((delay, look),) = bench.loop.timers
    assert delay == LOOK_SECONDS
    bench.add(1)
    look()
    assert bench.asked == [1]
    assert len(bench.loop.timers) == 2


def test_the_oldest_that_have_waited_for_long_are_asked_about(bench):
    bench.add(0, status=States.exec_done)
    for number in range(1, 40):
        bench.add(number, age=60 if number != 3 else LONG_SECONDS / 2)
    bench.reports.look()
    assert bench.asked == [1, 2, *range(4, MOST + 2)]


def test_what_is_written(bench):
    bench.add(5)
    bench.reports.look()
    ((kind, task, at, reason, text, details),) = bench.records()
    assert (kind, task, reason, text, details) == (WAITS, 5, "queued", "waits", ["because"])
    assert at == pytest.approx(time.time(), abs=60)


def test_of_a_chain_its_ends_are_written_where_the_database_does_not_tell(bench):
    bench.add(5)
    bench.steps[5] = (step(5, Reason.DEPENDENCY), step(4, Reason.TWIN), step(3, Reason.SENDING))
    bench.add(6)
    bench.steps[6] = (step(6, Reason.TWIN), step(5, Reason.ENDED))
    bench.add(7)
    bench.steps[7] = (step(7, Reason.DEPENDENCY),)
    bench.reports.look()
    assert [(record[1], record[3]) for record in bench.records()] == [(3, "sending"), (6, "twin")]


def test_without_tasks_nothing_is_sent(bench):
    bench.reports.look()
    assert bench.sent == []
