"""Timers on threads of their own. Public as members of `parsl.utils`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)


class AutoCancelTimer(threading.Timer):
    """A `threading.Timer` as a context manager: it starts on entry and is cancelled on exit.

    The function runs if the block takes longer than the interval, and never after the block ended. A function that is
    already running at the exit is not waited for.
    """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()


class Timer:
    """Calls a function again and again, in a daemon thread, until closed.

    The first call comes one interval after construction. Calls keep to that beat; a call that takes longer than the
    interval delays the next one, and no missed call is made up for. An exception from the function is logged and ends
    nothing.

    Args:
        callback: What to call.
        args: The arguments of each call.
        interval: Seconds between the beginnings of two calls, over 0.
        name: Name of the thread.

    Raises:
        ValueError: `interval` is not over 0.
    """

    def __init__(
        self, callback: Callable[..., object], *args: object, interval: float = 5, name: str | None = None
    ) -> None:
        if not interval > 0:
            raise ValueError(f"Timer: interval must be over 0 seconds, but got {interval!r}")
        self.callback = callback
        self.interval = interval
        self.cb_args = args
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name or f"Timer-{id(self):x}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + self.interval
        while not self._closed.wait(max(0.0, due - time.monotonic())):
            self.make_callback()
            due = max(due + self.interval, time.monotonic())

    def make_callback(self) -> None:
        """Call the function once, now, in the thread of the caller; log what it raises."""
        try:
            self.callback(*self.cb_args)
        except Exception:
            logger.exception("Callback %r of timer %s failed; the timer goes on", self.callback, self._thread.name)

    def close(self, timeout: float | None = None) -> None:
        """Stop calling and wait for the thread to end. Safe to call twice, and from within the callback.

        Args:
            timeout: How many seconds to wait for a call that is under way; None waits as long as it takes.
        """
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
