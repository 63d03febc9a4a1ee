"""Waiting for many descriptors at once, by what the system does best."""

from __future__ import annotations

import logging
import os
import select
import selectors
import socket
import sys
from collections.abc import Sequence
from typing import Protocol

logger = logging.getLogger(__name__)

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Poller(Protocol):
    """Waits for descriptors; each is registered once, with a sum of READ and WRITE.

    What `poll` returns may have descriptors that nobody has registered.
    """

    def register(self, fd: int, events: int) -> object:
        """Begin to wait for a descriptor."""

    def modify(self, fd: int, events: int) -> object:
        """Wait for other events of a descriptor."""

    def unregister(self, fd: int) -> object:
        """Stop waiting for a descriptor."""

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """Return descriptors with their events, within `timeout` seconds; None waits as long as it takes."""

    def wake(self) -> None:
        """Have a `poll` that waits return, or else the next one at once; from any thread."""

    def close(self) -> None:
        """Give back what the system holds for this."""


class SelectorPoller:
    """The standard library's selectors, for every system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.register = self._selector.register
        self.modify = self._selector.modify
        self.unregister = self._selector.unregister
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, READ)

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """Return descriptors with their events, within `timeout` seconds."""
        ready = [(key.fd, events) for key, events in self._selector.select(timeout)]
        if (self._wake_out.fileno(), READ) in ready:
            self._wake_out.recv(4096)
        return ready

    def wake(self) -> None:
        """Have a `poll` that waits return, or else the next one at once; from any thread."""
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            pass  # bytes enough are on their way
        except OSError as e:
            logger.debug("nobody polls any more: %s", e)

    def close(self) -> None:
        """Give back what the system holds for this."""
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


if sys.platform == "linux":

    class EpollPoller:
        """Linux' epoll without the bookkeeping of selectors, which costs more than the wait itself."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self.unregister = self._epoll.unregister
            # Told of by its edges: each write is an event, and nobody has to read what was written.
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._epoll.register(self._event, select.EPOLLIN | select.EPOLLET)

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

        def wake(self) -> None:
            """Have a `poll` that waits return, or else the next one at once; from any thread."""
            try:
                os.eventfd_write(self._event, 1)
            except (OSError, ValueError) as e:
                logger.debug("nobody polls any more: %s", e)

        def close(self) -> None:
            """Give back what the system holds for this."""
            event, self._event = self._event, -1
            self._epoll.close()
            os.close(event)

    _MASKS = {READ: select.EPOLLIN, WRITE: select.EPOLLOUT, READ | WRITE: select.EPOLLIN | select.EPOLLOUT}


def best_poller() -> Poller:
    """Return the fastest poller that there is here."""
    return EpollPoller() if sys.platform == "linux" else SelectorPoller()
