"""Looks after the blocks of all executors of a kernel: first blocks, states, scaling."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.block_keeper import BlockKeeper
from parsl.jobs.strategy import Strategy

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor
    from parsl.loop import Loop

logger = logging.getLogger(__name__)

# For how long `add_executors` waits until the first blocks have been asked for, and `close` until a provider answers.
FIRST_SECONDS = 10.0
CLOSE_SECONDS = 2.0


class JobStatusPoller:
    """Gives each executor that has blocks a keeper of them; the strategy is common to all.

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
        self._keepers: list[BlockKeeper] = []

    def add_executors(self, executors: Sequence[ParslExecutor]) -> None:
        """Look after executors; those that have blocks get their first ones now.

        A provider that takes longer than ten seconds for that is not waited for.
        """
        added = [e for e in executors if isinstance(e, BlockProviderExecutor) and e.provider is not None]
        self._strategy.add_executors(added)
        keepers = [BlockKeeper(executor, lambda: self._strategy, self._period) for executor in added]
        self._keepers += keepers
        for keeper in keepers:
            keeper.start()
        deadline = time.monotonic() + FIRST_SECONDS
        for keeper in keepers:
            if not keeper.begun.wait(max(0.0, deadline - time.monotonic())):
                logger.warning(
                    "The provider of executor %s has not taken the first blocks within %g s; it is not waited for",
                    keeper.executor.label,
                    FIRST_SECONDS,
                )

    def wake(self) -> None:
        """Have all blocks looked at now; from any thread."""
        for keeper in self._keepers:
            keeper.wake()

    def poll(self) -> None:
        """Look at the states of all blocks, and apply the strategy; in the calling thread."""
        for keeper in list(self._keepers):
            keeper.look(ask=True)

    def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Stop looking.

        Args:
            timeout: seconds to wait for providers that are being asked; None waits as long as they take.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for keeper in self._keepers:
            # All of them first, so that they end side by side.
            keeper.close(0)
        for keeper in self._keepers:
            if not keeper.close(None if deadline is None else max(0.0, deadline - time.monotonic())):
                logger.warning(
                    "The provider of executor %s has not answered; it is left to itself", keeper.executor.label
                )
