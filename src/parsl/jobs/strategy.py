"""How many blocks an executor is to have."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from parsl.executors.status_handling import BlockProviderExecutor

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor

logger = logging.getLogger(__name__)


class ExecutorState(TypedDict):
    """What the strategy remembers of an executor.

    Attributes:
        idle_since: since when the executor has had no task, in seconds of the monotonic clock; None while it has.
        first: whether the executor has not been looked at yet.
    """

    idle_since: float | None
    first: bool


class View(NamedTuple):
    """What the number of blocks depends on.

    Attributes:
        tasks: tasks that have not ended.
        blocks: blocks that run or are asked for.
        slots_per_block: workers of one block, at least 1.
        min_blocks: fewest blocks.
        max_blocks: most blocks.
        parallelism: workers wanted for each task, 0 to 1; with 0, one block for any number of tasks.
        idle: seconds without a task; 0 while there are some.
        max_idletime: seconds of idleness after which blocks are given back.
        scale_in_partly: whether blocks are given back while there still are tasks.
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


def decide(view: View) -> int:
    """Return how many blocks to ask for (positive) or to give back (negative)."""
    wanted = 0
    if view.tasks:
        # The bound comes first, for a parallelism that has none.
        wanted = max(1, math.ceil(min(view.tasks * view.parallelism / view.slots_per_block, view.max_blocks)))
    wanted = min(max(wanted, view.min_blocks), view.max_blocks)
    if wanted >= view.blocks:
        return wanted - view.blocks
    if view.tasks == 0:
        return wanted - view.blocks if view.idle >= view.max_idletime else 0
    return wanted - view.blocks if view.scale_in_partly else 0


class Strategy:
    """Adjusts the number of blocks of executors to their work.

    Args:
        strategy: 'simple' gives blocks back when an executor has been idle, 'htex_auto_scale' also idle ones of a
            busy executor; 'none' or None leaves them as they are.
        max_idletime: seconds of idleness after which blocks are given back.
    """

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
                executor.scale_out_facade(executor.provider.init_blocks)
            if self.strategy is not None:
                self._adjust(executor, state)

    def wants_blocks(self, executor: BlockProviderExecutor) -> bool:
        """Tell whether an executor would be given more blocks now; from any thread."""
        return self.strategy is not None and decide(self._view(executor, idle=0.0)) > 0

    def _adjust(self, executor: BlockProviderExecutor, state: ExecutorState) -> None:
        delta = decide(self._view(executor, self._idle(executor, state)))
        if delta > 0:
            executor.scale_out_facade(delta)
        elif delta < 0:
            # Only what is idle itself: a task may have come, or run, since the executor was looked at.
            executor.scale_in_facade(-delta, self.max_idletime)

    @staticmethod
    def _idle(executor: BlockProviderExecutor, state: ExecutorState) -> float:
        if executor.outstanding():
            state["idle_since"] = None
            return 0.0
        now = time.monotonic()
        since = state["idle_since"]
        if since is None:
            since = state["idle_since"] = now
        return now - since

    def _view(self, executor: BlockProviderExecutor, idle: float) -> View:
        provider = executor.provider
        return View(
            tasks=executor.outstanding(),
            blocks=sum(not status.terminal for status in executor.status_facade.values()),
            slots_per_block=max(1, int(executor.workers_per_node * provider.nodes_per_block)),
            min_blocks=provider.min_blocks,
            max_blocks=provider.max_blocks,
            parallelism=provider.parallelism,
            idle=idle,
            max_idletime=self.max_idletime,
            scale_in_partly=self.strategy == "htex_auto_scale",
        )
