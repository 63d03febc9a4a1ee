"""The benchmarks of scale at a small size: that they work, and what does not depend on the machine's speed."""

from __future__ import annotations

import pytest

from benchmarks import scale_broker, scale_interchange

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("curve", [False, True])
def test_managers_over_tcp_cost_a_descriptor_and_a_message_each(curve):
    costs = scale_interchange.measure(200, workers=4, calls=2000, curve=curve)
    assert costs.registered == 200
    assert costs.fds == 1
    assert costs.threads[0] == costs.threads[1]
    assert (costs.register_messages, costs.beat_messages) == (2, 2)
    assert costs.rate > 0
    assert scale_interchange.row(costs).count("|") == scale_interchange.HEAD.splitlines()[0].count("|")


def test_the_broker_alone_runs_all_calls():
    lines = list(scale_broker.broker_table([1, 50], workers=4, passes=100, repeats=2))
    assert len(lines) == 5
    assert [line.split()[1] for line in lines[3:]] == ["1", "50"]


def test_a_busy_broker_ends_as_many_calls_as_come():
    load = scale_broker.BrokerUnderLoad(20, 8)
    load.fill()
    assert load.busy(100) > 0
    assert load.shelf.ended == 100 * 8
    assert sum(map(len, load.shelf.calls.values())) == 20 * 8
