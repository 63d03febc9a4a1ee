"""What executors that run on blocks of a provider have in common: blocks, their states, and giving up."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from parsl.dataflow.placement import Room
from parsl.executors.block_scaling import BlockScaling
from parsl.executors.blocks import Block
from parsl.executors.errors import BadStateException
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.jobs.states import JobState, JobStatus
from parsl.jobs.witness import Evidence, judge

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.providers.base import ExecutionProvider

logger = logging.getLogger(__name__)

# The ends that make the next block wait; a TIMEOUT of a block that has worked is how blocks end.
_FAILURES = frozenset({JobState.FAILED, JobState.MISSING})

BlockErrorHandler = Callable[["BlockProviderExecutor", dict[str, JobStatus]], None]


class BlockProviderExecutor(BlockScaling):
    """Base of executors whose workers run in blocks that a provider gets from a batch system or cloud.

    Args:
        provider: where blocks come from; None when they are started by somebody else.
        block_error_handler: what decides, from the states of all blocks, that the executor can run no more tasks:
            True for the simple rule (all blocks have failed), False for none, or a function of executor and status.
    """

    def __init__(
        self,
        *,
        provider: ExecutionProvider | None,
        block_error_handler: bool | BlockErrorHandler = True,
    ) -> None:
        super().__init__(provider)
        self.block_error_handler: BlockErrorHandler
        if isinstance(block_error_handler, bool):
            self.block_error_handler = simple_error_handler if block_error_handler else noop_error_handler
        else:
            self.block_error_handler = block_error_handler
        self._bad_state: Exception | None = None

    # -- what a subclass says ------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def workers_per_node(self) -> int | float:
        """How many tasks a node runs at once."""

    @abstractmethod
    def _fail_all(self, exception: Exception) -> None:
        """End all tasks that have not ended with `exception`; on any thread."""

    def _is_connected(self, block_id: str) -> bool:
        """Tell whether a manager of a block is connected and heard of: a witness that it runs."""
        del block_id
        return False

    @property
    @abstractmethod
    def tasks(self) -> Mapping[Any, Future[Any]]:
        """The futures of tasks that have not ended, by the executor's number."""

    @property
    def connected_workers(self) -> int:
        """How many workers are connected; 0 when the executor does not know."""
        return 0

    def room(self) -> Room:
        """Tell how many calls there are, for how many workers: those connected, and those of all blocks asked for."""
        if self.bad_state_is_set:
            return Room(self.outstanding(), 0, 0)
        connected = self.connected_workers
        if self._provider is None:
            return Room(self.outstanding(), connected, max(1, connected))
        # At least one block: what has none yet gets one when there is something to do.
        blocks = max(1, sum(block.live for block in [*self._blocks.values()]))
        workers = blocks * self._provider.nodes_per_block * self.workers_per_node
        return Room(self.outstanding(), connected, max(connected, workers))

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def provider(self) -> Any:
        """Where blocks come from."""
        return self._provider

    @property
    def status_polling_interval(self) -> float:
        """Seconds between two looks at the states of blocks; 0 for never."""
        return 0 if self._provider is None else self._provider.status_polling_interval

    @property
    def blocks_to_job_id(self) -> dict[str, str]:
        """The provider's name of each block."""
        return {b: block.job_id for b, block in list(self._blocks.items()) if block.job_id is not None}

    @property
    def job_ids_to_block(self) -> dict[str, str]:
        """The block behind each of the provider's names."""
        return {job: block for block, job in self.blocks_to_job_id.items()}

    blocks = blocks_to_job_id

    @property
    def status_facade(self) -> dict[str, JobStatus]:
        """The last known status of each block."""
        return {b: block.status for b, block in list(self._blocks.items())}

    def status(self) -> dict[str, JobStatus]:
        """Return the last known status of each block."""
        return self.status_facade

    @property
    def bad_state_is_set(self) -> bool:
        """Whether the executor can run no more tasks."""
        return self._bad_state is not None

    @property
    def executor_exception(self) -> Exception | None:
        """Why the executor can run no more tasks, or None."""
        return self._bad_state

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """Run no more tasks, and end those that have not ended with `exception`; on any thread, once."""
        if self._bad_state is not None:
            return
        logger.error("Executor %s is in a bad state and ends all its tasks: %s", self.label, exception)
        self._bad_state = exception
        self._fail_all(BadStateException(self, exception))

    # -- states of blocks ----------------------------------------------------------------------------------------

    def poll_facade(self) -> None:
        """Ask the provider for the states of all live blocks, and let the block error handler judge them."""
        with self._blocks_lock:
            asked = [(b, block) for b, block in self._blocks.items() if block.live]
        if asked and self._provider is not None:
            statuses = self._provider.status([block.job_id or "" for _, block in asked])
            with self._blocks_lock:
                for (block_id, block), told in zip(asked, statuses, strict=False):
                    if not block.status.terminal:
                        self._take_in(block_id, block, told)
        if not self.bad_state_is_set:
            self.handle_errors(self.status_facade)

    def believe_managers(self) -> None:
        """Take blocks whose managers are connected for running, without asking the provider."""
        with self._blocks_lock:
            for block_id, block in self._blocks.items():
                unsure = block.live and (block.status.state is not JobState.RUNNING or not block.works)
                if unsure and self._is_connected(block_id):
                    self._take_in(block_id, block, block.status)

    def _take_in(self, block_id: str, block: Block, told: JobStatus) -> None:
        """Note what the provider says of a live block, as far as it is to be believed."""
        now = self.clock()
        seen = self._has_been_connected(block_id)
        evidence = Evidence(self._is_connected(block_id), seen, given_back=block.emptied)
        before, block.status = block.status, judge(told, evidence, block.doubt, now)
        state = block.status.state
        if state is JobState.RUNNING and seen and not block.works:
            block.works = True
            self.backoff.on_success()
        if told.terminal and not block.status.terminal and block.doubt.looks == 1:
            logger.warning("Block %s of executor %s: %s", block_id, self.label, block.status.message)
        if state is before.state:
            return
        logger.info(
            "Block %s of executor %s, job %s: %s after %s%s",
            *(block_id, self.label, block.job_id, block.status.status_name, before.status_name),
            f" ({block.status.message})" if block.status.message else "",
        )
        if state in _FAILURES:
            pause = self.backoff.on_failure(now, block.since)
            logger.warning(
                "Block %s of executor %s failed. Another is asked for in %.0f s at the earliest",
                *(block_id, self.label, pause),
            )

    def handle_errors(self, status: dict[str, JobStatus]) -> None:
        """Let the block error handler judge the states of all blocks."""
        self.block_error_handler(self, status)

    # -- monitoring ----------------------------------------------------------------------------------------------

    def create_monitoring_info(self, status: Mapping[str, JobStatus]) -> list[dict[str, Any]]:
        """Make the monitoring messages that tell the states of blocks."""
        import datetime

        jobs = self.blocks_to_job_id
        return [
            {
                "run_id": self.run_id,
                "executor_label": self.label,
                "job_id": jobs.get(block_id),
                "block_id": block_id,
                "status": s.status_name,
                "timestamp": datetime.datetime.now(),  # noqa: DTZ005 - the tables hold local time
            }
            for block_id, s in status.items()
        ]

    def send_monitoring_info(self, status: Mapping[str, JobStatus]) -> None:
        """Send the states of blocks to monitoring, if there is any."""
        if self.monitoring_messages is not None:
            for message in self.create_monitoring_info(status):
                self.monitoring_messages.put(message)
