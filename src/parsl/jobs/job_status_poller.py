"""Looks after the blocks of executors: first blocks, states, scaling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.strategy import Strategy

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor
    from parsl.loop import Loop

logger = logging.getLogger(__name__)

# After a change the states of blocks are looked at soon, then ever more rarely up to the provider's interval: a block
# that cannot start is known in a second, one that runs costs next to nothing.
_FIRST_LOOK = 0.25
_GROWTH = 1.5


class JobStatusPoller:
    """Polls the states of blocks and applies the strategy, on a thread of its own that sleeps in between.

    Args:
        strategy: see `Strategy`.
        max_idletime: see `Strategy`.
        strategy_period: seconds between two looks of the strategy at idle blocks.
        loop: the kernel's loop; kept for callers, the poller does not use it.
    """

    def __init__(
        self,
        *,
        strategy: Literal["none", "simple", "htex_auto_scale"] | None,
        max_idletime: float,
        strategy_period: float = 5,
        loop: Loop | None = None,
    ) -> None:
        self._strategy = Strategy(strategy=strategy, max_idletime=max_idletime)
        self._period = strategy_period
        self._loop = loop
        self._executors: list[BlockProviderExecutor] = []
        self._wake = threading.Condition()
        self._woken = False
        self._closed = False
        self._look = _FIRST_LOOK
        self._thread: threading.Thread | None = None

    def add_executors(self, executors: Sequence[ParslExecutor]) -> None:
        """Look after executors; those that have blocks get their first ones now."""
        added = [e for e in executors if isinstance(e, BlockProviderExecutor) and e.provider is not None]
        if not added:
            return
        self._strategy.add_executors(added)
        self._strategy.strategize(added)
        for executor in added:
            executor.demand_changed = self._demand_of(executor)
        with self._wake:
            self._executors.extend(added)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="parsl-blocks", daemon=True)
            self._thread.start()
        else:
            self.wake()

    def wake(self) -> None:
        """Have the poller look now; from any thread."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def poll(self) -> None:
        """Look at the states of all blocks, and apply the strategy."""
        for executor in list(self._executors):
            before = executor.status_facade
            try:
                executor.poll_facade()
                self._strategy.strategize([executor])
            except Exception:
                logger.exception("Looking after the blocks of executor %s failed; it is tried again", executor.label)
            after = executor.status_facade
            if {b: s.state for b, s in before.items()} != {b: s.state for b, s in after.items()}:
                self._look = _FIRST_LOOK
                executor.send_monitoring_info(
                    {b: s for b, s in after.items() if b not in before or before[b].state != s.state}
                )

    def close(self, timeout: float | None = None) -> None:
        """Stop looking."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _demand_of(self, executor: BlockProviderExecutor) -> Callable[[], None] | None:
        """Return what to call when tasks were submitted: it wakes the poller when they ask for more blocks."""
        if self._strategy.strategy is None:
            return None

        def demand() -> None:
            if not self._woken and self._strategy.wants_blocks(executor):
                self.wake()

        return demand

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._woken and not self._closed:
                    self._wake.wait(self._interval())
                self._woken = False
                if self._closed:
                    return
            self.poll()

    def _interval(self) -> float:
        """Seconds until the next look."""
        slowest = min(
            [e.status_polling_interval for e in self._executors if e.status_polling_interval], default=self._period
        )
        if self._strategy.strategy is not None:
            slowest = min(slowest, self._period)
        self._look = min(self._look * _GROWTH, slowest)
        return self._look
