"""The Broker under any history of events: every task ends once, and no message goes where it must not."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from parsl.executors.high_throughput.broker import Broker
from parsl.executors.high_throughput.manager_selector import BlockIdManagerSelector, RandomManagerSelector
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    DONE,
    RAISED,
    Cancel,
    Drained,
    Draining,
    Emptied,
    Heartbeat,
    Leaving,
    Managers,
    Payload,
    Refused,
    Reintroduce,
    Result,
    Results,
    Submit,
    Tasks,
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
    task,
)


class ModelManager:
    def __init__(self, credit, ends_at=math.inf, block="0", late=False):
        self.credit = credit
        self.ends_at = ends_at
        self.block = block
        self.open = not late
        self.held = False
        self.draining = late
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
        self.now = 0.0
        # Seconds that each task says it takes, and for each that was sent in this pass its rank and to whom.
        self.seconds = {}
        self.sent_now = []
        self.emptied = set()

    def to_client(self, message):
        super().to_client(message)
        if type(message) is Results:
            for result in message.results:
                assert result.id in self.open, "reported twice, or never submitted"
                self.open.discard(result.id)
                assert result.id not in self.queued or result.status == CANCELLED
                self.queued.pop(result.id, None)
        elif type(message) is Emptied:
            self.emptied.add(message.block)
            assert message.block not in {m.block for m in self.model.values()}, "said to be empty before it was"

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
        assert all(self.fits(t.id, manager) for t in message.tasks), "sent to a manager that does not last so long"
        manager.tasks |= {t.id for t in message.tasks}
        assert not ranks or len(manager.tasks) <= manager.credit
        # What was passed over may not rank before what was sent: checked at the end of the pass.
        self.sent_now += [(rank, manager) for rank in ranks]

    def fits(self, number, manager):
        seconds = self.seconds.get(number, 0)
        return not seconds or self.now + seconds <= manager.ends_at

    def check_pass(self):
        for number, rank in self.queued.items():
            overtaken = [m for other, m in self.sent_now if other > rank and self.fits(number, m)]
            assert not overtaken, "a task overtook another"
            would = [m for m in self.model.values() if m.open and len(m.tasks) < m.credit and self.fits(number, m)]
            assert not would, "a task waits although somebody would take it"
        self.sent_now = []


names = st.sampled_from([b"a", b"b", b"c"])
times = st.none() | st.sampled_from([5, 60, 300, 1e9])
leases = st.none() | st.sampled_from([0.0, 60.0, 200.0, 1000.0])
priorities = st.none() | st.sampled_from([0, 1, 1.5, -2])
selectors = st.sampled_from([BlockIdManagerSelector(), RandomManagerSelector(), Failing(), Confused()])


class History(RuleBasedStateMachine):
    @initialize(selector=selectors, data=st.data())
    def begin(self, selector, data):
        self.now = 0.0
        self.ids = itertools.count(1)
        self.functions = itertools.count(1)
        self.function_of = {}
        self.drained = set()
        self.outbox = Checked()
        self.broker = Broker(self.outbox, selector, THRESHOLD, PYTHON, PARSL)
        for name in (b"a", b"b", b"c"):
            self.register(name, data.draw(st.integers(1, 2)), data.draw(st.integers(0, 3)), "0", data.draw(leases))

    def end_pass(self):
        self.outbox.now = self.now
        self.broker.assign(self.now)
        self.outbox.check_pass()
        self.broker.flush(self.now)

    @rule(seconds=st.sampled_from([1.0, 50.0]))
    def time_passes(self, seconds):
        self.now += seconds
        for name in self.outbox.model:
            self.broker.heard(name, Heartbeat(), self.now)
        self.end_pass()

    @rule(some=st.lists(st.tuples(priorities, times), max_size=9), new=st.booleans(), data=st.data())
    def submit(self, some, new, data):
        bodies = {}
        if new:
            number = next(self.functions)
            bodies[number] = self.outbox.bodies[number] = b"body %d" % number
        calls = []
        for priority, seconds in some:
            function = data.draw(st.sampled_from([0, *self.outbox.bodies]))
            call = task(next(self.ids), priority, function, seconds)
            self.outbox.seconds[call.id] = seconds or 0
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

    @rule(
        name=names,
        workers=st.integers(1, 3),
        stock=st.integers(0, 4),
        block=st.sampled_from(["0", "1", "x"]),
        lease=leases,
    )
    def register(self, name, workers, stock, block, lease):
        self.outbox.model[name] = ModelManager(
            workers + stock, math.inf if lease is None else self.now + lease, block, late=block in self.drained
        )
        about = register(name, workers, workers + stock, block, seconds_left=lease)
        self.broker.register(name, about, self.now)
        self.end_pass()

    @rule(name=names, strays=st.lists(st.integers(1, 60), max_size=2), data=st.data())
    def come_back(self, name, strays, data):
        """A manager has lost its connection for a while, and perhaps tasks that were on their way to it."""
        manager = self.outbox.model.get(name)
        if manager is None:
            return
        kept = data.draw(st.sets(st.sampled_from(sorted(manager.tasks)))) if manager.tasks else set()
        kept |= set(strays) & manager.tasks
        late = manager.block in self.drained
        back = ModelManager(manager.credit, manager.ends_at, manager.block, late)
        back.open = not late and not manager.held
        back.held, back.tasks = manager.held, kept
        self.outbox.model[name] = back
        lease = None if math.isinf(manager.ends_at) else manager.ends_at - self.now
        about = register(name, 1, manager.credit, manager.block, seconds_left=lease, tasks=[*kept, *strays])
        self.broker.register(name, about, self.now)
        self.end_pass()

    @rule(name=names)
    def register_with_another_python(self, name):
        before = self.outbox.model.pop(name, None)
        self.broker.register(name, register(name, python="3.9.1"), self.now)
        if before is not None:
            self.outbox.model[name] = before

    @rule(block=st.sampled_from(["0", "1", "x"]))
    def drain_block(self, block):
        self.drained.add(block)
        self.outbox.emptied.discard(block)
        for manager in self.outbox.model.values():
            if manager.block == block:
                manager.open, manager.draining = False, True
        gone = self.broker.drain(block)
        assert not set(gone) & set(self.outbox.model)
        self.end_pass()

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
                manager.held = True
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

    @rule(numbers=st.sets(st.integers(1, 60), max_size=4))
    def cancel(self, numbers):
        given = {name: m.tasks & numbers for name, m in self.outbox.model.items() if m.tasks & numbers}
        before = len(self.outbox.managers)
        self.broker.cancel(sorted(numbers), stop=True)
        self.broker.flush(self.now)
        assert not numbers & set(self.outbox.queued)
        assert {i: set(m.tasks) for i, m in self.outbox.managers[before:] if type(m) is Cancel} == given

    @rule(name=names, message=st.sampled_from([Draining(), Heartbeat(), done(1, 2, credit=9)]))
    @precondition(lambda self: len(self.outbox.model) < 3)
    def a_stranger_speaks(self, name, message):
        if name not in self.outbox.model:
            self.broker.heard(name, message, self.now)
            assert type(self.outbox.managers[-1][1]) in (Refused, Reintroduce)

    def teardown(self):
        """Whatever has happened: with one good manager, every task that is still open is reported."""
        if not hasattr(self, "broker"):
            return
        for name in list(self.outbox.model):
            self.lose(name)
        self.broker.flush(self.now)
        assert self.outbox.emptied == self.drained
        self.register(b"last", 3, 2, "last", None)
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
    outbox.model[b"a"] = ModelManager(2, ends_at=10)
    outbox.queued, outbox.seconds = {1: (math.inf, 1), 2: (math.inf, 2)}, {1: 11, 2: 10}
    with pytest.raises(AssertionError, match="does not last so long"):
        outbox.to_manager(b"a", Tasks([task(1)], {}, []))
    with pytest.raises(AssertionError, match="would take it"):
        outbox.check_pass()
    outbox.queued = {1: (math.inf, 1), 2: (math.inf, 2), 3: (0, 3)}
    outbox.to_manager(b"a", Tasks([task(2)], {}, []))
    with pytest.raises(AssertionError, match="overtook"):
        outbox.check_pass()
    with pytest.raises(AssertionError):
        outbox.to_client(Results([Result(3, DONE, Payload(b""))]))
    with pytest.raises(msgspec.DecodeError):
        outbox.to_manager(b"a", Managers([], []))
