"""Where a call is, by the broker's books."""

from __future__ import annotations

import pytest

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.broker import Broker
from parsl.executors.high_throughput.manager_selector import BlockIdManagerSelector
from parsl.executors.high_throughput.messages import Answer, Submit
from parsl.executors.high_throughput.whereabouts import find
from tests.executors.high_throughput.broker_fakes import PARSL, PYTHON, THRESHOLD, FakeOutbox, register, submit, task


@pytest.fixture
def broker():
    return Broker(FakeOutbox(), BlockIdManagerSelector(), THRESHOLD, PYTHON, PARSL)


def travelled(facts):
    """Send facts as the interchange does: what is no plain value cannot travel."""
    return messages.to_client().decode(messages.from_client().encode(Answer(1, facts))).body


def test_with_a_manager(broker):
    broker.register(b"m", register(b"m", workers=2, capacity=3, block="7"), 0.0)
    broker.submit(submit(1, 2, 3, 4))
    broker.assign(0.0)
    assert travelled(find(broker, 3, 5.0)) == {
        "manager": "m", "hostname": "node", "block": "7", "tasks": 3, "workers": 2, "silent": 5.0,
    }  # fmt: skip
    found = travelled(find(broker, 4, 5.0))
    assert (found["position"], found["length"], found["managers"], found["workers"], found["busy"]) == (1, 1, 1, 2, 2)
    assert (found["longest"], found["closed"], found["seconds"]) == (None, 0, None)


def test_in_a_queue_without_managers(broker):
    broker.submit(submit(1, 2))
    broker.submit(Submit([task(3, priority=1)], {}, []))
    found = travelled(find(broker, 2, 0.0))
    assert (found["position"], found["length"], found["managers"], found["longest"]) == (3, 3, 0, 0.0)
    assert travelled(find(broker, 3, 0.0))["resources"] == {"priority": 1}


def test_one_that_fits_nowhere(broker):
    broker.register(b"m", register(b"m", seconds_left=100.0), 0.0)
    broker.submit(Submit([task(1, seconds=3600)], {}, []))
    broker.assign(0.0)
    found = travelled(find(broker, 1, 40.0))
    assert (found["seconds"], found["longest"]) == (3600, 60.0)


def test_managers_on_their_way_out(broker):
    broker.register(b"m", register(b"m", block="7"), 0.0)
    broker.submit(submit(1))
    broker.assign(0.0)
    broker.hold(b"m")
    broker.submit(submit(2))
    found = travelled(find(broker, 2, 0.0))
    assert (found["managers"], found["closed"]) == (0, 1)


def test_one_that_is_not_there(broker):
    assert travelled(find(broker, 1, 0.0)) == {}
