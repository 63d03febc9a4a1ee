"""The Broker against a fake outbox: tables first, then any history of events."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.broker import Broker, TaskQueue
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
    ManagerSelector,
    RandomManagerSelector,
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
    Register,
    Registered,
    Result,
    Results,
    Stop,
    Submit,
    Task,
    Tasks,
    Trouble,
)

THRESHOLD = 120.0
PYTHON, PARSL = "3.12.4", "2026.11.0"


class FakeOutbox:
    """Keeps what the broker sends, after a trip through the codecs: what cannot travel fails here."""

    def __init__(self):
        self.client = []
        self.managers = []
        self._to_client, self._to_manager = messages.to_client(), messages.to_manager()

    def to_client(self, message):
        self.client.append(self._to_client.decode(self._to_client.encode(message)))

    def to_manager(self, identity, message):
        self.managers.append((identity, self._to_manager.decode(self._to_manager.encode(message))))

    def welcome(self, about):
        return Registered(["/script"], False, "")

    def sent(self, identity, kind=Tasks):
        return [m for i, m in self.managers if i == identity and type(m) is kind]

    def tasks_of(self, identity):
        return [t.id for m in self.sent(identity) for t in m.tasks]

    def reported(self):
        return [r for m in self.client if type(m) is Results for r in m.results]


def register(identity=b"m", workers=1, capacity=None, block="0", python=PYTHON, protocol=PROTOCOL_VERSION):
    capacity = workers if capacity is None else capacity
    return Register(identity.decode(), protocol, block, "node", workers, capacity, python, PARSL, "/shm", "token", 1)


def task(number, priority=None, function=0):
    return Task(number, function, Payload(b"%d" % number), None if priority is None else {"priority": priority})


def submit(*numbers, priority=None, function=0, functions=None):
    return Submit([task(n, priority, function) for n in numbers], functions or {}, [])


def done(*numbers, credit=1):
    return Results([Result(n, DONE, Payload(b"r%d" % n), 0.1) for n in numbers], credit)


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
    broker.assign()
    assert {name: outbox.tasks_of(name.encode()) for name in wanted} == given


def test_one_message_for_all_tasks_of_a_pass(broker, outbox):
    broker.register(b"a", register(b"a", workers=2, capacity=5), 0)
    broker.submit(submit(*range(1, 10)))
    broker.assign()
    assert [[t.id for t in m.tasks] for m in outbox.sent(b"a")] == [[1, 2, 3, 4, 5]]
    broker.assign()
    assert len(outbox.sent(b"a")) == 1


def test_credit_is_absolute_and_may_shrink(broker, outbox):
    broker.register(b"a", register(b"a", workers=1, capacity=3), 0)
    broker.submit(submit(*range(1, 10)))
    broker.assign()
    broker.heard(b"a", done(1, credit=1), 1)
    broker.assign()
    assert outbox.tasks_of(b"a") == [1, 2, 3]
    broker.heard(b"a", done(2, 3, credit=4), 2)
    broker.assign()
    assert outbox.tasks_of(b"a") == [1, 2, 3, 4, 5, 6, 7]


def test_functions_go_along_once(broker, outbox):
    broker.register(b"a", register(b"a", workers=9), 0)
    broker.submit(submit(1, 2, function=5, functions={5: b"five"}))
    broker.submit(submit(3, function=0))
    broker.assign()
    broker.submit(submit(4, function=5))
    broker.submit(submit(5, function=6, functions={6: b"six"}))
    broker.assign()
    assert [m.functions for m in outbox.sent(b"a")] == [{5: b"five"}, {6: b"six"}]


def test_forgotten_functions_are_forgotten_where_they_were_sent(broker, outbox):
    broker.register(b"a", register(b"a", block="0"), 0)
    broker.register(b"b", register(b"b", block="1"), 0)
    broker.submit(submit(1, function=5, functions={5: b"five"}))
    broker.assign()
    broker.heard(b"a", done(1), 1)
    broker.submit(Submit([], {}, [5]))
    assert [m.forget for m in outbox.sent(b"a")] == [[], [5]]
    assert outbox.sent(b"b") == []


def test_a_task_whose_function_is_gone_still_reaches_a_worker(broker, outbox):
    broker.submit(submit(1, function=5, functions={5: b"five"}))
    broker.submit(Submit([], {}, [5]))
    broker.register(b"a", register(b"a"), 0)
    broker.assign()
    assert [(m.tasks, m.functions) for m in outbox.sent(b"a")] == [([task(1, function=5)], {})]


class Failing(ManagerSelector):
    def sort_managers(self, ready_managers, manager_list):
        raise KeyError("a user's mistake")


class Confused(ManagerSelector):
    """Names strangers, names some twice, and empties the set that it was given."""

    def sort_managers(self, ready_managers, manager_list):
        names = sorted(manager_list)
        manager_list.clear()
        return [b"stranger", *names, *names]


@pytest.mark.parametrize("selector", [Failing(), Confused()])
def test_a_selector_that_misbehaves_holds_up_no_task(outbox, selector):
    broker = Broker(outbox, selector, THRESHOLD, PYTHON, PARSL)
    for name in (b"a", b"b"):
        broker.register(name, register(name), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign()
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
    broker.assign()
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
    broker.assign()
    broker.flush(0)
    assert outbox.managers == [(b"late", Refused("not registered"))]
    assert outbox.client == []
    assert len(broker.queue) == 1


def test_silence_loses_a_manager_with_its_tasks(broker, outbox):
    broker.register(b"a", register(b"a", workers=3), 0)
    broker.submit(submit(1, 2, 3, 4))
    broker.assign()
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
    broker.assign()
    broker.lost(b"a", "its connection has ended")
    broker.lost(b"a", "told twice")
    broker.lost(b"never seen", "a stranger")
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, MANAGER_LOST)]


def test_a_manager_that_leaves_says_why(broker, outbox):
    broker.register(b"a", register(b"a", block="3"), 0)
    broker.submit(submit(1))
    broker.assign()
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
    broker.assign()
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
    broker.assign()
    broker.register(b"a", register(b"a"), 1)
    broker.submit(submit(2, function=5))
    broker.assign()
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(1, MANAGER_LOST)]
    assert [m.functions for m in outbox.sent(b"a")] == [{5: b"five"}, {5: b"five"}]


def test_a_held_manager_ends_what_it_has(broker, outbox):
    broker.register(b"a", register(b"a"), 0)
    broker.submit(submit(1, 2))
    broker.assign()
    assert broker.hold(b"a")
    assert not broker.hold(b"nobody")
    broker.heard(b"a", done(1), 1)
    broker.assign()
    broker.flush(1)
    assert outbox.tasks_of(b"a") == [1]
    assert [r.id for r in outbox.reported()] == [1]
    assert [v.active for v in broker.view(1)] == [False]


def test_a_draining_manager_is_let_go_with_its_last_result(broker, outbox):
    broker.register(b"a", register(b"a", workers=2), 0)
    broker.submit(submit(1, 2, 3))
    broker.assign()
    broker.heard(b"a", Draining(), 1)
    broker.heard(b"a", done(1, credit=2), 2)
    broker.assign()
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
    broker.assign()
    assert [broker.cancel(n) for n in (1, 2, 2, 99)] == [False, True, False, False]
    broker.heard(b"a", done(1), 1)
    broker.assign()
    broker.flush(1)
    assert [(r.id, r.status) for r in outbox.reported()] == [(2, CANCELLED), (1, DONE)]
    assert outbox.tasks_of(b"a") == [1, 3]


def test_idle_time_counts_from_the_last_result(broker):
    broker.register(b"a", register(b"a", workers=2), 10)
    assert broker.view(15)[0].idle_duration == 5
    broker.submit(submit(1))
    broker.assign()
    assert broker.view(20)[0].idle_duration == 0
    broker.heard(b"a", done(1), 30)
    assert broker.view(31.5)[0].idle_duration == 1.5


# -- any history -------------------------------------------------------------------------------------------------------


class ModelManager:
    def __init__(self, credit):
        self.credit = credit
        self.open = True
        self.draining = False
        self.tasks = set()
        self.functions = set()


class Checked(FakeOutbox):
    """An outbox that checks each message against what may be sent at that moment."""

    def __init__(self):
        super().__init__()
        self.model = {}
        self.queued = {}
        self.open = set()
        self.bodies = {}

    def to_client(self, message):
        super().to_client(message)
        if type(message) is Results:
            for result in message.results:
                assert result.id in self.open, "reported twice, or never submitted"
                self.open.discard(result.id)
                assert result.id not in self.queued or result.status == CANCELLED
                self.queued.pop(result.id, None)

    def to_manager(self, identity, message):
        super().to_manager(identity, message)
        manager = self.model.get(identity)
        if type(message) is Tasks:
            self._check_tasks(manager, message)
        elif type(message) is Drained:
            assert manager.draining
            assert not manager.tasks
            del self.model[identity]
        elif type(message) is Refused:
            assert manager is None
        elif type(message) is Heartbeat:
            assert manager is not None

    def _check_tasks(self, manager, message):
        assert manager is not None, "sent to a manager that is gone"
        assert set(message.forget) <= manager.functions
        manager.functions -= set(message.forget)
        assert not set(message.functions) & manager.functions, "a function was sent twice"
        assert all(self.bodies[f] == body for f, body in message.functions.items())
        manager.functions |= set(message.functions)
        assert {t.function for t in message.tasks} - {0} <= manager.functions, "a task came before its function"
        assert manager.open or not message.tasks, "sent to a held or draining manager"
        ranks = [self.queued.pop(t.id) for t in message.tasks]
        assert ranks == sorted(ranks)
        manager.tasks |= {t.id for t in message.tasks}
        assert not ranks or len(manager.tasks) <= manager.credit
        # What was passed over may not rank before what was sent: checked at the end of the pass.
        self.sent_ranks = [*getattr(self, "sent_ranks", []), *ranks]


names = st.sampled_from([b"a", b"b", b"c"])
priorities = st.none() | st.sampled_from([0, 1, 1.5, -2])
selectors = st.sampled_from([BlockIdManagerSelector(), RandomManagerSelector(), Failing(), Confused()])


class History(RuleBasedStateMachine):
    @initialize(selector=selectors, data=st.data())
    def begin(self, selector, data):
        self.now = 0.0
        self.ids = itertools.count(1)
        self.functions = itertools.count(1)
        self.function_of = {}
        self.outbox = Checked()
        self.broker = Broker(self.outbox, selector, THRESHOLD, PYTHON, PARSL)
        for name in (b"a", b"b", b"c"):
            self.register(name, data.draw(st.integers(1, 2)), data.draw(st.integers(0, 3)), "0")

    def end_pass(self):
        self.outbox.sent_ranks = []
        self.broker.assign()
        if self.outbox.sent_ranks and self.outbox.queued:
            assert max(self.outbox.sent_ranks) < min(self.outbox.queued.values()), "a task overtook another"
        free = [m for m in self.outbox.model.values() if m.open and len(m.tasks) < m.credit]
        assert not free or not self.outbox.queued, "a task waits although somebody would take it"
        self.broker.flush(self.now)

    @rule(some=st.lists(priorities, max_size=9), new=st.booleans(), data=st.data())
    def submit(self, some, new, data):
        bodies = {}
        if new:
            number = next(self.functions)
            bodies[number] = self.outbox.bodies[number] = b"body %d" % number
        calls = []
        for priority in some:
            function = data.draw(st.sampled_from([0, *self.outbox.bodies]))
            call = task(next(self.ids), priority, function)
            self.outbox.queued[call.id] = (math.inf if priority is None else priority, call.id)
            self.outbox.open.add(call.id)
            self.function_of[call.id] = function
            calls.append(call)
        self.broker.submit(Submit(calls, bodies, []))
        self.end_pass()

    @precondition(lambda self: self.outbox.bodies)
    @rule(data=st.data())
    def forget(self, data):
        # The client forgets a function only once no call of it is open.
        used = {self.function_of[n] for n in self.outbox.open}
        unused = [f for f in self.outbox.bodies if f not in used]
        some = data.draw(st.lists(st.sampled_from(unused), unique=True)) if unused else []
        self.broker.submit(Submit([], {}, some))
        for number in some:
            del self.outbox.bodies[number]
        for known in (self.outbox.model, self.broker.managers):
            assert not any(m.functions & set(some) for m in known.values())

    @rule(name=names, workers=st.integers(1, 3), stock=st.integers(0, 4), block=st.sampled_from(["0", "1", "x"]))
    def register(self, name, workers, stock, block):
        self.outbox.model[name] = ModelManager(workers + stock)
        self.broker.register(name, register(name, workers, workers + stock, block), self.now)
        self.end_pass()

    @rule(name=names)
    def register_with_another_python(self, name):
        before = self.outbox.model.pop(name, None)
        self.broker.register(name, register(name, python="3.9.1"), self.now)
        if before is not None:
            self.outbox.model[name] = before

    @rule(name=names, credit=st.integers(0, 5), strays=st.lists(st.integers(1, 60), max_size=2), data=st.data())
    def results(self, name, credit, strays, data):
        manager = self.outbox.model.get(name)
        own = sorted(manager.tasks) if manager else []
        ended = data.draw(st.lists(st.sampled_from(own), max_size=5)) if own else []
        if manager:
            manager.tasks -= {*ended, *strays}
            manager.credit = credit
        self.broker.heard(name, done(*ended, *strays, credit=credit), self.now)
        self.end_pass()

    @rule(name=names, what=st.sampled_from(["drain", "hold", "lose", "leave", "fall silent"]))
    def mishap(self, name, what):
        manager = self.outbox.model.get(name)
        if what == "drain":
            if manager:
                manager.open, manager.draining = False, True
            self.broker.heard(name, Draining(), self.now)
        elif what == "hold":
            if manager:
                manager.open = False
            assert self.broker.hold(name) == (manager is not None)
        elif what == "lose":
            self.lose(name)
        elif what == "leave":
            self.outbox.model.pop(name, None)
            self.broker.heard(name, Leaving("why"), self.now)
        else:
            self.fall_silent(name)
        self.end_pass()

    def lose(self, name):
        self.outbox.model.pop(name, None)
        self.broker.lost(name, "its connection has ended")

    def fall_silent(self, name):
        for beat in range(3):
            self.now += THRESHOLD / 2 - 1
            for other in set(self.outbox.model) - {name}:
                self.broker.heard(other, Heartbeat(), self.now)
            if beat == 2:
                self.outbox.model.pop(name, None)
            self.broker.expire(self.now)
            assert set(self.broker.managers) == set(self.outbox.model)

    @rule(name=names, data=st.data())
    def fail_to_send(self, name, data):
        manager = self.outbox.model.get(name)
        number = data.draw(st.sampled_from(sorted(manager.tasks) if manager and manager.tasks else [77]))
        if manager:
            manager.tasks.discard(number)
        self.broker.failed(name, Result(number, RAISED, Payload(b"no room")), self.now)
        self.end_pass()

    @rule(number=st.integers(1, 60))
    def cancel(self, number):
        assert self.broker.cancel(number) == (number in self.outbox.queued)
        self.broker.flush(self.now)
        assert number not in self.outbox.queued

    @rule(name=names, message=st.sampled_from([Draining(), Heartbeat(), done(1, 2, credit=9)]))
    @precondition(lambda self: len(self.outbox.model) < 3)
    def a_stranger_speaks(self, name, message):
        if name not in self.outbox.model:
            self.broker.heard(name, message, self.now)
            assert self.outbox.managers[-1] == (name, Refused("not registered"))

    def teardown(self):
        """Whatever has happened: with one good manager, every task that is still open is reported."""
        if not hasattr(self, "broker"):
            return
        for name in list(self.outbox.model):
            self.lose(name)
        self.broker.flush(self.now)
        self.register(b"last", 3, 2, "0")
        for _ in range(len(self.outbox.queued) + 1):
            ended = sorted(self.outbox.model[b"last"].tasks)
            self.outbox.model[b"last"].tasks.clear()
            self.broker.heard(b"last", done(*ended, credit=5), self.now)
            self.end_pass()
        assert self.outbox.open == set()
        assert self.outbox.queued == {}
        assert len(self.broker.queue) == 0
        assert len(self.outbox.reported()) == next(self.ids) - 1


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_checks_of_the_history_see_a_fault():
    outbox = Checked()
    outbox.model[b"a"] = ModelManager(1)
    outbox.queued = {1: (math.inf, 1), 2: (math.inf, 2)}
    outbox.open = {1, 2}
    with pytest.raises(AssertionError):
        outbox.to_manager(b"a", Tasks([task(1), task(2)], {}, []))
    with pytest.raises(AssertionError):
        outbox.to_client(Results([Result(3, DONE, Payload(b""))]))
    with pytest.raises(msgspec.DecodeError):
        outbox.to_manager(b"a", Managers([], []))
