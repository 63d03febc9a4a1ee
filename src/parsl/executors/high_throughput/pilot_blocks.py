"""The blocks of the pilot as their managers show them: who is connected, idle, leaving, and who can be given back."""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError, ManagerLost
from parsl.executors.status_handling import BlockErrorHandler, BlockProviderExecutor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.executors.errors import ExecutionLost
    from parsl.executors.high_throughput.client import InterchangeClient
    from parsl.loop import Loop
    from parsl.providers.base import ExecutionProvider

logger = logging.getLogger(__name__)

# How long to wait for the interchange when a block that is being emptied takes suspiciously long.
_ANSWER_SECONDS = 5.0


class PilotBlocks(BlockProviderExecutor):
    """What `HighThroughputExecutor` knows of its blocks, by its interchange.

    Args:
        provider: see `BlockProviderExecutor`.
        block_error_handler: see there.
    """

    max_workers_per_node: float
    cores_per_worker: float
    mem_per_worker: float | None
    available_accelerators: Sequence[str]
    heartbeat_threshold: int

    def __init__(self, *, provider: ExecutionProvider | None, block_error_handler: bool | BlockErrorHandler) -> None:
        super().__init__(provider=provider, block_error_handler=block_error_handler)
        # Set by the kernel; an executor that is used alone makes one of its own.
        self.loop: Loop | None = None
        self._client: InterchangeClient | None = None

    def _watch_blocks(self, client: InterchangeClient) -> None:
        """Hear of what concerns blocks: calls of these come on the loop."""
        client.after_flush = self._check_demand
        client.blocks_changed = self._on_blocks_changed
        client.emptied = self._on_emptied

    def _check_demand(self) -> None:
        if self.demand_changed is not None:
            self.demand_changed()

    def _on_blocks_changed(self, gone: bool) -> None:
        # That all managers of a block are gone is for the provider to explain, now and not at its next turn.
        if self.blocks_changed is not None:
            self.blocks_changed(gone)

    # -- managers ------------------------------------------------------------------------------------------------

    def connected_managers(self) -> list[dict[str, Any]]:
        """Return what the interchange knows of its managers: for each a dict with `manager`, `block_id`,
        `worker_count`, `tasks`, `idle_duration` (seconds), `active`, `draining`, `parsl_version`, `python_version`,
        `hostname`, `process_id`.
        """  # noqa: D205 - one sentence
        return [{k: v for k, v in m.items() if k != "packages"} for m in self._manager_views()]

    def connected_managers_packages(self) -> dict[str, dict[str, str]]:
        """Return the versions of packages that each manager has loaded, by manager."""
        return {m["manager"]: m["packages"] for m in self._manager_views()}

    def _manager_views(self, timeout: float = 30.0) -> list[dict[str, Any]]:
        import msgspec

        from parsl.executors.high_throughput.messages import ManagerView

        if self._client is None:
            return []
        answer = self._client.commands.run("MANAGERS", timeout)
        return [msgspec.structs.asdict(msgspec.convert(m, ManagerView)) for m in answer]

    def connected_blocks(self) -> list[str]:
        """Return the numbers of all blocks that have connected, also of those that have ended since."""
        return [] if self._client is None else sorted(self._client.connected.seen)

    @property
    def connected_workers(self) -> int:
        """How many workers the connected managers have."""
        if self._client is None:
            return 0
        return sum(m.worker_count for m in list(self._client.connected.managers.values()))

    @property
    def workers_per_node(self) -> int | float:
        """How many tasks a node runs at once: what a manager has said, or else what the configuration allows."""
        if self._client is not None and self._client.connected.workers is not None:
            # Also when the last manager is gone: the next blocks will be like it, and another guess makes others.
            return self._client.connected.workers
        known = [self.max_workers_per_node]
        cores = getattr(self._provider, "cores_per_node", None)
        if cores:
            known.append(math.floor(cores / self.cores_per_worker))
        memory = getattr(self._provider, "mem_per_node", None)
        if memory and self.mem_per_worker:
            known.append(math.floor(memory / self.mem_per_worker))
        if self.available_accelerators:
            known.append(len(self.available_accelerators))
        least = min(known)
        return max(1, int(least)) if math.isfinite(least) else 1

    def runs_again(self, loss: ExecutionLost) -> bool:
        """Tell whether there is another node for a task whose worker or manager was lost, or one may come.

        Where a node fell silent there is no word of what it does: only others that are here or on their way count.
        """
        if self.bad_state_is_set or self._client is None:
            return False
        if not isinstance(loss, ManagerLost):
            return True
        managers = [m for m in list(self._client.connected.managers.values()) if m.manager != loss.manager_id]
        if any(m.active and not m.draining for m in managers):
            return True
        live = self._live_blocks()
        if any(not self._has_been_connected(block) for block in live):
            return True
        serving = {m.block_id for m in managers}
        most = getattr(self._provider, "max_blocks", 0)
        return not loss.silent and self.demand_changed is not None and len(serving) < most

    # -- blocks --------------------------------------------------------------------------------------------------

    def hold_worker(self, worker_id: str) -> None:
        """Have a manager (by its identity) given no further task."""
        if self._client is not None and self.loop is not None:
            self.loop.post(self._client.hold, worker_id)

    def _has_been_connected(self, block_id: str) -> bool:
        return self._client is not None and block_id in self._client.connected.seen

    def _is_connected(self, block_id: str) -> bool:
        return self._client is not None and block_id in self._client.connected.blocks

    def _leaving_blocks(self) -> Container[str]:
        return () if self._client is None else self._client.connected.leaving

    def _idle_seconds(self) -> Mapping[str, float]:
        idle: dict[str, float] = {}
        try:
            views = self._manager_views()
        except CommandClientBadError:
            return idle  # the interchange has ended, and its managers with it
        for m in views:
            seconds = m["idle_duration"] if not m["tasks"] else 0.0
            idle[m["block_id"]] = min(seconds, idle.get(m["block_id"], math.inf))
        return idle

    def _start_drain(self, block_id: str) -> None:
        if self._client is None or self.loop is None or not self._client.commands.ok:
            self._on_emptied(block_id)
        else:
            self.loop.post(self._client.drain, block_id)

    def _is_overdue(self, block_id: str, since: float) -> bool:
        """Tell whether a block is to be given back though the interchange does not say that it is empty.

        That is after the time in which a silent manager counts as lost, when nobody has a task there, or nobody knows.
        """
        waited = self.clock() - since
        if waited <= self.heartbeat_threshold:
            return False
        try:
            tasks = sum(m["tasks"] for m in self._manager_views(_ANSWER_SECONDS) if m["block_id"] == block_id)
        except (CommandClientBadError, CommandClientTimeoutError) as e:
            logger.warning(
                "Block %s of executor %s is given back as it is: whether it is empty was not said in %.0f s (%s)",
                *(block_id, self.label, waited, e),
            )
            return True
        if tasks:
            logger.debug("Block %s of executor %s has %d tasks to end still", block_id, self.label, tasks)
            return False
        logger.warning(
            "Block %s of executor %s is given back as it is: it has no task, but was not reported empty in %.0f s",
            *(block_id, self.label, waited),
        )
        return True
