"""Why a task waits, from the tables alone, with and without a word of the kernel."""

from __future__ import annotations

import itertools
import time

import pytest

from parsl.dataflow.explanations import Reason
from parsl.dataflow.states import States
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.queries.waiting import why_waiting
from parsl.monitoring.records import BLOCK, ENDED, LAUNCHED, MOVED, NODE, SAMPLED, SUBMITTED, WAITS, Usage, encode_usage
from parsl.monitoring.rows import Rows, Workers
from parsl.monitoring.store import Store

NOW = time.time()


def submitted(task, depends=None, launched=None, executor="htex"):
    more = None if depends is None else (0, 0, depends, None, None, None, None, None)
    return (SUBMITTED, task, NOW - 100, "f", executor, launched, more)


def ended(task, state=States.exec_done):
    return (ENDED, task, 0, NOW - 50, int(state), 0, 0.0, None, "f", None, None)


def launched(task, ago=90.0):
    return (LAUNCHED, task, 0, NOW - ago, "htex", None)


def block(status, number="0", executor="htex", ago=30.0):
    return (BLOCK, {"at": NOW - ago, "executor": executor, "block": number, "job": "4711", "status": status})


def node(active=1, executor="htex"):
    return (NODE, {"at": NOW, "uid": "m", "hostname": "n1", "executor": executor, "active": active, "worker_count": 4})


@pytest.fixture
def asked(url):
    """A function of records and a task: what is said of it, in a run of its own."""
    store = Store(url)
    store.prepare()
    numbers = itertools.count()

    def ask(records, task, completed=None):
        name = f"run-{next(numbers)}"
        run, *_ = store.open_run(name)
        rows = Rows(run, Workers())
        rows.add(records)
        rows.completed = completed
        store.write(name, rows, 1, 0)
        with RunQueries(url) as queries:
            return why_waiting(queries, run, task)

    yield ask
    store.close()


def reasons(found):
    return [(step.task, step.cause.reason) for step in found.steps]


def test_there_is_no_such_task(asked):
    assert asked([submitted(1)], 2) is None


def test_a_chain(asked):
    found = asked([submitted(1, launched=NOW - 99), submitted(2, "1"), submitted(3, "0,2"), submitted(0), ended(0)], 3)
    assert reasons(found) == [(3, Reason.DEPENDENCY), (2, Reason.DEPENDENCY), (1, Reason.QUEUED)]
    first = str(found).partition("\n")[0]
    assert first == "Task 3 (f) waits for 1 of its 2 arguments; the first that is not done is task 2 (f)."


def test_what_has_ended(asked):
    assert str(asked([submitted(1), ended(1, States.failed)], 1)) == "Task 1 (f) has ended: failed."
    found = asked([submitted(1)], 1, completed=NOW)
    assert str(found) == "Task 1 (f) had not ended (pending) when the run did."


def test_a_dependency_of_which_nothing_is_known_yet(asked):
    found = asked([submitted(2, "1")], 2)
    assert reasons(found) == [(2, Reason.DEPENDENCY), (1, Reason.READY)]


def test_a_join(asked):
    joins = [submitted(1, launched=NOW - 99), (MOVED, 1, 0, NOW - 90, int(States.joining), None, "2,3", None)]
    found = asked([*joins, submitted(2), ended(2), submitted(3)], 1)
    assert reasons(found) == [(1, Reason.JOINING), (3, Reason.READY)]
    assert asked([*joins, submitted(2), ended(2), submitted(3), ended(3)], 1).reason is Reason.FUTURE


def test_a_circle(asked):
    found = asked([submitted(1, "2"), submitted(2, "1")], 1)
    assert reasons(found) == [(1, Reason.DEPENDENCY), (2, Reason.CIRCLE)]


def test_a_task_that_runs(asked):
    usage = encode_usage(Usage(NOW - 10, started=NOW - 80, block="3", hostname="n7", pid=5))
    found = asked([submitted(1), launched(1), (SAMPLED, 1, 0, usage)], 1)
    assert found.reason is Reason.RUNNING
    assert "on n7, in block 3 of executor htex" in str(found)


def test_a_queue_without_workers(asked):
    found = asked([submitted(1), launched(1), block("PENDING"), node(active=0)], 1)
    assert found.reason is Reason.NO_WORKERS
    assert "and no worker is connected" in str(found)
    assert "Block 0 (job 4711) has been PENDING for " in str(found)


def test_a_queue_with_workers(asked):
    queue = [r for n in range(3) for r in (submitted(n), launched(n))]
    other = [submitted(9, executor="threads"), (LAUNCHED, 9, 0, NOW, "threads", None)]
    found = asked([*queue, *other, block("RUNNING"), *(block("PENDING", str(n)) for n in range(1, 8)), node()], 2)
    assert found.reason is Reason.QUEUED
    assert "the 3rd of 3 tasks there that are not known to run" in str(found)
    assert "Connected: 4 workers on 1 node." in str(found)
    assert "4 blocks more are there." in str(found)


def test_the_kernels_word_comes_first(asked):
    said = (WAITS, 1, NOW - 7, "queued", "is 1st of 9 in the queue of executor htex", ["Block 0 is RUNNING.", "So so."])
    found = asked([submitted(1), launched(1), said], 1)
    assert found.reason is Reason.QUEUED
    lines = str(found).split("\n")
    assert lines[:3] == [
        "Task 1 (f) is 1st of 9 in the queue of executor htex.", "  Block 0 is RUNNING.", "  So so.",
    ]  # fmt: skip
    assert lines[3].startswith("  So said the kernel ")


def test_the_kernels_word_on_a_task_that_waits_for_no_task(asked):
    said = (WAITS, 2, NOW - 7, "twin", "waits for task 1 (f), an equal call whose result it will share", [])
    assert asked([submitted(2), said], 2).reason is Reason.TWIN
    assert asked([submitted(1), ended(1), submitted(2, "1"), said], 2).reason is Reason.TWIN


def test_an_old_word_is_not_repeated(asked):
    said = (WAITS, 1, NOW - 95, "twin", "waits for task 0", [])
    assert asked([submitted(1), launched(1, ago=90), said], 1).reason is Reason.QUEUED


def test_a_newer_word_takes_the_place_of_an_older_one(asked):
    words = [(WAITS, 1, NOW - ago, "queued", f"is {ago}th", ["x"]) for ago in (20, 10)]
    assert "is 10th" in str(asked([submitted(1), launched(1), *words], 1))


def test_a_long_chain_is_cut(asked):
    found = asked([submitted(n, str(n + 1)) for n in range(2500)], 0)
    assert found.blocker.task == 1999
    assert "not followed further here" in str(found)
