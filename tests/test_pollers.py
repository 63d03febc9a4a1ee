"""Waiting for descriptors, and being woken: every poller that can be had on this system."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from parsl.pollers import READ, WRITE, Poller, SelectorPoller, best_poller

PATIENCE = 30.0


@pytest.fixture(params=[best_poller, SelectorPoller])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def events(poller: Poller, fd: int, timeout: float | None = 0) -> int:
    return dict(poller.poll(timeout)).get(fd, 0)


def test_events_are_those_that_were_asked_for(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    fd = left.fileno()
    poller.register(fd, READ)
    assert events(poller, fd) == 0
    right.send(b"x")
    assert events(poller, fd, None) == READ
    poller.modify(fd, READ | WRITE)
    assert events(poller, fd) == READ | WRITE
    poller.modify(fd, WRITE)
    assert events(poller, fd) == WRITE
    poller.unregister(fd)
    assert events(poller, fd) == 0


def test_a_peer_that_has_gone_is_an_event(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    poller.register(left.fileno(), READ)
    right.close()
    assert events(poller, left.fileno(), None) & READ


def test_one_that_waits_is_woken(poller: Poller) -> None:
    returned = threading.Event()

    def wait() -> None:
        poller.poll(None)
        returned.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    poller.wake()
    assert returned.wait(PATIENCE)
    waiting.join()


def test_a_wake_up_before_the_poll_counts_once(poller: Poller) -> None:
    for _ in range(3):
        poller.wake()
    assert poller.poll(PATIENCE)
    assert poller.poll(0) == []
    poller.wake()
    assert poller.poll(PATIENCE)


def test_nobody_reads_so_many_wake_ups(poller: Poller) -> None:
    for _ in range(100_000):
        poller.wake()
    assert poller.poll(PATIENCE)


@pytest.mark.parametrize("kind", [best_poller, SelectorPoller])
def test_to_wake_one_that_is_closed_does_nothing(kind: type[SelectorPoller]) -> None:
    poller = kind()
    poller.close()
    poller.wake()
