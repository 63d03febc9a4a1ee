"""The queue, against a plain list that is gone through from the front."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.executors.high_throughput.messages import Payload, Task
from parsl.executors.high_throughput.task_queue import TaskQueue, TimedTasks
from tests.executors.high_throughput.broker_fakes import task


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


# -- declared times ----------------------------------------------------------------------------------------------------


def timed(number, seconds, priority=None):
    resources = {"walltime": seconds} if priority is None else {"walltime": seconds, "priority": priority}
    return Task(number, 0, Payload(b""), resources)


def test_a_task_waits_for_a_manager_that_lasts_long_enough():
    queue = TaskQueue()
    for call in (timed(1, 100), timed(2, 10), task(3), timed(4, 50)):
        queue.push(call)
    assert (queue.plain, queue.timed, queue.shortest) == (1, 3, 10)
    assert [t.id for t in queue.take(9, 20)] == [2, 3]
    assert queue.pop(49.9) is None
    assert queue.pop(50).id == 4
    assert (queue.plain, queue.timed, queue.shortest) == (0, 1, 100)
    assert queue.pop().id == 1
    assert queue.shortest == math.inf


def test_a_declared_time_does_not_change_the_turn_of_a_task_that_fits():
    queue = TaskQueue()
    for call in (task(1), timed(2, 10), task(3, 5), timed(4, 10, 5), timed(5, 10, 0), task(6, 0)):
        queue.push(call)
    assert popped(queue) == [5, 6, 3, 4, 1, 2]


@pytest.mark.parametrize("seconds", [0, -3, math.nan, "1h", None])
def test_what_is_no_time_fits_everywhere(seconds):
    queue = TaskQueue()
    queue.push(timed(1, seconds))
    assert queue.plain == 1
    assert queue.pop(0).id == 1


def test_a_dropped_task_with_a_time_is_gone_at_once():
    queue = TaskQueue()
    queue.push(timed(1, 10))
    queue.push(timed(2, 99))
    assert queue.drop(1)
    assert not queue.drop(1)
    assert queue.shortest == 99
    assert queue.take(5, 50) == []
    assert [t.id for t in queue.take(5)] == [2]


events = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.none() | st.integers(1, 9), st.none() | st.sampled_from([0, 1, 2.5])),
        st.tuples(st.just("take"), st.integers(0, 4), st.integers(0, 10)),
        st.tuples(st.just("drop"), st.integers(1, 30), st.none()),
    ),
    max_size=60,
)


@given(events)
@settings(max_examples=300, deadline=None)
def test_any_history_is_that_of_a_list_gone_through_from_the_front(history):
    queue, waiting, ids = TaskQueue(), {}, itertools.count(1)
    for what, first, second in history:
        if what == "push":
            number = next(ids)
            call = task(number, second) if first is None else timed(number, first, second)
            queue.push(call)
            waiting[number] = (math.inf if second is None else second, number, first or 0)
        elif what == "drop":
            assert queue.drop(first) == (waiting.pop(first, None) is not None)
        else:
            fitting = sorted(w for w in waiting.values() if w[2] <= second)[:first]
            assert [t.id for t in queue.take(first, second)] == [number for _, number, _ in fitting]
            for _, number, _ in fitting:
                del waiting[number]
        assert len(queue) == len(waiting)
        for at, (_, number, seconds) in enumerate(sorted(waiting.values())):
            place = queue.place(number)
            assert (place.position, place.seconds) == (at + 1, seconds or None)
        assert queue.place(1000) is None
        assert queue.plain == sum(not w[2] for w in waiting.values())
        assert queue.shortest == min((w[2] for w in waiting.values() if w[2]), default=math.inf)


def depth(node):
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))


def test_the_tree_stays_flat_whatever_the_order_of_tasks():
    tree = TimedTasks()
    for number in range(4096):
        tree.add((math.inf, number), 100 + number % 7, task(number))
    assert depth(tree._root) < 64
    for number in range(0, 4096, 2):
        assert tree.remove((math.inf, number)).id == number
    assert depth(tree._root) < 64
    assert tree.first(99) is None
    with pytest.raises(LookupError):
        tree.remove((math.inf, 0))
