"""The Broker against a fake outbox, case by case; any history of events is in test_broker_histories.py."""

from __future__ import annotations

import itertools

import pytest

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.broker import Broker
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
    RandomManagerSelector,
)
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    MANAGER_LOST,
    OLDEST_PROTOCOL,
    PROTOCOL_VERSION,
    RAISED,
    Cancel,
    Drained,
    Draining,
    Emptied,
    Heartbeat,
    Held,
    Leaving,
    Managers,
    Payload,
    Received,
    Refused,
    Register,
    Registered,
    Reintroduce,
    Result,
    Results,
    Stop,
    Submit,
    Tasks,
    Trouble,
)
from tests.executors.high_throughput.broker_fakes import (
    PARSL,
    PYTHON,
    THRESHOLD,
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


# -- handing out -------------------------------------------------------------------------------------------------------


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


# -- many managers -----------------------------------------------------------------------------------------------------


class Watched(dict):
    """The managers of a broker, which it must not go through."""

    def __iter__(self):
        raise AssertionError("all managers were looked at")

    keys = values = items = __iter__


def test_no_task_heartbeat_or_pass_looks_at_all_managers(outbox):
    broker = Broker(outbox, RandomManagerSelector(), THRESHOLD, PYTHON, PARSL)
    broker.managers = Watched()
    for number in range(300):
        name = b"%03d" % number
        broker.register(name, register(name, workers=2, capacity=3, seconds_left=1000), 0)
    broker.submit(submit(1, 2, 3, function=7, functions={7: b"body"}))
    broker.submit(Submit([task(4, seconds=2000), task(5, seconds=20)], {}, []))
    broker.assign(0)
    sent = {identity: [t.id for t in m.tasks] for identity, m in outbox.managers if type(m) is Tasks}
    assert sorted(itertools.chain(*sent.values())) == [1, 2, 3, 5]
    for identity, tasks in sent.items():
        broker.heard(identity, done(*tasks, credit=3), 1)
    broker.heard(b"123", Draining(), 1)
    broker.submit(Submit([], {}, [7]))
    broker.assign(2)
    broker.expire(THRESHOLD)
    broker.flush(2)
    assert sorted(r.id for r in outbox.reported()) == [1, 2, 3, 5]


def test_each_manager_is_heard_and_answered_once_a_heartbeat(outbox):
    broker = Broker(outbox, RandomManagerSelector(), THRESHOLD, PYTHON, PARSL)
    names = [b"%03d" % number for number in range(200)]
    for name in names:
        broker.register(name, register(name, workers=64), 0)
    broker.flush(0)
    assert len(outbox.client) == 1, "what changed is told in one message"
    outbox.managers.clear()
    periods, now = 20, 0.0
    for _ in range(periods):
        now += 30
        for name in names:
            broker.heard(name, Heartbeat(), now)
        broker.expire(now)
        broker.assign(now)
        broker.flush(now)
    assert len(outbox.client) == 1, "an idle manager is no news"
    assert len(outbox.managers) == periods * len(names)
    assert all(len(outbox.sent(name, Heartbeat)) == periods for name in names[:10])
    assert len(broker.managers) == len(names)
    broker.expire(now + THRESHOLD + 1)
    assert broker.managers == {}


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
    assert outbox.managers == [(b"late", Reintroduce())]
    assert outbox.client == []
    assert len(broker.queue) == 1


@pytest.mark.parametrize("message", [Heartbeat(), done(1), register(b"a", tasks=[1])])
def test_a_manager_that_was_given_up_must_not_come_back(broker, outbox, message):
    broker.register(b"a", register(b"a"), 0)
    broker.lost(b"a", "not heard of for 120 s")
    if isinstance(message, Register):
        broker.register(b"a", message, 1)
    else:
        broker.heard(b"a", message, 1)
    assert type(outbox.managers[-1][1]) is Refused
    assert broker.managers == {}


def test_another_manager_may_have_the_name_of_one_that_was_given_up(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.lost(b"a", "its connection has ended")
    broker.register(b"a", register(b"a"), 1)
    assert set(broker.managers) == {b"a"}


# -- managers that come back -------------------------------------------------------------------------------------------


def test_a_manager_of_an_earlier_interchange_brings_its_tasks(broker, outbox):
    broker.register(b"a", register(b"a", workers=3, tasks=[7, 9]), 0)
    assert outbox.client == [Held("a", [7, 9])]
    broker.submit(submit(10, 11))
    broker.assign(0)
    assert outbox.tasks_of(b"a") == [10], "two of its three workers are busy"
    broker.heard(b"a", done(7, 9, credit=3), 1)
    broker.flush(1)
    assert [r.id for r in outbox.reported()] == [7, 9]


def test_a_manager_back_at_the_same_interchange_has_lost_what_it_does_not_name(broker, outbox):
    broker.register(b"a", register(b"a", workers=3), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign(0)
    broker.register(b"a", register(b"a", workers=3, tasks=[1, 3, 99]), 1)
    broker.flush(1)
    assert broker.managers[b"a"].tasks == {1, 3}, "99 was given up long ago"
    assert [(r.id, r.status) for r in outbox.reported()] == [(2, MANAGER_LOST)]


def test_a_manager_back_in_a_block_that_is_drained_ends_its_tasks_first(broker, outbox):
    broker.drain("0")
    broker.register(b"a", register(b"a", tasks=[7]), 0)
    broker.flush(0)
    assert outbox.sent(b"a", Drained) == []
    outbox.client.clear()
    broker.heard(b"a", done(7), 1)
    broker.flush(1)
    assert outbox.sent(b"a", Drained) == [Drained()]
    assert outbox.client[-1] == Emptied("0")


# -- results that have reached the client ------------------------------------------------------------------------------


def test_results_are_acknowledged_once_the_client_has_them(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1))
    broker.assign(0)
    outbox.all_left = False
    broker.heard(b"a", done(1, number=1), 1)
    broker.flush(1)
    broker.thank()
    assert outbox.sent(b"a", Received) == []
    assert broker.owes_thanks
    outbox.all_left = True
    broker.flush(2)
    broker.thank()
    assert outbox.sent(b"a", Received) == [Received(1)]
    assert not broker.owes_thanks


def test_the_next_tasks_acknowledge_results_too(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1, 2))
    broker.assign(0)
    broker.heard(b"a", done(1, number=1), 1)
    broker.flush(1)
    broker.assign(1)
    assert [m.received for m in outbox.sent(b"a")] == [0, 1]
    assert not broker.owes_thanks


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


def test_a_block_is_empty_with_the_last_result_of_its_last_manager(broker, outbox):
    for name, block in ((b"a", "0"), (b"b", "0"), (b"c", "1")):
        broker.register(name, register(name, block=block), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign(0)
    ((one,), (two,), (three,)) = (outbox.tasks_of(name) for name in (b"a", b"b", b"c"))
    broker.heard(b"a", done(one, credit=1), 1)
    assert broker.drain("0") == [b"a"]
    broker.submit(submit(4))
    broker.assign(0)
    broker.flush(1)
    assert outbox.sent(b"a", Drained) == [Drained()]
    assert outbox.sent(b"b", Drained) == []
    assert not [m for m in outbox.client if type(m) is Emptied]
    broker.heard(b"b", done(two, credit=1), 2)
    broker.assign(0)
    broker.flush(2)
    assert outbox.sent(b"b", Drained) == [Drained()]
    # In this order: who hears that the block is empty knows all that was done there.
    assert [type(m) for m in outbox.client[-3:]] == [Results, Managers, Emptied]
    assert outbox.client[-1] == Emptied("0")
    broker.heard(b"c", done(three, credit=1), 3)
    broker.assign(0)
    assert outbox.tasks_of(b"c") == [three, 4]


def test_a_block_of_which_nothing_was_heard_is_empty_and_stays_so(broker, outbox):
    assert broker.drain("0") == []
    broker.flush(0)
    assert outbox.client == [Emptied("0")]
    broker.submit(submit(1))
    broker.register(b"late", register(b"late", block="0"), 1)
    broker.assign(0)
    broker.flush(1)
    assert outbox.managers == [(b"late", Drained())]
    assert broker.managers == {}
    assert len(broker.queue) == 1


def test_a_block_that_is_drained_again_is_said_to_be_empty_again(broker, outbox):
    for _ in range(2):
        broker.drain("0")
        broker.flush(0)
    assert outbox.client == [Emptied("0")] * 2


@pytest.mark.parametrize("end", ["lost", "silent", "anew"])
def test_a_drained_block_whose_manager_is_lost_is_empty(broker, outbox, end):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1))
    broker.assign(0)
    broker.drain("0")
    if end == "lost":
        broker.lost(b"a", "killed")
    elif end == "silent":
        broker.expire(THRESHOLD + 1)
    else:
        broker.register(b"a", register(b"a"), 1)
    broker.flush(200)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, MANAGER_LOST)]
    assert outbox.client[-1] == Emptied("0")


def test_heartbeats_are_answered(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.heard(b"a", Heartbeat(), 1)
    assert outbox.sent(b"a", Heartbeat) == [Heartbeat()]


def test_stop_goes_to_every_manager(broker, outbox):
    for name in (b"a", b"b"):
        broker.register(name, register(name), 0)
    broker.stop()
    assert outbox.sent(b"a", Stop) == outbox.sent(b"b", Stop) == [Stop()]


def test_queued_tasks_are_cancelled_and_others_are_the_managers_to_cancel(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.register(b"b", register(b"b"), 0)
    broker.submit(submit(1, 2, 3, 4, 5))
    broker.assign(0)
    here = {name: set(outbox.tasks_of(name)) for name in (b"a", b"b")}
    assert sorted(here[b"a"] | here[b"b"]) == [1, 2]
    broker.cancel([1, 3, 99, 4], stop=False)
    broker.cancel([3], stop=True)
    holder = next(name for name, tasks in here.items() if 1 in tasks)
    assert {name: outbox.sent(name, Cancel) for name in here if outbox.sent(name, Cancel)} == {
        holder: [Cancel([1], stop=False)]
    }
    broker.heard(holder, Results([Result(1, CANCELLED, Payload(b""))], 1), 1)
    broker.assign(0)
    broker.flush(1)
    assert sorted((r.id, r.status) for r in outbox.reported()) == [(1, CANCELLED), (3, CANCELLED), (4, CANCELLED)]
    assert outbox.tasks_of(holder) == [1, 5]


def test_idle_time_counts_from_the_last_result(broker):
    broker.register(b"a", register(b"a", workers=2), 10)
    assert broker.view(15)[0].idle_duration == 5
    broker.submit(submit(1))
    broker.assign(0)
    assert broker.view(20)[0].idle_duration == 0
    broker.heard(b"a", done(1), 30)
    assert broker.view(31.5)[0].idle_duration == 1.5
