"""Back-pressure: a submitter waits while too many tasks are open."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_of_kernel = threading.local()


def exempt_this_thread() -> None:
    """Never hold the calling thread back: it runs tasks, and one that waited for room could be what has to end."""
    _of_kernel.exempt = True


class Admission:
    """Counts open tasks, and holds submitters back while there are as many as allowed.

    A submitter that had to wait goes on when an eighth of the room is free again, so it is woken once for many tasks.

    Args:
        limit: how many tasks may be open at once, at least 1.

    Attributes:
        open: how many are open.
        held_back: how many threads wait for room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self.held_back = 0
        self._enough = limit - max(1, limit // 8)
        self._closed = False
        self._changed = threading.Condition()
        self._suspended: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def enter(self, *, wait: bool = True) -> None:
        """Count a task that is about to be submitted, once there is room for it.

        Args:
            wait: whether to wait for room; threads that run tasks never do.
        """
        with self._changed:
            if self.open >= self.limit and wait and not getattr(_of_kernel, "exempt", False):
                self.held_back += 1
                try:
                    self._changed.wait_for(lambda: self._closed or self.open <= self._enough)
                finally:
                    self.held_back -= 1
            self.open += 1

    def leave(self) -> None:
        """Count a task that has ended, or was not submitted after all."""
        with self._changed:
            self.open -= 1
            if self.open <= self._enough:
                self._wake()

    def close(self) -> None:
        """Hold nobody back any more."""
        with self._changed:
            self._closed = True
            self._wake()

    async def room(self) -> None:
        """Return when there is room for a task, suspending the coroutine and not its loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._closed or self.open < self.limit:
                    return
                ticket = (loop, loop.create_future())
                self._suspended.append(ticket)
            await ticket[1]

    def _wake(self) -> None:
        self._changed.notify_all()
        while self._suspended:
            loop, future = self._suspended.popleft()
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:
                continue  # that event loop has been closed, and its coroutines with it


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
