"""Loop: what it waits for, timers and descriptors."""

from __future__ import annotations

import itertools
import os
import socket
import types
from collections.abc import Callable
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.loop import Loop, Timer
from tests.loops import SOON, settled

# -- timers -----------------------------------------------------------------------------------------------------------


def test_timers_fire_in_the_order_of_their_times(loop: Loop) -> None:
    seen: SimpleQueue[str] = SimpleQueue()

    def make() -> None:
        loop.call_later(0.06, seen.put, "third")
        loop.call_later(0.02, seen.put, "first")
        loop.call_later(0.04, seen.put, "second")
        loop.call_later(-1, seen.put, "at once")

    loop.call(make)
    assert [seen.get(timeout=SOON) for _ in range(4)] == ["at once", "first", "second", "third"]


@given(delays=st.lists(st.integers(0, 3), max_size=30), cancelled=st.sets(st.integers(0, 29)))
@settings(max_examples=60)
def test_timers_of_equal_times_keep_their_order_and_cancelled_ones_never_fire(
    delays: list[int], cancelled: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parsl.loop.time", types.SimpleNamespace(monotonic=lambda: 0.0))
        loop = Loop()
        fired: list[int] = []
        timers = [loop.call_later(d, fired.append, i) for i, d in enumerate(delays)]
        for i in cancelled & set(range(len(timers))):
            timers[i].cancel()
        patch.setattr("parsl.loop.time", types.SimpleNamespace(monotonic=lambda: 10.0))
        loop.stop()
        loop.run()
    expected = sorted(set(range(len(delays))) - cancelled, key=lambda i: (delays[i], i))
    assert fired == expected


def test_a_timer_may_cancel_another_that_is_due(loop: Loop) -> None:
    seen: SimpleQueue[str] = SimpleQueue()
    victims: list[Timer] = []

    def cancel() -> None:
        victims[0].cancel()

    def make() -> None:
        loop.call_later(0.0, cancel)
        victims.append(loop.call_later(0.0, seen.put, "victim"))
        loop.call_later(0.01, seen.put, "after")

    loop.call(make)
    assert seen.get(timeout=SOON) == "after"
    assert seen.empty()


def test_cancelling_a_timer_that_has_fired_does_nothing(loop: Loop) -> None:
    seen: SimpleQueue[int] = SimpleQueue()
    timer = loop.call(loop.call_later, 0, seen.put, 1)
    assert seen.get(timeout=SOON) == 1
    timer.cancel()
    assert loop.call(lambda: "going on") == "going on"


def test_a_timer_that_renews_itself_starves_nobody(loop: Loop) -> None:
    count = itertools.count()

    def again() -> None:
        next(count)
        loop.call_later(0, again)

    loop.call(again)
    for i in range(50):
        assert loop.call(lambda i=i: i) == i
    assert next(count) > 1


# -- descriptors ------------------------------------------------------------------------------------------------------


def test_a_reader_is_called_for_what_arrives_until_it_is_removed(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    seen: SimpleQueue[bytes] = SimpleQueue()
    loop.call(loop.add_reader, pair[0], lambda: seen.put(pair[0].recv(100)))
    for word in (b"one", b"two"):
        pair[1].send(word)
        assert seen.get(timeout=SOON) == word
    loop.call(loop.remove_reader, pair[0])
    pair[1].send(b"three")
    settled(loop)
    assert seen.empty()


def test_reader_and_writer_of_one_descriptor(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    seen: SimpleQueue[str] = SimpleQueue()

    def write() -> None:
        loop.remove_writer(pair[0])
        seen.put("can be written")

    def read() -> None:
        pair[0].recv(1)
        seen.put("can be read")

    loop.call(lambda: (loop.add_reader(pair[0], read), loop.add_writer(pair[0], write)))
    assert seen.get(timeout=SOON) == "can be written"
    pair[1].send(b"x")
    assert seen.get(timeout=SOON) == "can be read"
    settled(loop)
    assert seen.empty()
    loop.call(loop.remove_reader, pair[0])


def test_a_reader_removed_by_another_in_the_same_pass_is_not_called(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def make(i: int) -> Callable[[], None]:
        def read() -> None:
            called.append(i)
            for ours, _ in pairs:
                loop.remove_reader(ours)

        return read

    def arm() -> None:
        for i, (ours, _) in enumerate(pairs):
            loop.add_reader(ours, make(i))
        for _, theirs in pairs:
            theirs.send(b"x")

    loop.call(arm)
    settled(loop)
    settled(loop)
    assert len(called) == 1
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_the_end_of_a_pipe_is_an_event(loop: Loop) -> None:
    reading, writing = os.pipe()
    seen: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        seen.put(os.read(reading, 10))
        loop.remove_reader(reading)

    loop.call(loop.add_reader, reading, read)
    os.close(writing)
    assert seen.get(timeout=SOON) == b""
    settled(loop)
    os.close(reading)


def test_removing_what_is_not_waited_for_does_nothing(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    loop.call(loop.remove_reader, pair[0])
    loop.call(loop.remove_writer, pair[0])
    loop.call(loop.remove_hook, print)


def test_hooks_may_remove_themselves_and_others_are_still_called(loop: Loop) -> None:
    passes = itertools.count()
    seen: list[tuple[str, int]] = []
    now = 0

    def first() -> None:
        nonlocal now
        now = next(passes)

    def once() -> None:
        seen.append(("once", now))
        loop.remove_hook(once)

    def last() -> None:
        seen.append(("last", now))

    loop.call(lambda: [loop.at_pass_end(hook) for hook in (first, once, last)])
    settled(loop)
    loop.call(loop.remove_hook, last)
    loop.call(loop.remove_hook, first)
    assert seen[:2] == [("once", 0), ("last", 0)]
    assert [name for name, _ in seen].count("once") == 1
