"""Blocks as process groups on this machine."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers.frame import script_dir_line
from parsl.providers.base import ExecutionProvider, launcher_or_default
from parsl.providers.errors import SubmitException
from parsl.providers.local.block import Block, end_blocks
from parsl.providers.scripts import new_script_path, write_script
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from collections.abc import Callable

    # Not known at run time, so check_types passes anything and BadLauncher can be raised instead.
    AnyLauncher = Callable[[str, int, int], str]

__all__ = ["LocalProvider"]

logger = logging.getLogger(__name__)


class LocalProvider(ExecutionProvider, RepresentationMixin):
    """Runs blocks on this machine, each a bash script in a session and process group of its own.

    A block owns its group: when it is cancelled, or when its script ends, what is left of the group is told to go too.
    Blocks outlive a parent that is killed, so a command that shall not has to watch for that itself.

    Args:
        nodes_per_block: How many nodes a launcher is told that there are; this machine is one.
        launcher: Starts the command within the block; None for a SingleNodeLauncher.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        worker_init: Bash text to run in a block before the command, such as `source env/bin/activate`.
        cmd_timeout: Kept for the sake of older configurations; no command is run here that could take long.
        parallelism: Workers to ask for per waiting task, 0 to 1.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A number is too small.

    Attributes:
        kill_grace: Seconds that a block has to leave after SIGTERM, before `cancel` sends SIGKILL.
    """

    label = "local"
    status_polling_interval = 5
    kill_grace: float = 2.0

    @check_types
    def __init__(
        self,
        nodes_per_block: int = 1,
        launcher: AnyLauncher | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        worker_init: str = "",
        cmd_timeout: int = 30,
        parallelism: float = 1,
    ) -> None:
        self._set_block_numbers(
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        self.launcher = launcher_or_default(launcher)
        self.worker_init = worker_init
        self.cmd_timeout = cmd_timeout
        self.resources: dict[str, dict[str, Any]] = {}
        # Whoever takes a block out of here is the one to end it and to say how it ended; the others find it gone. So
        # `status` and `cancel` may run at the same time on two threads.
        self._running: dict[str, Block] = {}

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Start a block. It runs as soon as this returns.

        Args:
            command: Bash text: what the launcher is to start.
            tasks_per_node: How many copies of it.
            job_name: Begin of the name of the block's script, `<script_dir>/<job_name>.<unique>.sh`; what it prints is
                beside it in files of that name and `.stdout` or `.stderr`.

        Returns:
            The block's process id, with more behind it if an earlier block of this provider had the same.

        Raises:
            SubmitException: `script_dir` is not set, or bash could not be started.
            ScriptPathError: The script could not be written.
            ValueError: The launcher can't start this command or this number of copies.
        """
        if os.name != "posix":
            raise SubmitException(job_name, "LocalProvider needs bash and process groups, which Windows does not have")
        if self.script_dir is None:
            message = "script_dir of the provider is not set; an executor sets it, or set it to a folder for scripts"
            raise SubmitException(job_name, message)
        script_dir = os.path.abspath(self.script_dir)
        launch = self.launcher(command, tasks_per_node, self.nodes_per_block)
        # SCRIPT_DIR is set last, as worker_init may use that name for its own ends; the empty line is for one that
        # ends in a backslash.
        text = f"#!/bin/bash\n{self.worker_init}\n\n{script_dir_line(script_dir)}{launch}\n"
        script_path = new_script_path(script_dir, job_name)
        write_script(script_path, text)
        block = Block(job_name, script_path)
        job_id = pid = str(block.process.pid)
        if pid in self.resources:  # the system has begun to give out the same numbers again
            job_id = f"{pid}.{len(self.resources)}"
        self.resources[job_id] = {
            "job_id": job_id,
            "job_name": job_name,
            "script_path": script_path,
            "job_stdout_path": block.stdout_path,
            "job_stderr_path": block.stderr_path,
            "status": block.status(JobState.RUNNING),
        }
        self._running[job_id] = block
        logger.debug("Started block %s as process %s: %s", job_name, job_id, script_path)
        return job_id

    def status(self, job_ids: list[str]) -> list[JobStatus]:
        """Tell the status of blocks: RUNNING, then COMPLETED, FAILED or CANCELLED.

        Args:
            job_ids: Ids from `submit`; for others the status is UNKNOWN.

        Returns:
            One status for each.
        """
        return [self._status_of(job_id) for job_id in job_ids]

    def _status_of(self, job_id: str) -> JobStatus:
        known = self.resources.get(job_id)
        if known is None:
            return JobStatus(JobState.UNKNOWN, message=f"LocalProvider started no block {job_id!r}")
        block = self._running.get(job_id)
        if block is not None and block.has_ended() and self._running.pop(job_id, None) is not None:
            block.release()
            known["status"] = block.final_status()
        status: JobStatus = known["status"]
        return status

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """End blocks with all their processes, and wait until they are gone.

        They get SIGTERM and, if they are not gone within `kill_grace` seconds, SIGKILL. Together they take no longer
        than one.

        Args:
            job_ids: Ids from `submit`.

        Returns:
            For each, True if it has ended, now or before; False for an unknown id, or if the kernel won't end it.
        """
        self.status(job_ids)  # a block that came to its own end was not cancelled
        taken = {job_id: block for job_id in job_ids if (block := self._running.pop(job_id, None)) is not None}
        try:
            end_blocks(taken.values(), self.kill_grace)
        finally:  # if the wait is interrupted, what still runs can be cancelled again
            for job_id, block in taken.items():
                if block.has_ended():
                    block.release()
                    self.resources[job_id]["status"] = block.status(JobState.CANCELLED, exit_code=block.exit_code)
                else:
                    self._running[job_id] = block
        return [job_id in self.resources and job_id not in self._running for job_id in job_ids]
