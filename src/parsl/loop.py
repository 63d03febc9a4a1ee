"""The event loop that every process of ours runs, and the one door into it.

A loop is one thread that owns state. It waits on everything at once (file descriptors, timers, the inbox) and
polls nothing; other threads enter by `Loop.post` only. Batches form by themselves: whatever has gathered while a
pass ran is handled by the next one, and hooks registered with `Loop.at_pass_end` send what a pass has produced.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from parsl.pollers import READ, WRITE, best_poller

logger = logging.getLogger(__name__)

# A pass takes at most this much from the inbox, so that what the first posts produced goes out (and keeps other
# processes busy) while later posts are still queued.
_INBOX_PER_PASS = 256

_NOTHING: dict[int, Callable[[], object]] = {}


class LoopClosedError(RuntimeError):
    """Something was asked of a loop that has ended."""


class Timer:
    """A call that the loop makes once, at a given time, unless it is cancelled before."""

    __slots__ = ("args", "cancelled", "function", "order", "when")

    def __init__(self, when: float, order: int, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.order = order
        self.function = function
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Make sure that the call is not made; nothing happens when it has been made already."""
        self.cancelled = True

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class Loop:
    """A thread that waits for inbox, timers and file descriptors, and calls what belongs to each.

    Exceptions raised by a callback are logged and do not end the loop.

    Args:
        name: the name of the thread, when the loop gets one of its own.
    """

    def __init__(self, name: str = "parsl-loop") -> None:
        self.name = name
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[Timer] = []
        self._timer_numbers = itertools.count()
        self._hooks: list[Callable[[], object]] = []
        self._poller = best_poller()
        # What to call at which event of each descriptor.
        self._watched: dict[int, dict[int, Callable[[], object]]] = {}
        # True only while the loop thread may be asleep: the one poster that finds it set clears it and wakes the
        # loop, so a burst of posts costs one system call.
        self._sleeping = False
        self._running = True
        self._ended = threading.Event()
        self._asking: set[SimpleQueue[tuple[bool, Any]]] = set()
        self._thread_id: int | None = None
        self._thread: threading.Thread | None = None

    # -- entering ------------------------------------------------------------------------------------------------

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call `function(*args)` soon; safe from every thread, never blocks.

        What is posted after the loop has ended is dropped.
        """
        self._inbox.append((function, args))
        if self._sleeping:
            self._sleeping = False
            self._poller.wake()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(*args)` on the loop and return its result; made at once when already on the loop.

        Raises:
            LoopClosedError: when the loop has ended, or ends before the call was made.
        """
        if self.on_loop():
            return function(*args)
        answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        return self.ask(lambda: answers.put((True, function(*args))), answers)

    def ask(self, function: Callable[[], object], answers: SimpleQueue[tuple[bool, Any]]) -> Any:
        """Post `function` and wait until `(True, value)` or `(False, exception)` arrives in `answers`.

        What `function` raises is such an answer.

        Raises:
            LoopClosedError: when the loop ends before an answer came.
        """

        def run() -> None:
            try:
                function()
            except BaseException as e:  # noqa: BLE001 - handed to the caller, whatever it is
                answers.put((False, e))

        self._asking.add(answers)
        try:
            # Registered before the flag is read, and read by `_close` after it is set: one of the two sees the other.
            if self._ended.is_set():
                raise LoopClosedError(f"{self.name} has ended")
            self.post(run)
            good, value = answers.get()
        finally:
            self._asking.discard(answers)
        if good:
            return value
        raise value

    def on_loop(self) -> bool:
        """Tell whether the calling thread is the loop's own."""
        return threading.get_ident() == self._thread_id

    # -- what to wait for (on the loop, or before it starts) -----------------------------------------------------

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call `function(*args)` on the loop, `delay` seconds from now."""
        # The number keeps timers in the order of their making where the clock is too coarse to tell them apart.
        timer = Timer(time.monotonic() + delay, next(self._timer_numbers), function, args)
        heapq.heappush(self._timers, timer)
        return timer

    def add_reader(self, fd: Any, function: Callable[[], object]) -> None:
        """Call `function()` whenever `fd` (a descriptor, or an object with `fileno()`) can be read."""
        self._watch(fd, READ, function)

    def remove_reader(self, fd: Any) -> None:
        """Stop waiting for `fd` to be readable; nothing happens when it is not waited for."""
        self._watch(fd, READ, None)

    def add_writer(self, fd: Any, function: Callable[[], object]) -> None:
        """Call `function()` whenever `fd` can be written."""
        self._watch(fd, WRITE, function)

    def remove_writer(self, fd: Any) -> None:
        """Stop waiting for `fd` to be writable; nothing happens when it is not waited for."""
        self._watch(fd, WRITE, None)

    def _watch(self, fd: Any, event: int, function: Callable[[], object] | None) -> None:
        """Set what is called at an event of a descriptor; None for nothing."""
        number = fd if isinstance(fd, int) else fd.fileno()
        known = self._watched.get(number, {})
        calls = {e: f for e, f in known.items() if e != event}
        if function is not None:
            calls[event] = function
        if not calls:
            if known:
                del self._watched[number]
                self._poller.unregister(number)
            return
        (self._poller.modify if known else self._poller.register)(number, sum(calls))
        self._watched[number] = calls

    def at_pass_end(self, hook: Callable[[], object]) -> None:
        """Call `hook()` at the end of each pass, before the loop may sleep."""
        self._hooks.append(hook)

    def remove_hook(self, hook: Callable[[], object]) -> None:
        """Undo `at_pass_end(hook)`."""
        # A new list, since a hook may ask for this while the old one is walked.
        self._hooks = [h for h in self._hooks if h != hook]

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the loop in a daemon thread of its own."""
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop after the current pass and what was posted before this call; safe from every thread."""
        self.post(self._stop)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the loop's thread has ended; return False when it had not after `timeout` seconds."""
        if self._thread is None or self.on_loop():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def run(self) -> None:
        """Run the loop in the calling thread until `stop()`."""
        self._thread_id = threading.get_ident()
        try:
            while self._running:
                self._one_pass()
        finally:
            self._close()

    # -- insides -------------------------------------------------------------------------------------------------

    def _one_pass(self) -> None:
        inbox = self._inbox
        for _ in range(min(len(inbox), _INBOX_PER_PASS)):
            function, args = inbox.popleft()
            try:
                function(*args)
            except Exception:
                logger.exception("%s: a posted call failed: %r", self.name, function)
        if self._timers:
            self._run_timers()
        for hook in self._hooks:
            self._guarded(hook)
        if not self._running:
            return
        watched = self._watched
        for fd, events in self._wait():
            # A call may have ended the watch of a descriptor that is further down the list.
            for event, function in watched.get(fd, _NOTHING).items():
                if events & event:
                    self._guarded(function)

    def _wait(self) -> Sequence[tuple[int, int]]:
        if self._inbox:
            return self._poller.poll(0)
        timeout = max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None
        self._sleeping = True
        # A poster that appended before the flag was set did not wake us: look once more before sleeping.
        ready = self._poller.poll(0 if self._inbox else timeout)
        self._sleeping = False
        return ready

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.cancelled = True
                try:
                    timer.function(*timer.args)
                except Exception:
                    logger.exception("%s: a timer failed: %r", self.name, timer.function)

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:
            logger.exception("%s: a callback failed: %r", self.name, function)

    def _stop(self) -> None:
        self._running = False

    def _close(self) -> None:
        self._thread_id = None
        self._ended.set()
        for answers in list(self._asking):
            answers.put((False, LoopClosedError(f"{self.name} has ended")))
        self._inbox.clear()
        self._timers.clear()
        self._hooks.clear()
        # What is closed after the loop has ended is not watched any more.
        self._watched.clear()
        self._poller.close()


class Helper:
    """A thread for what may block or belongs to the user, started when it is first needed.

    Calls are made one after another in the order given; exceptions are logged.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str = "parsl-helper") -> None:
        self.name = name
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Have the helper call `function(*args)`; to be called from one thread (the loop) only."""
        self._calls.put((function, args))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # No thread can be started while the interpreter shuts down.
                self._thread = None
                self._calls.put(None)
                self._run()

    def close(self, timeout: float | None = None) -> bool:
        """Wait until all that was posted is done, and end the thread.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Returns:
            Whether all is done. On the helper's own thread that is left to the thread itself.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._calls.put(None)
        if thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            item = self._calls.get()
            if item is None:
                return
            function, args = item
            try:
                function(*args)
            except BaseException:  # a user's callback may even ask for the end of the program
                logger.exception("%s: a call failed: %r", self.name, function)
