"""The Broker against a fake outbox, case by case; test_broker_histories.py has any history of events."""

from __future__ import annotations

import math

import pytest

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.broker import Broker, TaskQueue
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
)
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    DONE,
    MANAGER_LOST,
    OLDEST_PROTOCOL,
    PROTOCOL_VERSION,
    RAISED,
    Drained,
    Draining,
    Heartbeat,
    Leaving,
    Managers,
    Payload,
    Refused,
    Registered,
    Result,
    Stop,
    Submit,
    Task,
    Trouble,
)
from tests.executors.high_throughput.broker_fakes import (
    PARSL,
    PYTHON,
    THRESHOLD,
    Confused,
    Failing,
    FakeOutbox,
    done,
    register,
    submit,
    task,
)


@pytest.fixture
def outbox():
    return FakeOutbox()


@pytest.fixture
def broker(outbox):
    return Broker(outbox, BlockIdManagerSelector(), THRESHOLD, PYTHON, PARSL)


# -- the queue ---------------------------------------------------------------------------------------------------------


def popped(queue):
    return [t.id for t in iter(queue.pop, None)]


@pytest.mark.parametrize(
    ("priorities", "order"),
    [
        ([None, None, None], [0, 1, 2]),
        ([3, 1, 2], [1, 2, 0]),
        ([1, 1, 0, 1, 0], [2, 4, 0, 1, 3]),
        ([None, 5, None, -5], [3, 1, 0, 2]),
        ([2, 1.5, 10**18, -math.inf], [3, 1, 0, 2]),
        ([True, 0, 2], [1, 0, 2]),
        ([None, "high", 1, math.nan, 0, None], [4, 2, 0, 1, 3, 5]),
    ],
)
def test_low_priority_numbers_first_then_first_in_first_out(priorities, order):
    queue = TaskQueue()
    for number, priority in enumerate(priorities):
        queue.push(task(number, priority))
    assert len(queue) == len(priorities)
    assert popped(queue) == order
    assert len(queue) == 0


def test_a_specification_without_priority_comes_last():
    queue = TaskQueue()
    queue.push(Task(0, 0, Payload(b""), {"cores": 2}))
    queue.push(task(1, 99))
    assert popped(queue) == [1, 0]


def test_a_dropped_task_is_not_popped():
    queue = TaskQueue()
    for number in range(3):
        queue.push(task(number))
    assert queue.drop(1)
    assert not queue.drop(1)
    assert not queue.drop(77)
    assert len(queue) == 2
    assert popped(queue) == [0, 2]


# -- handing out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "queued", "given"),
    [
        ({"a": (2, 6), "b": (3, 3)}, 7, {"a": [1, 2, 6, 7], "b": [3, 4, 5]}),
        ({"a": (1, 9), "b": (1, 9)}, 2, {"a": [1], "b": [2]}),
        ({"a": (1, 9), "b": (1, 9)}, 6, {"a": [1, 3, 4], "b": [2, 5, 6]}),
        ({"a": (1, 9), "b": (1, 3)}, 99, {"a": [1, *range(5, 13)], "b": [2, 3, 4]}),
        ({"a": (4, 2)}, 3, {"a": [1, 2]}),
    ],
)
def test_workers_are_fed_before_stocks_are_filled_in_equal_shares(broker, outbox, wanted, queued, given):
    for block, (name, (workers, capacity)) in enumerate(wanted.items()):
        broker.register(name.encode(), register(name.encode(), workers, capacity, str(block)), 0)
    broker.submit(submit(*range(1, queued + 1)))
    broker.assign(0)
    assert {name: outbox.tasks_of(name.encode()) for name in wanted} == given


def test_one_message_for_all_tasks_of_a_pass(broker, outbox):
    broker.register(b"a", register(b"a", workers=2, capacity=5), 0)
    broker.submit(submit(*range(1, 10)))
    broker.assign(0)
    assert [[t.id for t in m.tasks] for m in outbox.sent(b"a")] == [[1, 2, 3, 4, 5]]
    broker.assign(0)
    assert len(outbox.sent(b"a")) == 1


def test_credit_is_absolute_and_may_shrink(broker, outbox):
    broker.register(b"a", register(b"a", workers=1, capacity=3), 0)
    broker.submit(submit(*range(1, 10)))
    broker.assign(0)
    broker.heard(b"a", done(1, credit=1), 1)
    broker.assign(0)
    assert outbox.tasks_of(b"a") == [1, 2, 3]
    broker.heard(b"a", done(2, 3, credit=4), 2)
    broker.assign(0)
    assert outbox.tasks_of(b"a") == [1, 2, 3, 4, 5, 6, 7]


def test_functions_go_along_once(broker, outbox):
    broker.register(b"a", register(b"a", workers=9), 0)
    broker.submit(submit(1, 2, function=5, functions={5: b"five"}))
    broker.submit(submit(3, function=0))
    broker.assign(0)
    broker.submit(submit(4, function=5))
    broker.submit(submit(5, function=6, functions={6: b"six"}))
    broker.assign(0)
    assert [m.functions for m in outbox.sent(b"a")] == [{5: b"five"}, {6: b"six"}]


def test_forgotten_functions_are_forgotten_where_they_were_sent(broker, outbox):
    broker.register(b"a", register(b"a", block="0"), 0)
    broker.register(b"b", register(b"b", block="1"), 0)
    broker.submit(submit(1, function=5, functions={5: b"five"}))
    broker.assign(0)
    broker.heard(b"a", done(1), 1)
    broker.submit(Submit([], {}, [5]))
    assert [m.forget for m in outbox.sent(b"a")] == [[], [5]]
    assert outbox.sent(b"b") == []


def test_a_task_whose_function_is_gone_still_reaches_a_worker(broker, outbox):
    broker.submit(submit(1, function=5, functions={5: b"five"}))
    broker.submit(Submit([], {}, [5]))
    broker.register(b"a", register(b"a"), 0)
    broker.assign(0)
    assert [(m.tasks, m.functions) for m in outbox.sent(b"a")] == [([task(1, function=5)], {})]


@pytest.mark.parametrize("selector", [Failing(), Confused()])
def test_a_selector_that_misbehaves_holds_up_no_task(outbox, selector):
    broker = Broker(outbox, selector, THRESHOLD, PYTHON, PARSL)
    for name in (b"a", b"b"):
        broker.register(name, register(name), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign(0)
    assert sorted(outbox.tasks_of(b"a") + outbox.tasks_of(b"b")) == [1, 2]


# -- managers that come and go -----------------------------------------------------------------------------------------


def test_a_manager_is_welcomed_and_told_to_the_client(broker, outbox):
    broker.register(b"a", register(b"a", workers=4, capacity=6, block="3"), 10)
    broker.flush(12)
    assert outbox.managers == [(b"a", Registered(["/script"], False, ""))]
    (message,) = outbox.client
    (view,) = message.managers
    assert message.gone == []
    assert (view.manager, view.block_id, view.worker_count, view.capacity) == ("a", "3", 4, 6)
    assert (view.tasks, view.idle_duration, view.active, view.draining) == (0, 2, True, False)
    broker.flush(13)
    assert len(outbox.client) == 1


@pytest.mark.parametrize(
    ("python", "protocol", "words"),
    [
        ("3.11.9", PROTOCOL_VERSION, ["Python 3.12.4", "Python 3.11.9", "node"]),
        ("2.12.4", PROTOCOL_VERSION, ["Python 2.12.4"]),
        (PYTHON, PROTOCOL_VERSION + 1, [f"protocol {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}", "node"]),
        (PYTHON, OLDEST_PROTOCOL - 1, [f"protocol {OLDEST_PROTOCOL - 1}"]),
    ],
)
def test_other_versions_are_refused_and_the_client_is_told(broker, outbox, python, protocol, words):
    broker.register(b"a", register(b"a", python=python, protocol=protocol), 0)
    broker.submit(submit(1))
    broker.assign(0)
    broker.flush(0)
    ((_, refused),) = outbox.managers
    (trouble,) = outbox.client
    assert type(refused) is Refused
    assert type(trouble) is Trouble
    for word in words:
        assert word in refused.reason
        assert word in trouble.text
    assert broker.managers == {}


@pytest.mark.parametrize("protocol", range(OLDEST_PROTOCOL, PROTOCOL_VERSION + 1))
def test_every_protocol_of_the_range_and_every_patch_release_is_taken(broker, protocol):
    broker.register(b"a", register(b"a", python="3.12.99", protocol=protocol), 0)
    assert set(broker.managers) == {b"a"}


@pytest.mark.parametrize("message", [Heartbeat(), done(1), Draining(), Leaving("why")])
def test_a_stranger_is_refused(broker, outbox, message):
    broker.submit(submit(1))
    broker.heard(b"late", message, 0)
    broker.assign(0)
    broker.flush(0)
    assert outbox.managers == [(b"late", Refused("not registered"))]
    assert outbox.client == []
    assert len(broker.queue) == 1


def test_silence_loses_a_manager_with_its_tasks(broker, outbox):
    broker.register(b"a", register(b"a", workers=3), 0)
    broker.submit(submit(1, 2, 3, 4))
    broker.assign(0)
    broker.heard(b"a", Heartbeat(), 50)
    broker.expire(50 + THRESHOLD)
    assert set(broker.managers) == {b"a"}
    broker.expire(50 + THRESHOLD + 0.1)
    broker.flush(200)
    assert [(r.id, r.status) for r in outbox.reported()] == [(n, MANAGER_LOST) for n in (1, 2, 3)]
    loss = messages.read_loss(outbox.reported()[0].payload)
    assert (loss.what, loss.hostname) == ("a", "node")
    assert [m.gone for m in outbox.client if type(m) is Managers] == [["a"]]
    broker.heard(b"a", done(1, credit=5), 201)
    assert outbox.sent(b"a", Refused) == [Refused("not registered")]
    broker.flush(202)
    assert len(outbox.reported()) == 3


def test_a_manager_whose_connection_ends_is_lost_at_once(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1))
    broker.assign(0)
    broker.lost(b"a", "its connection has ended")
    broker.lost(b"a", "told twice")
    broker.lost(b"never seen", "a stranger")
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, MANAGER_LOST)]


def test_a_manager_that_leaves_says_why(broker, outbox):
    broker.register(b"a", register(b"a", block="3"), 0)
    broker.submit(submit(1))
    broker.assign(0)
    broker.heard(b"a", Leaving("its workers do not start"), 1)
    broker.flush(1)
    (result,) = outbox.reported()
    loss = messages.read_loss(result.payload)
    assert (result.id, result.status, loss.cause) == (1, MANAGER_LOST, "its workers do not start")
    assert loss.where == "host node, block 3, manager a"
    assert broker.managers == {}


def test_a_task_that_cannot_be_sent_ends_like_one_that_was(broker, outbox):
    broker.register(b"a", register(b"a", workers=2), 0)
    broker.submit(submit(1, 2))
    broker.assign(0)
    broker.failed(b"a", Result(1, RAISED, Payload(b"no room")), 1)
    broker.failed(b"a", Result(1, RAISED, Payload(b"no room")), 1)
    broker.failed(b"stranger", Result(2, RAISED, Payload(b"no room")), 1)
    broker.heard(b"a", Draining(), 1)
    broker.failed(b"a", Result(2, RAISED, Payload(b"no room")), 2)
    broker.flush(2)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, RAISED), (2, RAISED)]
    assert outbox.sent(b"a", Drained) == [Drained()]


def test_a_manager_that_registers_anew_has_lost_what_it_had(broker, outbox):
    broker.submit(submit(1, function=5, functions={5: b"five"}))
    broker.register(b"a", register(b"a"), 0)
    broker.assign(0)
    broker.register(b"a", register(b"a"), 1)
    broker.submit(submit(2, function=5))
    broker.assign(0)
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, MANAGER_LOST)]
    assert [m.functions for m in outbox.sent(b"a")] == [{5: b"five"}, {5: b"five"}]


def test_a_held_manager_ends_what_it_has(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1, 2))
    broker.assign(0)
    assert broker.hold(b"a")
    assert not broker.hold(b"nobody")
    broker.heard(b"a", done(1), 1)
    broker.assign(0)
    broker.flush(1)
    assert outbox.tasks_of(b"a") == [1]
    assert [r.id for r in outbox.reported()] == [1]
    assert [v.active for v in broker.view(1)] == [False]


def test_a_draining_manager_is_let_go_with_its_last_result(broker, outbox):
    broker.register(b"a", register(b"a", workers=2), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign(0)
    broker.heard(b"a", Draining(), 1)
    broker.heard(b"a", done(1, credit=2), 2)
    broker.assign(0)
    broker.flush(2)
    assert [(v.active, v.draining, v.tasks) for v in broker.view(2)] == [(False, True, 1)]
    assert outbox.sent(b"a", Drained) == []
    broker.heard(b"a", done(2, credit=2), 3)
    broker.flush(3)
    assert outbox.sent(b"a", Drained) == [Drained()]
    assert outbox.tasks_of(b"a") == [1, 2]
    assert broker.managers == {}
    assert outbox.client[-1] == Managers([], ["a"])


def test_an_idle_manager_that_drains_is_let_go_at_once(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.heard(b"a", Draining(), 1)
    assert outbox.sent(b"a", Drained) == [Drained()]


def test_heartbeats_are_answered(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.heard(b"a", Heartbeat(), 1)
    assert outbox.sent(b"a", Heartbeat) == [Heartbeat()]


def test_stop_goes_to_every_manager(broker, outbox):
    for name in (b"a", b"b"):
        broker.register(name, register(name), 0)
    broker.stop()
    assert outbox.sent(b"a", Stop) == outbox.sent(b"b", Stop) == [Stop()]


def test_a_queued_task_can_be_cancelled_once(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign(0)
    assert [broker.cancel(n) for n in (1, 2, 2, 99)] == [False, True, False, False]
    broker.heard(b"a", done(1), 1)
    broker.assign(0)
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(2, CANCELLED), (1, DONE)]
    assert outbox.tasks_of(b"a") == [1, 3]


def test_idle_time_counts_from_the_last_result(broker):
    broker.register(b"a", register(b"a", workers=2), 10)
    assert broker.view(15)[0].idle_duration == 5
    broker.submit(submit(1))
    broker.assign(0)
    assert broker.view(20)[0].idle_duration == 0
    broker.heard(b"a", done(1), 30)
    assert broker.view(31.5)[0].idle_duration == 1.5
