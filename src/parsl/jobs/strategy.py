"""How many blocks an executor is to have."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from parsl.executors.errors import ScalingFailed
from parsl.executors.status_handling import BlockProviderExecutor

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor

logger = logging.getLogger(__name__)


class ExecutorState(TypedDict):
    """What the strategy remembers of an executor.

    Attributes:
        idle_since: since when the executor has had blocks to give back, in seconds of the clock; None while it has
            none. With 'simple' that is while it has no task.
        first: whether the executor has not been looked at yet.
    """

    idle_since: float | None
    first: bool


class View(NamedTuple):
    """What the number of blocks depends on.

    Attributes:
        tasks: tasks that have not ended.
        blocks: blocks that run or are asked for, and take tasks.
        slots_per_block: workers of one block, at least 1.
        min_blocks: fewest blocks.
        max_blocks: most blocks.
        parallelism: workers wanted for each task, 0 to 1; with 0, one block for any number of tasks.
        idle: seconds for which blocks might have been given back.
        max_idletime: seconds of idleness after which blocks are given back.
        scale_in_partly: whether blocks are given back while there still are tasks.
        leaving: blocks that take no more tasks and have not ended. They are no help, but count towards `max_blocks`.
    """

    tasks: int
    blocks: int
    slots_per_block: int
    min_blocks: int
    max_blocks: int
    parallelism: float
    idle: float
    max_idletime: float
    scale_in_partly: bool = False
    leaving: int = 0


def wanted(view: View) -> int:
    """Return how many blocks the work needs, from `min_blocks` to `max_blocks`."""
    needed = 0
    if view.tasks:
        # The bound comes first, for a parallelism that has none.
        needed = max(1, math.ceil(min(view.tasks * view.parallelism / view.slots_per_block, view.max_blocks)))
    return min(max(needed, view.min_blocks), view.max_blocks)


def has_spare_blocks(view: View) -> bool:
    """Tell whether blocks may be given back once this has been so for `max_idletime`."""
    return wanted(view) < view.blocks if view.scale_in_partly else view.tasks == 0


def decide(view: View) -> int:
    """Return how many blocks to ask for (positive) or to give back (negative)."""
    missing = wanted(view) - view.blocks
    if missing >= 0:
        return max(0, min(missing, view.max_blocks - view.blocks - view.leaving))
    return missing if has_spare_blocks(view) and view.idle >= view.max_idletime else 0


class Strategy:
    """Adjusts the number of blocks of executors to their work.

    Args:
        strategy: 'simple' gives blocks back when an executor has been idle, 'htex_auto_scale' also idle ones of a
            busy executor; 'none' or None leaves them as they are.
        max_idletime: seconds of idleness after which blocks are given back.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, *, strategy: Literal["none", "simple", "htex_auto_scale"] | None, max_idletime: float) -> None:
        self.strategy = strategy if strategy != "none" else None
        self.max_idletime = max_idletime
        self.executors: dict[str, ExecutorState] = {}

    def add_executors(self, executors: Sequence[ParslExecutor]) -> None:
        """Take executors under control."""
        for executor in executors:
            self.executors[executor.label] = {"idle_since": None, "first": True}

    def strategize(self, executors: Sequence[BlockProviderExecutor]) -> None:
        """Look at executors and ask for blocks, or give some back; may block, so not on a loop."""
        for executor in executors:
            if executor.bad_state_is_set or executor.provider is None:
                continue
            state = self.executors[executor.label]
            if state["first"]:
                state["first"] = False
                self._ask(executor, executor.provider.init_blocks)
            if self.strategy is not None:
                self._adjust(executor, state)

    def wants_blocks(self, executor: BlockProviderExecutor) -> bool:
        """Tell whether an executor would be given more blocks now; from any thread."""
        if self.strategy is None or executor.backoff.holds(self.clock()):
            return False
        return decide(self._view(executor)) > 0

    def _adjust(self, executor: BlockProviderExecutor, state: ExecutorState) -> None:
        now = self.clock()
        view = self._view(executor)
        if not has_spare_blocks(view):
            state["idle_since"] = None
        elif state["idle_since"] is None:
            state["idle_since"] = now
        since = state["idle_since"]
        delta = decide(view if since is None else view._replace(idle=now - since))
        if delta > 0 and not executor.backoff.holds(now):
            self._ask(executor, delta)
        elif delta < 0:
            # Only what is idle itself: a task may have come, or run, since the executor was looked at.
            executor.scale_in_facade(-delta, self.max_idletime)

    @staticmethod
    def _ask(executor: BlockProviderExecutor, blocks: int) -> None:
        if blocks <= 0:
            return
        try:
            executor.scale_out_facade(blocks)
        except ScalingFailed as e:
            # Shut down in this very moment.
            logger.info("No blocks are asked for: %s", e)

    def _view(self, executor: BlockProviderExecutor) -> View:
        provider = executor.provider
        census = executor.block_census()
        return View(
            tasks=executor.outstanding(),
            blocks=census.serving,
            slots_per_block=max(1, int(executor.workers_per_node * provider.nodes_per_block)),
            min_blocks=provider.min_blocks,
            max_blocks=provider.max_blocks,
            parallelism=provider.parallelism,
            idle=0.0,
            max_idletime=self.max_idletime,
            scale_in_partly=self.strategy == "htex_auto_scale",
            leaving=census.leaving,
        )
