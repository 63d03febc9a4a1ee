"""What executors on somebody else's engine tell of a call that waits; the rest is in the tests of each engine."""

from __future__ import annotations

import concurrent.futures
import threading
from types import SimpleNamespace

import pytest

from parsl.dataflow.explanations import Reason
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
