"""Who gets which queued task: case by case, and for any managers, tasks and selector."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.high_throughput.dealer import Dealer
from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import BlockIdManagerSelector, RandomManagerSelector
from parsl.executors.high_throughput.task_queue import TaskQueue
from tests.executors.high_throughput.broker_fakes import Confused, Failing, register, task

NOW = 1000.0


class Table:
    """A queue, managers and the dealer between them."""

    def __init__(self, selector=None):
        self.queue = TaskQueue()
        self.managers = {}
        self.dealer = Dealer(self.queue, selector or BlockIdManagerSelector(), self.managers)

    def sit(self, name, workers=1, capacity=None, seconds_left=None, block=None):
        """Have a manager want tasks; of a block of its own, after those that are there."""
        block = str(len(self.managers)) if block is None else block
        about = register(name.encode(), workers, capacity, block, seconds_left=seconds_left)
        manager = self.managers[name.encode()] = ManagerRecord(name.encode(), about, NOW)
        self.dealer.place(manager)
        return manager

    def queue_up(self, *tasks):
        for one in tasks:
            self.queue.push(one)

    def deal(self, now=NOW):
        return {m.identity.decode(): [t.id for t in tasks] for m, tasks in self.dealer.deal(now).items()}


@pytest.fixture
def table():
    return Table()


def timed(*tasks):
    return [task(number, seconds=seconds) for number, seconds in tasks]


@pytest.mark.parametrize(
    ("wanted", "queued", "dealt"),
    [
        ({"a": (2, 6), "b": (3, 3)}, 7, {"a": [1, 2, 6, 7], "b": [3, 4, 5]}),
        ({"a": (1, 9), "b": (1, 9)}, 2, {"a": [1], "b": [2]}),
        ({"a": (1, 9), "b": (1, 9)}, 6, {"a": [1, 3, 4], "b": [2, 5, 6]}),
        ({"a": (1, 9), "b": (1, 3)}, 99, {"a": [1, *range(5, 13)], "b": [2, 3, 4]}),
        ({"a": (4, 2)}, 3, {"a": [1, 2]}),
    ],
)
def test_workers_are_fed_before_stocks_are_filled_in_equal_shares(table, wanted, queued, dealt):
    for name, (workers, capacity) in wanted.items():
        table.sit(name, workers, capacity)
    table.queue_up(*map(task, range(1, queued + 1)))
    assert table.deal() == dealt


def test_what_is_dealt_is_on_the_managers_list_and_off_the_queue(table):
    manager = table.sit("a", workers=2)
    table.queue_up(*map(task, (1, 2, 3)))
    assert table.deal() == {"a": [1, 2]}
    assert manager.tasks == {1, 2}
    assert len(table.queue) == 1
    assert table.deal() == {}, "it wants no more"


def test_whoever_has_changed_is_placed_anew(table):
    manager = table.sit("a", workers=1)
    table.queue_up(*map(task, (1, 2, 3, 4)))
    assert table.deal() == {"a": [1]}
    manager.tasks.discard(1)
    table.dealer.place(manager)
    assert table.deal() == {"a": [2]}
    manager.credit = 2
    table.dealer.place(manager)
    assert table.deal() == {"a": [3]}
    manager.tasks.clear()
    manager.active = False
    table.dealer.place(manager)
    assert table.deal() == {}


@pytest.mark.parametrize("selector", [Failing(), Confused()])
def test_a_selector_that_misbehaves_holds_up_no_task(selector):
    table = Table(selector)
    for name in ("a", "b"):
        table.sit(name)
    table.queue_up(*map(task, (1, 2, 3)))
    assert sorted(table.deal().values()) == [[1], [2]]


# -- managers whose blocks end -----------------------------------------------------------------------------------------


def test_a_task_is_given_to_a_manager_only_if_its_time_fits(table):
    table.sit("short", workers=9, seconds_left=60)
    table.sit("long", workers=1, seconds_left=600)
    table.queue_up(*timed((1, 61), (2, 60), (3, None), (4, 600), (5, 601)))
    assert table.deal() == {"short": [2, 3], "long": [1]}
    assert [len(table.queue), table.queue.timed] == [2, 2]
    table.sit("forever", workers=9)
    assert table.deal(NOW + 1) == {"forever": [4, 5]}


def test_what_is_left_shrinks_with_time(table):
    table.sit("a", workers=3, seconds_left=60)
    table.queue_up(*timed((1, 30)))
    assert table.deal(NOW + 30) == {"a": [1]}
    table.queue_up(*timed((2, 30)))
    assert table.deal(NOW + 30.1) == {}


def test_a_task_that_fits_nowhere_holds_up_no_other(table):
    table.sit("a", workers=2, seconds_left=60)
    table.queue_up(task(1, priority=-1, seconds=1000), task(2, seconds=10), task(3))
    assert table.deal() == {"a": [2, 3]}


def test_stocks_are_filled_with_what_fits(table):
    table.sit("short", workers=1, capacity=4, seconds_left=60)
    table.sit("long", workers=1, capacity=4, seconds_left=600)
    table.queue_up(*timed(*((number, 100) for number in range(1, 4)), (4, 10)))
    assert table.deal() == {"short": [4], "long": [1, 2, 3]}


@pytest.mark.parametrize("selector", [RandomManagerSelector(), BlockIdManagerSelector(), Confused()])
def test_one_manager_that_lasts_is_found_among_many_that_do_not(selector):
    table = Table(selector)
    for number in range(50):
        table.sit(f"{number:02d}", workers=2, seconds_left=600 if number == 37 else 60)
    table.queue_up(*timed((1, 100), (2, 100), (3, 100)))
    assert table.deal() == {"37": [1, 2]}
    assert len(table.queue) == 1


# -- any managers and tasks --------------------------------------------------------------------------------------------


@given(
    wants=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 6), st.none() | st.sampled_from([0, 60, 300])), max_size=6
    ),
    seconds=st.lists(st.none() | st.sampled_from([5, 60, 200, 1e9]), max_size=20),
    selector=st.sampled_from([BlockIdManagerSelector(), RandomManagerSelector(), Failing(), Confused()]),
)
@settings(deadline=None)
def test_nobody_gets_too_much_and_nothing_waits_that_somebody_would_take(wants, seconds, selector):
    table = Table(selector)
    managers = [table.sit(f"m{n}", workers, capacity, left) for n, (workers, capacity, left) in enumerate(wants)]
    table.queue_up(*timed(*enumerate(seconds, 1)))
    dealt = table.deal()
    assert sorted(n for tasks in dealt.values() for n in tasks) == sorted(n for m in managers for n in m.tasks)
    assert len(table.queue) == len(seconds) - sum(map(len, dealt.values()))

    def fits(number, manager):
        return NOW + (seconds[number - 1] or -math.inf) <= manager.ends_at

    waiting = set(range(1, len(seconds) + 1)).difference(*dealt.values())
    for manager in managers:
        assert len(manager.tasks) <= manager.credit
        assert all(fits(number, manager) for number in manager.tasks)
        assert not manager.free or not any(fits(number, manager) for number in waiting)
