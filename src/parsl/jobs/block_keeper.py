"""Looks after the blocks of one executor, on a thread of its own: a provider that hangs keeps nobody else waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl.executors.status_handling import BlockProviderExecutor
    from parsl.jobs.states import JobStatus
    from parsl.jobs.strategy import Strategy

logger = logging.getLogger(__name__)

# After a change the provider is asked soon, then ever more rarely up to its own interval: a block that cannot start is
# known in a second, one that runs costs next to nothing.
FIRST_LOOK = 0.25
_GROWTH = 1.5


class Rhythm:
    """When to ask the provider next. Time is an argument.

    Args:
        longest: seconds between two questions when nothing changes; 0 for one second.
        now: the time.
    """

    def __init__(self, longest: float, now: float) -> None:
        self._longest = longest or 1.0
        self._pause = FIRST_LOOK
        self.due = now + min(self._pause, self._longest)

    def asked(self, now: float) -> None:
        """Note that the provider has been asked: the next time comes later than this one did."""
        self._pause = min(self._pause * _GROWTH, self._longest)
        self.due = now + self._pause

    def changed(self, now: float) -> None:
        """Note that something has changed, so that more is to be expected."""
        self._pause = FIRST_LOOK
        self.due = min(self.due, now + min(self._pause, self._longest))


class BlockKeeper:
    """Asks for an executor's first blocks, follows their states, applies the strategy; sleeps in between.

    Args:
        executor: the executor.
        strategy: shared by all keepers of a kernel.
        period: seconds between two looks of the strategy at idle blocks.
    """

    def __init__(self, executor: BlockProviderExecutor, strategy: Callable[[], Strategy], period: float) -> None:
        self.executor = executor
        self.begun = threading.Event()
        self._strategy = strategy
        self._period = period
        self._rhythm = Rhythm(executor.status_polling_interval, time.monotonic())
        self._wake = threading.Condition()
        self._woken = self._ask = self._closed = False
        # A look may come from `poll` as well. Re-entrant, for a block error handler that asks for one.
        self._looking = threading.RLock()
        self._troubles: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"parsl-blocks-{executor.label}", daemon=True)

    def start(self) -> None:
        """Begin, with the first blocks."""
        if self._strategy().strategy is not None:
            self.executor.demand_changed = self._demand
        self.executor.blocks_changed = self.wake
        self._thread.start()

    def wake(self, ask: bool = True) -> None:
        """Have the keeper look now; from any thread, and it never waits.

        Args:
            ask: whether the provider is to be asked, or just to be thought about what is known.
        """
        with self._wake:
            self._woken = True
            self._ask = self._ask or ask
            self._wake.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Stop looking; return whether the thread has ended within `timeout` seconds."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self.executor.demand_changed = self.executor.blocks_changed = None
        if self._thread is threading.current_thread() or not self._thread.ident:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def look(self, ask: bool) -> None:
        """Look at the states of the blocks, give back those that are empty, and apply the strategy."""
        executor = self.executor
        with self._looking:
            before = executor.status_facade
            self._try("comparing them with their managers", executor.believe_managers)
            if ask:
                self._try("asking for their states", executor.poll_facade)
                self._rhythm.asked(time.monotonic())
            if not self._closed:
                self._try("giving back those that are empty", executor.give_back_emptied)
            if not self._closed:
                self._try("adjusting their number", lambda: self._strategy().strategize([executor]))
            self._try("telling monitoring", lambda: self._tell(before, executor.status_facade))

    # -- insides -------------------------------------------------------------------------------------------------

    def _demand(self) -> None:
        """Wake up when tasks have come that ask for more blocks; called on the kernel's loop."""
        if not self._woken and self._strategy().wants_blocks(self.executor):
            self.wake(ask=False)

    def _run(self) -> None:
        self.look(ask=False)
        self.begun.set()
        while True:
            with self._wake:
                if not self._woken and not self._closed:
                    self._wake.wait(self._pause(time.monotonic()))
                ask, self._woken, self._ask = self._ask, False, False
                if self._closed:
                    return
            self.look(ask or time.monotonic() >= self._rhythm.due)

    def _pause(self, now: float) -> float:
        """Return the seconds until the next look."""
        due = self._rhythm.due
        if self._strategy().strategy is not None:
            due = min(due, now + self._period)
            if self.executor.backoff.holds(now):
                due = min(due, self.executor.backoff.until)
        return max(0.0, due - now)

    def _try(self, what: str, function: Callable[[], object]) -> None:
        """Call what a provider or a user's handler may fail in; a failure again and again is told ever more rarely."""
        try:
            function()
        except Exception as e:
            count = self._troubles[what] = self._troubles.get(what, 0) + 1
            if count & (count - 1) == 0:
                # From where it comes is told the first time.
                logger.warning(
                    "Looking after the blocks of executor %s failed %d times in a row in %s, and is tried again: %s",
                    *(self.executor.label, count, what, e),
                    exc_info=e if count == 1 else None,
                )
        else:
            self._troubles.pop(what, None)

    def _tell(self, before: dict[str, JobStatus], after: dict[str, JobStatus]) -> None:
        changed = {b: s for b, s in after.items() if b not in before or before[b].state is not s.state}
        if changed:
            self._rhythm.changed(time.monotonic())
            self.executor.send_monitoring_info(changed)
