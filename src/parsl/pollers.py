"""Waiting for many descriptors at once, by what the system does best."""

from __future__ import annotations

import select
import selectors
import sys
from collections.abc import Sequence
from typing import Protocol

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Poller(Protocol):
    """Waits for descriptors; each is registered once, with a sum of READ and WRITE."""

    def register(self, fd: int, events: int) -> object:
        """Begin to wait for a descriptor."""

    def modify(self, fd: int, events: int) -> object:
        """Wait for other events of a descriptor."""

    def unregister(self, fd: int) -> object:
        """Stop waiting for a descriptor."""

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """Return descriptors with their events, within `timeout` seconds; None waits as long as it takes."""

    def close(self) -> None:
        """Give back what the system holds for this."""


class SelectorPoller:
    """The standard library's selectors, for every system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.register = self._selector.register
        self.modify = self._selector.modify
        self.unregister = self._selector.unregister
        self.close = self._selector.close

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """Return descriptors with their events, within `timeout` seconds."""
        return [(key.fd, events) for key, events in self._selector.select(timeout)]


if sys.platform == "linux":

    class EpollPoller:
        """Linux' epoll without the bookkeeping of selectors, which costs more than the wait itself."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.unregister = self._epoll.unregister
            self.close = self._epoll.close

        def register(self, fd: int, events: int) -> None:
            """Begin to wait for a descriptor."""
            self._epoll.register(fd, _MASKS[events])

        def modify(self, fd: int, events: int) -> None:
            """Wait for other events of a descriptor."""
            self._epoll.modify(fd, _MASKS[events])

        def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
            """Return descriptors with their events, within `timeout` seconds."""
            return [
                (fd, (mask & ~select.EPOLLOUT and READ) | (mask & ~select.EPOLLIN and WRITE))
                for fd, mask in self._epoll.poll(-1 if timeout is None else timeout)
            ]

    _MASKS = {READ: select.EPOLLIN, WRITE: select.EPOLLOUT, READ | WRITE: select.EPOLLIN | select.EPOLLOUT}


def best_poller() -> Poller:
    """Return the fastest poller that there is here."""
    return EpollPoller() if sys.platform == "linux" else SelectorPoller()
