"""Large arguments against a real store: what is in it, what waits, and in which order that goes on."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput import large_arguments
from parsl.executors.high_throughput.large_arguments import LargeArguments
from parsl.executors.high_throughput.messages import Payload, Segment
from parsl.executors.high_throughput.segments import SegmentStore

KB = 1024
LARGE = b"x" * (100 * KB)


@pytest.fixture
def store():
    store = SegmentStore()
    yield store
    store.close()


class Client:
    """What is to be sent, and what has failed."""

    def __init__(self, store):
        self.sent = []
        self.failed = []
        self.large = LargeArguments(
            store, lambda task, size: self.sent.append((task, size)), lambda *failure: self.failed.append(failure)
        )

    @property
    def numbers(self):
        return [task.id for task, _ in self.sent]


@pytest.fixture
def client(store):
    return Client(store)


def files(store):
    return [name for name in os.listdir(store.folder) if name[0].isdigit()]


def test_a_call_is_sent_with_its_arguments_in_the_store(client, store):
    client.large.post(1, 5, b"body", [LARGE], {"priority": 1})
    ((task, size),) = client.sent
    assert (task.id, task.function, task.resources) == (1, 5, {"priority": 1})
    assert size == client.large.in_flight == 4 + len(LARGE)
    body, (buffer,) = store.open(task.payload)
    assert (bytes(body), bytes(buffer)) == (b"body", LARGE)
    client.large.drop(1)
    assert client.large.in_flight == 0
    assert files(store) == []
    client.large.drop(1)
    client.large.drop(99)


def test_what_is_small_takes_no_room(client, store):
    client.large.post(1, 0, b"x" * 2000, [], None)
    assert [(task.payload.body, size) for task, size in client.sent] == [(b"x" * 2000, 0)]
    assert client.large.held == {}
    assert files(store) == []


def test_calls_beyond_the_limit_wait_and_go_on_in_their_order(client, monkeypatch):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", 150 * KB)
    for number in range(1, 6):
        client.large.post(number, 0, LARGE, [], None)
    assert client.numbers == [1, 2]
    assert list(client.large.waiting) == [3, 4, 5]
    client.large.drop(2)
    assert client.numbers == [1, 2, 3]
    client.large.drop(1)
    client.large.drop(3)
    assert client.numbers == [1, 2, 3, 4, 5]
    assert not client.large.waiting


def test_a_call_that_is_taken_out_or_has_ended_does_not_go_on(client, monkeypatch):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", 0)
    for number in range(1, 6):
        client.large.post(number, 0, LARGE, [], None)
    assert client.large.take_out([1, 3, 3, 99]) == {3}
    client.large.drop(4)
    client.large.drop(1)
    client.large.drop(2)
    assert client.numbers == [1, 2, 5]


class Full:
    """A store that has room for so many calls."""

    def __init__(self, room):
        self.room = room

    def payload(self, body, buffers):
        if self.room == 0:
            raise OSError(errno.ENOSPC, "no room")
        self.room -= 1
        return Payload(b"", Segment("name", [len(body)], [False]))

    def drop(self, payload):
        pass


def test_without_room_a_call_fails_at_once_or_when_it_has_waited(monkeypatch):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", 0)
    store = Full(room=1)
    client = Client(store)
    for number in (1, 2, 3):
        client.large.post(number, 0, LARGE, [], None)
    client.large.drop(1)
    assert [(number, error.errno) for number, error in client.failed] == [(2, errno.ENOSPC), (3, errno.ENOSPC)]
    assert (client.numbers, client.large.in_flight) == ([1], 0)
    with pytest.raises(OSError, match="no room"):
        client.large.post(4, 0, LARGE, [], None)
    assert (client.large.held, client.large.in_flight) == ({}, 0)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    ends=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60),
)
def test_any_order_of_ends_keeps_the_bound_and_lets_each_call_go(sizes, ends):
    limit, largest = 100, max(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_arguments, "LARGEST_IN_FLIGHT", limit)
        client = Client(Full(room=len(sizes)))
        large = client.large
        for number, size in enumerate(sizes):
            large.post(number, 0, b"x" * size, [], None)
        taken = set()
        for take_out, number in ends:
            if take_out:
                taken |= large.take_out([number])
            elif number in large.held:
                large.drop(number)
            assert large.in_flight == sum(sizes[n] for n in large.held) <= limit + largest
            assert not large.waiting or large.in_flight > limit
        while large.held:
            large.drop(next(iter(large.held)))
    assert client.numbers == [number for number in range(len(sizes)) if number not in taken]
    assert (large.in_flight, len(large.waiting)) == (0, 0)
