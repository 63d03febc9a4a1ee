"""The orders in which managers are served, and the rooms in which they wait."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
    ManagerSelector,
    RandomManagerSelector,
)
from parsl.executors.high_throughput.room import BlockOrder, RandomOrder, Room, UserOrder, order_of
from tests.executors.high_throughput.broker_fakes import Confused, Failing, register


def record(name, block="0", seconds_left=None):
    return ManagerRecord(name, register(name, block=block, seconds_left=seconds_left), 100.0)


def names(managers):
    return [m.identity for m in managers]


class Backwards(ManagerSelector):
    def sort_managers(self, ready_managers, manager_list):
        return sorted(manager_list, reverse=True)


class OfOneBlock(BlockIdManagerSelector):
    def sort_managers(self, ready_managers, manager_list):
        return [m for m in manager_list if ready_managers[m]["block_id"] == "1"]


@pytest.mark.parametrize(
    ("selector", "kind"),
    [
        (RandomManagerSelector(), RandomOrder),
        (BlockIdManagerSelector(), BlockOrder),
        (Backwards(), UserOrder),
        (OfOneBlock(), UserOrder),
    ],
)
def test_a_selector_of_the_package_has_an_order_of_its_own(selector, kind):
    assert type(order_of(selector, {})) is kind


@pytest.mark.parametrize("kind", [RandomOrder, BlockOrder])
@given(steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9)), max_size=40))
@settings(deadline=None)
def test_any_history_of_comings_and_goings_leaves_whom_it_should(kind, steps):
    order = kind()
    known = [record(b"%d" % n, block=str(n // 3)) for n in range(8)]
    inside = set()
    for number, count in steps:
        manager = known[number]
        if manager in inside:
            order.discard(manager)
            inside.discard(manager)
        else:
            order.add(manager)
            inside.add(manager)
        chosen = order.first(count)
        assert len(order) == len(inside)
        assert len(chosen) == len(set(chosen)) == min(count, len(inside))
        assert set(chosen) <= inside
        if kind is BlockOrder:
            rest = [m.block_id for m in inside - set(chosen)]
            assert [m.block_id for m in chosen] == sorted(m.block_id for m in chosen)
            assert not chosen or not rest or chosen[-1].block_id <= min(rest)


@pytest.mark.parametrize("count", [1, 2])
def test_random_gives_each_its_turn(count):
    random.seed(7)
    order = RandomOrder()
    for name in (b"a", b"b", b"c"):
        order.add(record(name))
    first = [order.first(count)[0].identity for _ in range(300)]
    assert all(60 < first.count(name) < 140 for name in (b"a", b"b", b"c"))


def test_blocks_go_by_number_and_named_ones_first():
    order = BlockOrder()
    for name, block in ((b"x", "10"), (b"y", "9"), (b"z", "named")):
        order.add(record(name, block))
    assert names(order.first(3)) == [b"z", b"y", b"x"]


@pytest.mark.parametrize(
    ("selector", "served"),
    [(Backwards(), [b"c", b"b", b"a"]), (OfOneBlock(), [b"b"]), (Confused(), [b"a", b"b", b"c"])],
)
def test_a_selector_of_a_user_is_shown_all_and_heeded(selector, served):
    known = {name: record(name, block) for name, block in ((b"a", "0"), (b"b", "1"), (b"c", "2"))}
    order = UserOrder(selector, known)
    for manager in known.values():
        order.add(manager)
    assert names(order.first(1)) == served
    assert len(order) == 3


def test_a_selector_that_fails_leaves_no_manager_out(caplog):
    order = UserOrder(Failing(), {})
    for name in (b"a", b"b"):
        order.add(record(name))
    assert sorted(names(order.first(1))) == [b"a", b"b"]
    assert "a user's mistake" in caplog.text


def test_the_manager_that_lasts_longest_is_known_without_a_look_at_the_others():
    room = Room(RandomOrder(), 1)
    managers = {n: record(b"%d" % n, seconds_left=float(n)) for n in (30, 10, 20)}
    forever = record(b"forever")
    for manager in (*managers.values(), forever):
        room.add(manager)
    assert room.latest() is forever
    room.discard(forever)
    assert room.latest() is managers[30]
    room.discard(managers[30])
    room.add(forever)
    room.discard(forever)
    assert room.latest() is managers[20]
    room.add(managers[30])
    assert room.latest() is managers[30]
    for number in (30, 20, 10):
        room.discard(managers[number])
    assert room.latest() is None
    assert len(room) == 0


def test_managers_that_are_gone_for_good_are_forgotten():
    room = Room(RandomOrder(), 1)
    for number in range(1000):
        manager = record(b"%d" % number)
        room.add(manager)
        room.discard(manager)
    assert len(room._ends) < 100


def test_a_manager_may_wait_in_one_room_after_the_other():
    idle, stock = Room(RandomOrder(), 1), Room(RandomOrder(), 2)
    manager = record(b"a")
    for room, other in ((idle, stock), (stock, idle), (idle, stock)):
        room.add(manager)
        assert (room.latest(), other.latest()) == (manager, None)
        room.discard(manager)


def test_a_user_who_leaves_managers_out_is_not_overruled():
    room = Room(UserOrder(OfOneBlock(), {}), 1)
    room.add(record(b"a"))
    assert room.latest() is None
