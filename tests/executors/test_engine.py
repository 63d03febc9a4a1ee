"""What executors on somebody else's engine tell of a call that waits; the rest is in the tests of each engine."""

from __future__ import annotations

import concurrent.futures
import threading
from types import SimpleNamespace

import pytest

from parsl.dataflow.explanations import Reason
from parsl.executors import engine
from parsl.executors.engine import ClusterSize
from parsl.executors.futures import FuturesExecutor
from tests.kernels import SOON


@pytest.fixture
def executor():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        made = FuturesExecutor(pool, label="pool")
        made.start()
        yield made
        made.shutdown()


def asked(executor, number):
    answers = []
    executor.why_waiting(SimpleNamespace(executor_id=number), answers.append)
    (answer,) = answers
    return answer.reason, answer.text


def test_what_the_engine_says(executor):
    begun, leave = threading.Event(), threading.Event()
    Shared.begun, Shared.leave = begun, leave
    futures = [executor.submit(hold, {}) for _ in range(2)]
    assert begun.wait(SOON)
    has = "the engine of executor pool, which has 2 calls"
    assert asked(executor, 1) == (Reason.RUNNING, f"is running on {has}, or about to")
    assert asked(executor, 2) == (Reason.QUEUED, f"is queued by {has}")
    leave.set()
    concurrent.futures.wait(futures, SOON)


def test_an_engine_that_does_not_say(executor):
    assert asked(executor, 4711) == (Reason.UNKNOWN, "is with the engine of executor pool, which has 0 calls")


class Shared:
    """What the calls, which are packed on their way to the pool, wait for."""

    begun: threading.Event
    leave: threading.Event


def hold():
    Shared.begun.set()
    assert Shared.leave.wait(SOON)


# -- the size of a cluster that somebody else scales -------------------------------------------------------------------


class Cluster:
    """Answers what it is told to, when it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)

    def __call__(self):
        self.asked.release()
        assert self.may_answer.acquire(timeout=SOON)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def old(monkeypatch):
    """Every answer is an old one."""
    monkeypatch.setattr(engine, "_SIZE_SECONDS", 0.0)


def answered(size):
    asking = size._asking
    if asking is not None:
        asking.join(SOON)


def test_the_size_is_told_without_waiting_for_the_cluster(old):
    cluster = Cluster(2, 5)
    size = ClusterSize(cluster)
    assert size.room(0) is None
    assert cluster.asked.acquire(timeout=SOON)
    assert size.room(1) is None  # and nobody asks a second time meanwhile
    cluster.may_answer.release()
    answered(size)
    assert size.room(3) == (3, 2, 2)
    cluster.may_answer.release()
    answered(size)
    assert size._slots == 5
    assert cluster.answers == []


def test_a_young_answer_is_good_enough():
    cluster = Cluster(4)
    cluster.may_answer.release()
    size = ClusterSize(cluster)
    size.start()
    assert [size.room(n) for n in range(3)] == [(n, 4, 4) for n in range(3)]
    assert size._asking is None


def test_a_cluster_that_has_shrunk_to_nothing_is_expected_to_grow(old):
    cluster = Cluster(0)
    cluster.may_answer.release()
    size = ClusterSize(cluster)
    size.start()
    assert size.room(7) == (7, 0, 1)
    cluster.answers.append(1)
    cluster.may_answer.release()
    answered(size)


def test_without_an_answer_the_last_one_stays(caplog):
    cluster = Cluster(2, OSError("gone"))
    cluster.may_answer.release()
    size = ClusterSize(cluster)
    size.start()
    size._asked -= engine._SIZE_SECONDS
    assert size.room(0) == (0, 2, 2)
    cluster.may_answer.release()
    size.close()
    assert "did not tell its size" in caplog.text
    assert size._slots == 2
