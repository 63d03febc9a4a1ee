"""What the interchange says, in words; live against a pilot in tests/live/test_explain.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from parsl.dataflow.explanations import Cause, Reason
from parsl.executors.high_throughput.errors import CommandClientBadError
from parsl.executors.high_throughput.why_waiting import ask, in_words
from tests.jobs.fakes import Clock, FakeExecutor, FakeProvider

QUEUED = {
    "position": 2, "length": 9, "seconds": None, "resources": None, "managers": 1, "workers": 4, "busy": 4,
    "closed": 0, "longest": None,
}  # fmt: skip
SECOND = "is 2nd of 9 in the queue of executor htex"
THERE = {"manager": "m", "hostname": "node7", "block": "3", "tasks": 1, "workers": 2, "silent": 1.0}


@pytest.fixture
def executor():
    made = FakeExecutor(FakeProvider(), label="htex")
    made.clock = Clock()
    made.enable_mpi_mode = False
    made.heartbeat_period, made.heartbeat_threshold = 30, 120
    return made


@pytest.mark.parametrize(
    ("facts", "reason", "text"),
    [
        (QUEUED, Reason.QUEUED, f"{SECOND}; workers that are busy: 4 of 4"),
        ({**QUEUED, "managers": 0}, Reason.NO_WORKERS, f"{SECOND}, and no worker is connected"),
        ({**QUEUED, "seconds": 7200, "longest": 600.0}, Reason.NO_ROOM,
         f"{SECOND}: it declares 2.0 h, and no block that is there lasts longer than 10 min"),
        ({**QUEUED, "seconds": 60, "longest": 600.0}, Reason.QUEUED, f"{SECOND}; workers that are busy: 4 of 4"),
        (THERE, Reason.RUNNING, "is running on node7, in block 3 of executor htex"),
        ({**THERE, "tasks": 5}, Reason.RUNNING,
         "runs or is next on node7, in block 3 of executor htex, whose 2 workers have 5 tasks"),
        ({}, Reason.RUNNING, "has ended on executor htex, and the word of that is on its way"),
        ({"held": 600 * 2**20}, Reason.SENDING, "waits to be sent to executor htex: 600 MB of others are on their way"),
        (CommandClientBadError(), Reason.UNKNOWN, "is with executor htex, whose interchange has ended"),
    ],
)  # fmt: skip
def test_words(executor, facts, reason, text):
    found = in_words(executor, facts)
    assert (found.reason, found.text) == (reason, text)


def test_what_it_asks_for_is_told(executor):
    found = in_words(executor, {**QUEUED, "resources": {"priority": 3, "num_nodes": 4, "walltime": 60}, "closed": 2})
    assert found.details[:2] == ["It asks for priority=3, num_nodes=4.", "2 nodes on the way out take no more tasks."]


def test_tasks_of_mpi_wait_for_nodes_with_their_manager(executor):
    executor.enable_mpi_mode = True
    assert "runs as soon as its nodes of the block are free" in in_words(executor, THERE).text


POOL = {
    "nodes": 4, "free": 1, "running": 2, "most": 4, "needs": 3, "ahead": 0, "ahead_nodes": 0, "passed": 0,
    "kept": False,
}  # fmt: skip
WAITS = "waits for 3 nodes with the manager on node7, in block 3 of executor htex"


@pytest.mark.parametrize(
    ("pool", "text", "details"),
    [
        ({}, f"{WAITS}: 1 of 4 is free, and it is the next", []),
        ({"ahead": 1, "ahead_nodes": 4}, f"{WAITS}: 1 of 4 is free, and 1 task is ahead of it, for 4 nodes", []),
        ({"free": 2, "ahead": 2, "ahead_nodes": 5, "kept": True},
         f"{WAITS}: 2 of 4 are free, and 2 tasks are ahead of it, for 5 nodes",
         ["A task ahead has been passed over so often that each node that gets free is kept for it."]),
        ({"passed": 1}, f"{WAITS}: 1 of 4 is free, and it is the next",
         ["Later tasks have been given 1 node meanwhile, which it could not use."]),
        ({"free": 4, "running": 2, "most": 2}, f"{WAITS}: 4 of 4 are free, and it is the next",
         ["2 tasks of the block run, and no more may at once."]),
    ],
)  # fmt: skip
def test_the_nodes_that_are_missing_are_told(executor, pool, text, details):
    executor.enable_mpi_mode = True
    found = in_words(executor, {**THERE, "pool": {**POOL, **pool}})
    assert (found.reason, found.text, found.details) == (Reason.QUEUED, text, details)


def test_the_nodes_that_a_task_has_are_told(executor):
    executor.enable_mpi_mode = True
    pool = {"nodes": 9, "free": 3, "running": 1, "most": 9, "got": [f"n{at}" for at in range(6)]}
    found = in_words(executor, {**THERE, "pool": pool})
    where = "is running with the manager on node7, in block 3 of executor htex, on 6 nodes: n0, n1, n2, n3 and 2 more"
    assert (found.reason, found.text) == (Reason.RUNNING, where)


def test_a_silent_node_is_told_of(executor):
    assert in_words(executor, {**THERE, "silent": 90.0}).details == [
        "Nothing has been heard of that node for 90 s; after 2 min it is given up."
    ]


# -- asking --------------------------------------------------------------------------------------------------------


class FakeClient:
    def __init__(self, calls, facts):
        self.calls, self.facts, self.asked = calls, facts, []

    def locate(self, number, answer, *, nodes):
        assert not nodes
        self.asked.append(number)
        answer(self.facts)


def asked(executor, client, number=7):
    answers = []
    ask(executor, client, SimpleNamespace(executor_id=number), answers.append)
    (answer,) = answers
    assert isinstance(answer, Cause)
    return answer


def test_the_interchange_is_asked(executor):
    client = FakeClient({7: None}, THERE)
    assert asked(executor, client).reason is Reason.RUNNING
    assert client.asked == [7]


@pytest.mark.parametrize("client", [None, FakeClient({}, THERE)])
def test_a_call_that_has_ended(executor, client):
    assert "is about to say so" in asked(executor, client).text


def test_an_executor_that_has_given_up(executor):
    executor.set_bad_state_and_fail_all(RuntimeError("all blocks have failed"))
    found = asked(executor, FakeClient({7: None}, THERE))
    assert (found.reason, "all blocks have failed" in found.text) == (Reason.NO_WORKERS, True)
