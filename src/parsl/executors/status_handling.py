"""What executors that run on blocks of a provider have in common: blocks, their states, and giving up."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.base import ParslExecutor
from parsl.executors.errors import BadStateException, ScalingFailed
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.providers.base import ExecutionProvider

logger = logging.getLogger(__name__)

BlockErrorHandler = Callable[["BlockProviderExecutor", dict[str, JobStatus]], None]


class Block:
    """One block that an executor has asked for.

    Attributes:
        job_id: the provider's name for it; None when submitting failed.
        status: the last status known.
        since: when it was asked for, in seconds of the monotonic clock.
    """

    __slots__ = ("job_id", "since", "status")

    def __init__(self, job_id: str | None, status: JobStatus) -> None:
        self.job_id = job_id
        self.status = status
        self.since = time.monotonic()


class BlockProviderExecutor(ParslExecutor):
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
        super().__init__()
        self._provider = provider
        self.block_error_handler: BlockErrorHandler
        if isinstance(block_error_handler, bool):
            self.block_error_handler = simple_error_handler if block_error_handler else noop_error_handler
        else:
            self.block_error_handler = block_error_handler
        self._blocks: dict[str, Block] = {}
        self._next_block = 0
        # Blocks are changed by whoever scales: the poller's helper, a user's thread, shutdown. Never on a task's way.
        self._blocks_lock = threading.RLock()
        self._bad_state: Exception | None = None
        # Set by the poller: called, on any thread, when there is more to do than the workers can take at once.
        self.demand_changed: Callable[[], object] | None = None

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def outstanding(self) -> int:
        """Return how many tasks have been submitted and have not ended."""

    @property
    @abstractmethod
    def workers_per_node(self) -> int | float:
        """How many tasks a node runs at once."""

    @abstractmethod
    def _get_launch_command(self, block_id: str) -> str:
        """Return the command that runs in a block."""

    @abstractmethod
    def _fail_all(self, exception: Exception) -> None:
        """End all tasks that have not ended with `exception`; on any thread."""

    def _has_been_connected(self, block_id: str) -> bool:
        """Tell whether anything of a block was ever heard of."""
        del block_id
        return True

    @property
    @abstractmethod
    def tasks(self) -> Mapping[Any, Future[Any]]:
        """The futures of tasks that have not ended, by the executor's number."""

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

    # -- blocks --------------------------------------------------------------------------------------------------

    def scale_out_facade(self, n: int) -> list[str]:
        """Ask the provider for `n` more blocks.

        Returns:
            The numbers of the blocks asked for; one whose submission failed is among them, with state FAILED.

        Raises:
            ScalingFailed: when there is no provider.
        """
        if self._provider is None:
            raise ScalingFailed(self, "there is no execution provider")
        with self._blocks_lock:
            block_ids = [str(self._next_block + i) for i in range(n)]
            self._next_block += n
        at_once = getattr(self._provider, "blocks_per_submission", 1)
        for group in (block_ids[i : i + at_once] for i in range(0, n, at_once)):
            for block_id in group:
                logger.info("Scaling out block %s of executor %s", block_id, self.label)
            reason = "the provider returned no job id"
            try:
                job_ids = self._launch_blocks(group)
            except Exception as e:  # noqa: BLE001 - providers raise what they like; the blocks have failed with it
                job_ids, reason = [], str(e)
            blocks = [self._new_block(*pair, reason) for pair in itertools.zip_longest(group, job_ids[: len(group)])]
            with self._blocks_lock:
                self._blocks.update(zip(group, blocks, strict=True))
        return block_ids

    def _new_block(self, block_id: str, job_id: str | None, reason: str) -> Block:
        if job_id:
            return Block(job_id, JobStatus(JobState.PENDING))
        logger.warning("Block %s of executor %s could not be submitted: %s", block_id, self.label, reason)
        return Block(None, JobStatus(JobState.FAILED, f"Failed to start block {block_id}: {reason}"))

    def _launch_blocks(self, block_ids: Sequence[str]) -> list[str]:
        """Submit blocks, several of them together where the provider can do that."""
        provider = self._provider
        assert provider is not None
        if provider.script_dir is None:
            provider.script_dir = os.path.join(self.run_dir, "submit_scripts")
        os.makedirs(provider.script_dir, exist_ok=True)
        commands = [self._get_launch_command(block_id) for block_id in block_ids]
        names = [f"parsl.{self.label}.block-{block_id}" for block_id in block_ids]
        if len(block_ids) > 1:
            job_ids: list[str] = self.provider.submit_many(commands, 1, names)
            return job_ids
        return [provider.submit(commands[0], 1, names[0])]

    def scale_in_facade(self, n: int, max_idletime: float | None = None) -> list[str]:
        """Give back up to `n` blocks, see `scale_in`."""
        return self.scale_in(n, max_idletime)

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """Give back blocks, the newest first.

        Args:
            blocks: how many.
            max_idletime: seconds that a block must have been idle; None gives back busy ones too.

        Returns:
            The numbers of the blocks given back.
        """
        del max_idletime
        with self._blocks_lock:
            live = [b for b, block in self._blocks.items() if block.job_id and not block.status.terminal]
        chosen = live[len(live) - min(blocks, len(live)) :]
        return self.cancel_blocks(chosen)

    def cancel_blocks(self, block_ids: Sequence[str]) -> list[str]:
        """Have the provider cancel those of the blocks that are live; return those that are cancelled."""
        if self._provider is None:
            return []
        before: dict[str, JobStatus] = {}
        with self._blocks_lock:
            for block_id in block_ids:
                block = self._blocks[block_id]
                if block.job_id and not block.status.terminal:
                    # Before the job ends, so that a poll meanwhile does not take its end for a failure.
                    before[block_id], block.status = block.status, JobStatus(JobState.SCALED_IN)
        cancelled: list[str] = []
        if not before:
            return cancelled
        try:
            answers = self._provider.cancel([self._blocks[b].job_id or "" for b in before])
            cancelled += [b for b, good in zip(before, answers, strict=False) if good]
        finally:
            with self._blocks_lock:
                for block_id in set(before).difference(cancelled):
                    self._blocks[block_id].status = before[block_id]
        return cancelled

    def poll_facade(self) -> None:
        """Ask the provider for the states of all live blocks, and let the block error handler judge them."""
        with self._blocks_lock:
            asked = [(b, block) for b, block in self._blocks.items() if block.job_id and not block.status.terminal]
        if asked and self._provider is not None:
            statuses = self._provider.status([block.job_id or "" for _, block in asked])
            with self._blocks_lock:
                for (block_id, block), status in zip(asked, statuses, strict=False):
                    if not block.status.terminal:
                        block.status = self._judged(block_id, status)
        if not self.bad_state_is_set:
            self.handle_errors(self.status_facade)

    def _judged(self, block_id: str, status: JobStatus) -> JobStatus:
        """Call a block that ended before anything was heard of it MISSING, whatever its exit code says."""
        if status.state in TERMINAL_STATES and not self._has_been_connected(block_id):
            return JobStatus(
                JobState.MISSING,
                status.message or "the block ended before its workers connected to the interchange",
                exit_code=status.exit_code,
                stdout_path=status.stdout_path,
                stderr_path=status.stderr_path,
            )
        return status

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
