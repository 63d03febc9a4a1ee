"""The Pool against fake hands: tables first, then any history of what workers do and how they die."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from parsl.executors.high_throughput.messages import (
    CANCELLED,
    DONE,
    RAISED,
    TIMED_OUT,
    WORKER_LOST,
    Codec,
    Payload,
    Result,
    Task,
    WorkerDone,
    WorkerReady,
    read_loss,
)
from parsl.executors.high_throughput.pool import Death, Pool

KILLED = Death("signal SIGKILL")

TASK, FROM_WORKER = Codec(Task), Codec(WorkerDone | WorkerReady)


class FakeWorker:
    """One worker process: it takes a letter, claims it, and says that it is done; what it said may wait unread."""

    def __init__(self):
        self.taken = None
        self.claim = 0
        self.said = deque()
        # The task for which it is being killed: it still ends that, and takes and claims another, but begins none.
        self.doomed = 0

    @property
    def state(self):
        if self.taken is None:
            return "idle"
        if self.claim != self.taken:
            return "unclaimed"
        return "running" if self.doomed in (0, self.taken) else "kept from it"


class FakeHands:
    """A mailbox with so much room, and workers; each task and result goes through the codecs."""

    def __init__(self, room):
        self.room = room
        self.mailbox = deque()
        self.workers = {}
        self.started = []
        self.pool = None

    def give(self, task):
        if len(self.mailbox) >= self.room:
            return False
        self.mailbox.append(TASK.encode(task))
        return True

    def take_back(self):
        numbers = [TASK.decode(letter).id for letter in self.mailbox]
        self.mailbox.clear()
        return numbers

    def claims(self):
        claims = {slot: w.claim for slot, w in self.workers.items()}
        for slot in list(self.workers):
            self.read(slot)
        return claims

    def start_worker(self, slot):
        self.started.append(slot)
        self.workers[slot] = FakeWorker()

    def stop_worker(self, slot, task_id):
        worker = self.workers.get(slot)
        if worker is None or worker.claim != task_id:
            return False
        worker.doomed = task_id
        return True

    # -- what happens to workers

    def take(self, slot):
        self.workers[slot].taken = TASK.decode(self.mailbox.popleft()).id

    def claim(self, slot):
        self.workers[slot].claim = self.workers[slot].taken

    def finish(self, slot, seconds=0.5):
        worker = self.workers[slot]
        worker.said.append(FROM_WORKER.encode(WorkerDone(Result(worker.taken, DONE, Payload(b""), seconds))))
        worker.taken = None

    def read(self, slot):
        said = self.workers[slot].said
        while said:
            self.pool.done(FROM_WORKER.decode(said.popleft()).result)

    def die(self, slot, death=KILLED):
        """End a worker as the manager sees it: what it said is read first."""
        self.read(slot)
        worker = self.workers.pop(slot)
        return self.pool.worker_gone(slot, worker.claim, death, "host node, log x")


def pool_of(workers=1, room=100, prefetch=0):
    hands = FakeHands(room)
    pool = hands.pool = Pool(hands, range(workers), prefetch, "node")
    for slot in range(workers):
        hands.start_worker(slot)
        pool.worker_ready(slot)
    hands.started.clear()
    return pool, hands


def tasks(*numbers):
    return [Task(n, 0, Payload(b"")) for n in numbers]


def mailbox(hands):
    return [TASK.decode(letter).id for letter in hands.mailbox]


# -- the mailbox -------------------------------------------------------------------------------------------------------


def test_tasks_go_into_the_mailbox_as_far_as_it_has_room():
    pool, hands = pool_of(room=3)
    pool.add(tasks(1, 2))
    pool.add(tasks(3, 4, 5))
    assert mailbox(hands) == [1, 2, 3]
    assert pool.outstanding == 5
    hands.take(0)
    hands.room = 4
    pool.fill()
    assert mailbox(hands) == [2, 3, 4, 5]


def test_results_are_handed_over_once():
    pool, hands = pool_of()
    pool.add(tasks(1, 2))
    for _ in range(2):
        hands.take(0)
        hands.claim(0)
        hands.finish(0)
    assert pool.take_results() == []
    assert not pool.idle
    hands.read(0)
    assert [r.id for r in pool.take_results()] == [1, 2]
    assert pool.take_results() == []
    assert pool.idle


def test_results_that_nobody_waits_for_are_dropped():
    pool, _ = pool_of()
    pool.add(tasks(1))
    for number in (1, 1, 77):
        pool.done(Result(number, RAISED, Payload(b"")))
    assert [(r.id, r.status) for r in pool.take_results()] == [(1, RAISED)]


# -- credit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "prefetch", "round_trip", "seconds", "credit"),
    [
        pytest.param(4, 0, 0.001, None, 4, id="nothing known: one each"),
        pytest.param(4, 10, 0.001, None, 14, id="the prefetch comes on top"),
        pytest.param(4, 0, 0.001, 60.0, 4, id="long calls: one each"),
        pytest.param(4, 3, 0.001, 0.004, 11, id="calls of four round trips: two each"),
        pytest.param(2, 0, 0.001, 0.0005, 18, id="short calls: four round trips of work"),
        pytest.param(2, 0, 0.001, 0.0, 512, id="calls of no length: bounded"),
        pytest.param(2, 0, 100.0, 0.001, 512, id="a slow network: bounded"),
        pytest.param(2, 0, 0.0, 0.001, 2, id="a fast network: one each"),
    ],
)
def test_credit(workers, prefetch, round_trip, seconds, credit):
    pool, _ = pool_of(workers, prefetch=prefetch)
    pool.round_trip = round_trip
    if seconds is not None:
        pool.add(tasks(1))
        pool.done(Result(1, DONE, Payload(b""), seconds))
    assert pool.credit == credit


def test_credit_follows_the_length_of_calls():
    pool, _ = pool_of(1)
    pool.round_trip = 0.001
    pool.add(tasks(*range(1, 301)))
    for number in range(1, 101):
        pool.done(Result(number, DONE, Payload(b""), 0.0001))
    short = pool.credit
    assert short == 41
    for number in range(101, 121):
        pool.done(Result(number, DONE, Payload(b""), 10.0))
    assert pool.credit == 1
    for number in range(121, 301):
        pool.done(Result(number, DONE, Payload(b""), 0.0))
    assert 1 <= pool.credit < short


# -- deaths ------------------------------------------------------------------------------------------------------------


def losses(pool):
    return {r.id: read_loss(r.payload) for r in pool.take_results() if r.status == WORKER_LOST}


def test_a_worker_that_dies_in_a_task_loses_that_task_at_once():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2, 3))
    hands.take(1)
    hands.claim(1)
    assert hands.die(1) is False
    (loss,) = losses(pool).values()
    assert (loss.what, loss.hostname, loss.cause, loss.where) == ("1", "node", "signal SIGKILL", "host node, log x")
    assert hands.started == [1]
    assert pool.ready_slots == {0}
    assert mailbox(hands) == [2, 3]
    assert pool.outstanding == 2


def test_an_idle_worker_loses_nothing():
    pool, hands = pool_of(1)
    pool.add(tasks(1))
    hands.take(0)
    hands.claim(0)
    hands.finish(0)
    assert hands.die(0) is False
    assert [(r.id, r.status) for r in pool.take_results()] == [(1, DONE)]
    assert pool.idle


def test_a_task_that_was_taken_and_never_claimed_is_given_up_a_little_later():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2, 3))
    hands.take(0)
    assert hands.die(0) is True
    assert mailbox(hands) == [2, 3]
    assert losses(pool) == {}
    pool.settle_suspects()
    assert set(losses(pool)) == {1}
    assert pool.outstanding == 2


def test_claims_of_tasks_that_have_ended_do_not_hide_a_lost_one():
    pool, hands = pool_of(3)
    pool.add(tasks(1, 2))
    for slot in (0, 1):
        hands.take(slot)
        hands.claim(slot)
        hands.finish(slot)
        hands.read(slot)
    pool.add(tasks(3))
    hands.take(2)
    assert hands.die(2) is True
    pool.settle_suspects()
    assert set(losses(pool)) == {3}
    assert pool.idle


def test_a_live_worker_between_taking_and_claiming_keeps_its_task():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2))
    hands.take(0)
    hands.take(1)
    assert hands.die(0) is True
    hands.claim(1)
    pool.settle_suspects()
    assert set(losses(pool)) == {1}
    hands.finish(1)
    hands.read(1)
    assert [(r.id, r.status) for r in pool.take_results()] == [(2, DONE)]


def test_a_result_that_waits_unread_is_no_loss():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2, 3))
    hands.take(0)
    hands.claim(0)
    hands.finish(0)
    hands.take(0)
    hands.claim(0)
    assert hands.die(1) is False
    assert [(r.id, r.status) for r in pool.take_results()] == [(1, DONE)]
    assert mailbox(hands) == [3]


def test_each_death_is_settled_by_itself():
    pool, hands = pool_of(3)
    pool.add(tasks(1, 2))
    hands.take(0)
    assert hands.die(0) is True
    hands.take(1)
    assert hands.die(1) is True
    pool.settle_suspects()
    assert set(losses(pool)) == {1}
    pool.settle_suspects()
    assert set(losses(pool)) == {2}


def test_what_was_taken_back_keeps_its_place():
    pool, hands = pool_of(2, room=3)
    pool.add(tasks(1, 2, 3, 4, 5, 6))
    hands.take(0)
    pool.fill()
    assert hands.die(0) is True
    assert mailbox(hands) == [2, 3, 4]
    hands.room = 9
    pool.fill()
    assert mailbox(hands) == [2, 3, 4, 5, 6]


def test_a_worker_that_was_ended_since_its_task_took_too_long_says_so():
    pool, hands = pool_of(1)
    pool.add(tasks(1, 2))
    hands.take(0)
    hands.claim(0)
    assert hands.die(0, Death("its time was over", "  File x", "too slow")) is False
    (result,) = pool.take_results()
    loss = read_loss(result.payload)
    assert (result.id, result.status, loss.cause, loss.stack) == (1, TIMED_OUT, "too slow", "  File x")


# -- cancelling --------------------------------------------------------------------------------------------------------


def ends(pool):
    return [(r.id, r.status) for r in pool.take_results()]


def test_tasks_that_have_not_begun_are_dropped_from_mailbox_and_backlog():
    pool, hands = pool_of(1, room=3)
    pool.add(tasks(1, 2, 3, 4, 5, 6))
    assert pool.cancel([5, 2, 77], stop=True) is False
    assert ends(pool) == [(2, CANCELLED), (5, CANCELLED)]
    assert mailbox(hands) == [1, 3, 4]
    hands.room = 9
    pool.fill()
    assert mailbox(hands) == [1, 3, 4, 6]
    assert pool.cancel([2, 5], stop=True) is False
    assert ends(pool) == []


def test_a_task_that_runs_is_stopped_with_its_worker_and_with_no_other():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2, 3))
    for slot in (0, 1):
        hands.take(slot)
        hands.claim(slot)
    assert pool.cancel([2], stop=True) is False
    assert [hands.workers[slot].doomed for slot in (0, 1)] == [0, 2]
    assert ends(pool) == []
    assert pool.cancel([2], stop=True) is False, "its worker is dying already"
    assert hands.die(1) is False
    assert ends(pool) == [(2, CANCELLED)]
    assert hands.started == [1]
    assert mailbox(hands) == [3]


def test_a_task_that_ends_before_it_is_stopped_has_ended_and_the_next_one_runs_elsewhere():
    pool, hands = pool_of(1)
    pool.add(tasks(1, 2, 3))
    hands.take(0)
    hands.claim(0)
    pool.cancel([1], stop=True)
    hands.finish(0)
    hands.take(0)
    hands.claim(0)
    assert hands.workers[0].state == "kept from it"
    assert hands.die(0) is False
    assert ends(pool) == [(1, DONE)]
    assert sorted(mailbox(hands)) == [2, 3]


def test_the_next_task_is_not_lost_even_when_it_was_not_claimed():
    pool, hands = pool_of(1)
    pool.add(tasks(1, 2))
    hands.take(0)
    hands.claim(0)
    pool.cancel([1], stop=True)
    hands.finish(0)
    hands.take(0)
    assert hands.die(0) is True
    assert ends(pool) == [(1, DONE)]
    assert mailbox(hands) == []
    pool.settle_suspects()
    assert mailbox(hands) == [2]


def test_a_task_that_a_worker_has_just_taken_is_looked_for_again():
    pool, hands = pool_of(1)
    pool.add(tasks(1))
    hands.take(0)
    assert pool.cancel([1], stop=True) is True
    hands.claim(0)
    assert pool.cancel([1], stop=True) is False
    hands.die(0)
    assert ends(pool) == [(1, CANCELLED)]


def test_a_task_that_runs_may_be_let_be():
    pool, hands = pool_of(1)
    pool.add(tasks(1, 2))
    hands.take(0)
    assert pool.cancel([1, 2], stop=False) is True, "whether it will run is not known yet"
    hands.claim(0)
    assert pool.cancel([1, 2], stop=False) is False
    assert hands.workers[0].doomed == 0
    assert ends(pool) == [(2, CANCELLED)]


def test_a_task_that_has_ended_unread_is_not_cancelled():
    pool, hands = pool_of(1)
    pool.add(tasks(1))
    hands.take(0)
    hands.claim(0)
    hands.finish(0)
    assert pool.cancel([1], stop=True) is False
    assert ends(pool) == [(1, DONE)]
    assert hands.workers[0].doomed == 0


def test_a_pool_that_ends_starts_no_worker_anew():
    pool, hands = pool_of(1)
    pool.drain()
    hands.die(0)
    assert hands.started == []


# -- any history -------------------------------------------------------------------------------------------------------

slots = st.integers(0, 2)


class History(RuleBasedStateMachine):
    @initialize(room=st.integers(1, 6))
    def begin(self, room):
        self.pool, self.hands = pool_of(3, room)
        self.last = 0
        self.reports = Counter()
        self.died_with = set()
        self.cancelled = set()
        self.to_settle = 0
        self.in_order = True

    def collect(self):
        for result in self.pool.take_results():
            self.reports[result.id] += 1
            assert self.reports[result.id] == 1, "reported twice"
            assert 1 <= result.id <= self.last, "never given"
            assert (result.status == WORKER_LOST) == (result.id in self.died_with), "lost, and no worker died with it"
            assert result.status != CANCELLED or result.id in self.cancelled, "nobody has cancelled it"
        waiting = mailbox(self.hands) + [t.id for t in self.pool._backlog]
        assert len(waiting) == len(set(waiting)), "there twice"
        assert not self.in_order or waiting == sorted(waiting), "out of order"
        held = {w.taken for w in self.hands.workers.values()} - {None}
        assert not held & set(waiting), "with a worker and waiting as well"
        assert not (held | set(waiting)) & set(self.reports), "reported while it waits or runs"

    @rule(number=st.integers(1, 6))
    def add(self, number):
        self.pool.add(tasks(*range(self.last + 1, self.last + number + 1)))
        self.last += number
        self.collect()

    @rule(slot=slots, steps=st.integers(1, 3))
    def work(self, slot, steps):
        """Have a worker make up to three steps: take, claim, finish."""
        for _ in range(steps):
            state = self.hands.workers[slot].state
            if state == "idle" and self.hands.mailbox:
                self.hands.take(slot)
                self.pool.fill()
            elif state == "unclaimed":
                self.hands.claim(slot)
            elif state == "running":
                self.hands.finish(slot)
        self.collect()

    @rule(slot=slots)
    def read(self, slot):
        self.hands.read(slot)
        self.collect()

    @rule(slot=slots)
    def die(self, slot):
        worker = self.hands.workers[slot]
        if worker.doomed:
            # What it was kept from is put in front, though what comes later may lie in the mailbox.
            self.in_order = False
        elif worker.taken is not None:
            self.died_with.add(worker.taken)
        self.to_settle += self.hands.die(slot)
        assert slot in self.hands.workers
        self.collect()

    @rule(numbers=st.sets(st.integers(1, 40), max_size=5), stop=st.booleans())
    def cancel(self, numbers, stop):
        self.cancelled.update(numbers)
        before = [w.doomed for w in self.hands.workers.values()]
        again = self.pool.cancel(numbers, stop)
        assert stop or before == [w.doomed for w in self.hands.workers.values()]
        assert again or all(w.taken not in numbers or w.state != "unclaimed" for w in self.hands.workers.values())
        self.collect()
        assert not numbers & {*mailbox(self.hands), *(t.id for t in self.pool._backlog)}, "cancelled, and waits"

    @rule(number=st.integers(1, 99))
    def stray_result(self, number):
        if number in self.reports or number > self.last:
            self.pool.done(Result(number, DONE, Payload(b""), 1.0))
        self.collect()

    @precondition(lambda self: self.to_settle)
    @rule()
    def settle(self):
        # This comes a second after the death: by then live workers have claimed what they took.
        for slot, worker in self.hands.workers.items():
            if worker.state == "unclaimed":
                self.hands.claim(slot)
        self.to_settle -= 1
        self.pool.settle_suspects()
        self.collect()

    def teardown(self):
        """Whatever has happened: once the workers have done their work, every task is reported."""
        if not hasattr(self, "pool"):
            return
        while self.to_settle:
            self.settle()
        for slot in range(3):
            if self.hands.workers[slot].doomed:
                self.die(slot)
        while self.to_settle:
            self.settle()
        while any(w.taken or w.said for w in self.hands.workers.values()) or self.hands.mailbox:
            for slot in range(3):
                self.work(slot, 3)
                self.read(slot)
        assert set(self.reports) == set(range(1, self.last + 1))
        assert self.pool.idle
        assert self.pool.outstanding == 0


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
