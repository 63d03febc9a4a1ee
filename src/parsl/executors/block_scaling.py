"""How an executor asks for blocks, empties them, and gives them back."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.base import ParslExecutor
from parsl.executors.blocks import Block, Census
from parsl.executors.errors import ScalingFailed
from parsl.jobs.backoff import Backoff
from parsl.jobs.states import JobState, JobStatus

if TYPE_CHECKING:
    from parsl.dataflow.explanations import Cause
    from parsl.executors.base import Call
    from parsl.providers.base import ExecutionProvider

logger = logging.getLogger(__name__)

# For how long `scale_in` waits for blocks to be empty; those with tasks are given back later, when these have ended.
EMPTY_SECONDS = 2.0

# For how long a provider may keep a shutdown waiting.
SHUTDOWN_SECONDS = 10.0

# When the provider does not cancel at shutdown: pauses before it is asked again.
_RETRIES = (0.25, 1.0)


class BlockScaling(ParslExecutor):
    """An executor's blocks: asked for, emptied, given back. The other half is `BlockProviderExecutor`.

    Args:
        provider: where blocks come from; None when they are started by somebody else.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, provider: ExecutionProvider | None) -> None:
        super().__init__()
        self._provider = provider
        self._blocks: dict[str, Block] = {}
        self._next_block = 0
        # Blocks are changed by whoever scales: their keeper, a user's thread, shutdown. Never on a task's way, and
        # never held while the provider is asked.
        self._blocks_lock = threading.RLock()
        self._blocks_news = threading.Condition(self._blocks_lock)
        self._closing = False
        self.backoff = Backoff()
        # Set by the keeper of the blocks. The first is called when there is more to do than the workers can take at
        # once; the second when something is to be done about blocks, with: whether the provider is to be asked.
        self.demand_changed: Callable[[], object] | None = None
        self.blocks_changed: Callable[[bool], object] | None = None

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def outstanding(self) -> int:
        """Return how many tasks have been submitted and have not ended."""

    @abstractmethod
    def _get_launch_command(self, block_id: str) -> str:
        """Return the command that runs in a block."""

    def _has_been_connected(self, block_id: str) -> bool:
        """Tell whether anything of a block was ever heard of; always, where that cannot be known."""
        del block_id
        return True

    def _idle_seconds(self) -> Mapping[str, float] | None:
        """Return for each connected block how long it has had no task, 0 while it has some; None when not known."""
        return None

    def _leaving_blocks(self) -> Container[str]:
        """Return the blocks that take no further task of their own accord."""
        return ()

    def _start_drain(self, block_id: str) -> None:
        """Have a block get no further task, and `_on_emptied` called when it has none and gets none."""
        self._on_emptied(block_id)

    def _is_overdue(self, block_id: str, since: float) -> bool:
        """Tell whether a block that has been drained since some time is to be given back without waiting longer."""
        del block_id, since
        return False

    # -- what there is -------------------------------------------------------------------------------------------

    def block_census(self) -> Census:
        """Return how many blocks serve, and how many are on their way out."""
        leaving = self._leaving_blocks()
        serve = leave = 0
        for block_id, block in list(self._blocks.items()):
            if block.status.terminal:
                continue
            if block.draining is not None or block_id in leaving:
                leave += 1
            else:
                serve += 1
        return Census(serve, leave)

    def why_waiting(self, call: Call, answer: Callable[[Cause], object]) -> None:
        """Tell what is known of blocks; an executor that knows more of the call overrides this."""
        del call
        from parsl.dataflow.explanations import Cause, Reason, plural

        text = f"is with executor {self.label}, which has {plural(self.outstanding(), 'task')}"
        answer(Cause(Reason.UNKNOWN, text, self.block_account()))

    def block_account(self) -> list[str]:
        """Describe the blocks in sentences: what there is, and what went wrong last; from any thread."""
        from parsl.executors.block_account import account

        provider = self._provider
        if provider is None:
            return ["It has no provider: its blocks are started by somebody else."]
        blocks = list(self._blocks.items())
        heard = {name for name, _ in blocks if self._has_been_connected(name)}
        leaving = self._leaving_blocks()
        label = type(provider).__name__
        return account(label, provider.max_blocks, blocks, heard, leaving, self.backoff, self.clock())

    def _live_blocks(self) -> list[str]:
        with self._blocks_lock:
            return [b for b, block in self._blocks.items() if block.live]

    def _begin_blocks(self) -> None:
        """Forget the blocks of an earlier run with this object, and take new ones."""
        with self._blocks_lock:
            self._blocks.clear()
            self._closing = False
            self.backoff = Backoff()

    # -- asking for blocks ---------------------------------------------------------------------------------------

    def scale_out_facade(self, n: int) -> list[str]:
        """Ask the provider for `n` more blocks.

        Returns:
            The numbers of the blocks asked for; one whose submission failed is among them, with state MISSING, or
            FAILED where an executor does not hear of its blocks.

        Raises:
            ScalingFailed: when there is no provider, or the executor is shut down.
        """
        if self._provider is None:
            raise ScalingFailed(self, "there is no execution provider")
        with self._blocks_lock:
            if self._closing:
                raise ScalingFailed(self, "it is shut down")
            first, self._next_block = self._next_block, self._next_block + n
            now = self.clock()
            asked = {str(first + i): Block(None, JobStatus(JobState.PENDING), now) for i in range(n)}
            # Known from now on: what is on its way counts, and is cancelled when a shutdown comes in between.
            self._blocks.update(asked)
        block_ids = list(asked)
        at_once = getattr(self._provider, "blocks_per_submission", 1)
        for group in (block_ids[i : i + at_once] for i in range(0, n, at_once)):
            self._submit({block_id: asked[block_id] for block_id in group})
        return block_ids

    def _submit(self, blocks: dict[str, Block]) -> None:
        if self._closing:
            self._never_submitted(blocks)
            return
        job_ids: list[str] = []
        reason = "the provider returned no job id"
        try:
            logger.info("Scaling out blocks of executor %s: %s", self.label, ", ".join(blocks))
            job_ids = self._launch_blocks(list(blocks))
        except Exception as e:  # noqa: BLE001 - providers raise what they like; the blocks have failed with it
            reason = str(e) or repr(e)
        except BaseException:
            reason = "it was interrupted"
            raise
        finally:
            self._submitted(blocks, job_ids, reason)

    def _never_submitted(self, blocks: dict[str, Block]) -> None:
        """Note that the executor was shut down before the provider was asked for these blocks."""
        with self._blocks_news:
            for block in blocks.values():
                block.submitting = False
                block.status = JobStatus(JobState.CANCELLED, "the executor was shut down before it was submitted")
            self._blocks_news.notify_all()

    def _submitted(self, blocks: dict[str, Block], job_ids: Sequence[str], reason: str) -> None:
        """Note what became of a submission; jobs that nobody wants any more are cancelled."""
        unwanted = []
        with self._blocks_lock:
            for (block_id, block), job_id in itertools.zip_longest(blocks.items(), job_ids[: len(blocks)]):
                block.job_id, block.submitting = job_id or None, False
                if not job_id:
                    state = JobState.FAILED if self._has_been_connected(block_id) else JobState.MISSING
                    block.status = JobStatus(state, f"Failed to start block {block_id}: {reason}")
                elif self._closing or self._blocks.get(block_id) is not block:
                    unwanted.append(job_id)
                    block.status = JobStatus(JobState.SCALED_IN)
            failed = [b for b, block in blocks.items() if block.job_id is None]
            self._blocks_news.notify_all()
        if failed:
            pause = self.backoff.on_failure(self.clock(), blocks[failed[0]].since)
            logger.warning(
                "Blocks of executor %s could not be submitted (%s): %s. The next try is in %.0f s at the earliest",
                self.label,
                ", ".join(failed),
                reason,
                pause,
            )
        if unwanted:
            logger.info("Executor %s was shut down while jobs were submitted: they are cancelled", self.label)
            self._cancel_jobs(unwanted)

    def _launch_blocks(self, block_ids: Sequence[str]) -> list[str]:
        """Submit blocks, several of them together where the provider can do that."""
        provider: Any = self._provider
        if provider.script_dir is None:
            provider.script_dir = os.path.join(self.run_dir, "submit_scripts")
        os.makedirs(provider.script_dir, exist_ok=True)
        commands = [self._get_launch_command(block_id) for block_id in block_ids]
        names = [self._job_name(block_id) for block_id in block_ids]
        if len(block_ids) > 1:
            return list(provider.submit_many(commands, 1, names))
        return [provider.submit(commands[0], 1, names[0])]

    def _job_name(self, block_id: str) -> str:
        return f"parsl.{self.label}.block-{block_id}"

    # -- giving blocks back --------------------------------------------------------------------------------------

    def scale_in_facade(self, n: int, max_idletime: float | None = None) -> list[str]:
        """Give back up to `n` blocks, see `scale_in`."""
        return self.scale_in(n, max_idletime)

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """Give back blocks, without a task being lost: each is cancelled once it has none and gets none.

        Those that never connected come first, the newest before the others; then those that have been idle for
        longest; then, without `max_idletime`, those with tasks. What is empty is given back before this returns, the
        rest when its tasks have ended.

        Args:
            blocks: how many.
            max_idletime: seconds that a block must have been idle; None takes busy ones too.

        Returns:
            The numbers of the blocks given back, or to be given back when their tasks have ended.
        """
        chosen = self._choose(blocks, max_idletime)
        waits = max_idletime is None
        with self._blocks_lock:
            # Somebody else may have chosen the same ones meanwhile, or they have ended.
            chosen = [b for b in chosen if self._blocks[b].live and self._blocks[b].draining is None]
            mine = [self._blocks[b] for b in chosen]
            for block in mine:
                block.draining, block.awaited = self.clock(), waits
        for block_id in chosen:
            logger.info("Block %s of executor %s is being given back: it gets no further task", block_id, self.label)
            self._start_drain(block_id)
        with self._blocks_news:
            if waits:
                self._blocks_news.wait_for(lambda: all(block.emptied for block in mine), EMPTY_SECONDS)
            for block in mine:
                block.awaited = False
        self.give_back_emptied()
        with self._blocks_lock:
            return [b for b, block in zip(chosen, mine, strict=True) if block.status.terminal or not block.emptied]

    def _choose(self, number: int, max_idletime: float | None) -> list[str]:
        idle = self._idle_seconds()
        with self._blocks_lock:
            live = [b for b, block in self._blocks.items() if block.live and block.draining is None]
        if idle is None:
            # Which blocks are idle is not known, so none is while there are tasks.
            sparing = max_idletime is not None and self.outstanding() > 0
            return [] if sparing else live[len(live) - min(number, len(live)) :]
        connected = sorted((b for b in live if b in idle), key=lambda b: -idle[b])
        if max_idletime is not None:
            leaving = self._leaving_blocks()
            connected = [b for b in connected if idle[b] > max_idletime and b not in leaving]
        return [*(b for b in reversed(live) if b not in idle), *connected][:number]

    def _on_emptied(self, block_id: str) -> None:
        """Note that nothing is lost with a block any more; on any thread."""
        with self._blocks_news:
            block = self._blocks.get(block_id)
            if block is None or block.draining is None or block.emptied:
                return
            block.emptied = True
            self._blocks_news.notify_all()
            done = block.awaited or not block.live or self._closing
        if done:
            return
        if self.blocks_changed is not None:
            self.blocks_changed(False)
        else:
            # An executor that is used without a kernel has nobody who looks after its blocks.
            threading.Thread(target=self._give_back_alone, name="parsl-blocks", daemon=True).start()

    def _give_back_alone(self) -> None:
        try:
            self.give_back_emptied()
        except Exception:
            logger.exception("Giving back blocks of executor %s failed", self.label)

    def give_back_emptied(self) -> list[str]:
        """Have the provider cancel the blocks that were to be given back and are empty; return those cancelled."""
        with self._blocks_lock:
            leaving = {b: block for b, block in self._blocks.items() if block.live and block.draining is not None}
        ready = [b for b, block in leaving.items() if block.emptied or self._is_overdue(b, block.draining or 0.0)]
        return self.cancel_blocks(ready) if ready else []

    def cancel_blocks(self, block_ids: Sequence[str]) -> list[str]:
        """Have the provider cancel those of the blocks that are live, with whatever runs there.

        Returns:
            Those that are cancelled.
        """
        before: dict[str, JobStatus] = {}
        with self._blocks_lock:
            for block_id in block_ids:
                block = self._blocks[block_id]
                if block.live:
                    # Before the job ends, so that a poll meanwhile does not take its end for a failure.
                    before[block_id], block.status = block.status, JobStatus(JobState.SCALED_IN)
            job_ids = [self._blocks[b].job_id or "" for b in before]
        cancelled: list[str] = []
        if self._provider is None or not before:
            return cancelled
        try:
            answers = self._provider.cancel(job_ids)
            cancelled += [b for b, good in zip(before, answers, strict=False) if good]
        finally:
            with self._blocks_lock:
                for block_id in set(before).difference(cancelled):
                    self._blocks[block_id].status = before[block_id]
        return cancelled

    # -- the end -------------------------------------------------------------------------------------------------

    def cancel_all_blocks(self, seconds: float | None = None) -> None:
        """Give back everything and take nothing any more, whatever runs there; for shutdown.

        What is being submitted is cancelled as soon as the provider has answered. What cannot be cancelled is named
        in the log.

        Args:
            seconds: how long to wait for the provider at most; None for ten.
        """
        seconds = SHUTDOWN_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + seconds
        with self._blocks_lock:
            self._closing = True
            self._blocks_news.notify_all()
            before = {b: block.status.state for b, block in self._blocks.items()}
            jobs = [block.job_id or "" for block in self._blocks.values() if block.live]
        if jobs:
            # On a thread of its own, since a provider may hang; it is asked for nothing else by then, or hangs there.
            thread = threading.Thread(target=self._cancel_at_last, args=(deadline,), name="parsl-cancel", daemon=True)
            thread.start()
            thread.join(seconds)
            if thread.is_alive():
                logger.warning(
                    "The provider of executor %s did not cancel within %g s; look yourself for jobs %s",
                    self.label,
                    seconds,
                    ", ".join(jobs),
                )
        with self._blocks_news:
            self._blocks_news.wait_for(
                lambda: not any(block.submitting for block in self._blocks.values()), deadline - time.monotonic()
            )
            late = [self._job_name(b) for b, block in self._blocks.items() if block.submitting]
            ended = {b: block.status for b, block in self._blocks.items() if block.status.state != before.get(b)}
        if late:
            logger.warning(
                "The provider of executor %s still submits; it is not waited for. Look yourself for jobs named %s",
                self.label,
                ", ".join(late),
            )
        self.send_monitoring_info(ended)

    def _cancel_at_last(self, deadline: float) -> None:
        pauses = iter(_RETRIES)
        while left := self._live_blocks():
            try:
                self.cancel_blocks(left)
            except Exception:
                logger.exception("Cancelling the blocks of executor %s failed", self.label)
            pause = next(pauses, None)
            if not self._live_blocks() or pause is None or time.monotonic() + pause > deadline:
                break
            threading.Event().wait(pause)
        jobs = ", ".join(self._blocks[b].job_id or "" for b in self._live_blocks())
        if jobs:
            logger.error("Jobs of executor %s could not be cancelled: %s. Cancel them yourself", self.label, jobs)

    def _cancel_jobs(self, job_ids: list[str]) -> None:
        assert self._provider is not None
        try:
            answers = self._provider.cancel(job_ids)
        except Exception:
            logger.exception("Jobs of executor %s could not be cancelled: %s", self.label, ", ".join(job_ids))
            return
        refused = [j for j, good in zip(job_ids, answers, strict=False) if not good]
        if refused:
            logger.error("Jobs of executor %s could not be cancelled: %s", self.label, ", ".join(refused))

    @abstractmethod
    def send_monitoring_info(self, status: Mapping[str, JobStatus]) -> None:
        """Send the states of blocks to monitoring, if there is any."""
