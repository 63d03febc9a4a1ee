"""What batch systems have in common: scripts, commands, and answers that are text."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider, launcher_or_default
from parsl.providers.batch_system import BatchSystem
from parsl.providers.commands import Answer, batched
from parsl.providers.errors import ScriptPathError, SubmitException
from parsl.providers.scripts import (
    CONTROL_CHARACTERS,
    block_body,
    exit_code_in,
    new_script_path,
    render,
    safe_job_name,
    write_script,
)
from parsl.providers.status_watch import JobWatch, SystemWatch

__all__ = ["ClusterProvider"]

logger = logging.getLogger(__name__)

LARGEST_ARRAY = 500
"""Blocks to submit at once; batch systems take a thousand unless told otherwise."""


class ClusterProvider(BatchSystem, ExecutionProvider):
    """Base of providers for batch systems: a subclass gives a template, command lines and parsers of their output.

    Those are `template` with `template_values`, `submit_command`, `parse_job_id`, `status_command`, `parse_status`,
    `cancel_command`, and where finished jobs have to be asked for elsewhere `history_command` and `parse_history`. A
    subclass may as well replace `submit`, `status` and `cancel` as a whole.

    The status of a job is what the batch system said last, and never a guess: when a command fails, takes too long or
    says something new, the last state holds, the batch system is left alone for a while that doubles each time, and
    after the third time in a row its own words are in the message. A job that is gone without trace is believed to
    have ended when that was said for a minute, or its script left its exit code.

    Args:
        label: Short name of the provider.
        nodes_per_block: Nodes in a block.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        walltime: Time limit of each block, "HH:MM:SS".
        launcher: Starts the command within the block; None for a SingleNodeLauncher.
        cmd_timeout: Seconds that a command of the batch system may take.

    Raises:
        BadLauncher: The launcher can't be called.
        ConfigurationError: A number is too small, or the walltime is none.
    """

    status_polling_interval: int = 60
    status_batch_size: int = 100
    """Jobs to name in one command."""

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(
        self,
        label: str,
        nodes_per_block: int,
        init_blocks: int,
        min_blocks: int,
        max_blocks: int,
        parallelism: float,
        walltime: str,
        launcher: Any,
        cmd_timeout: int = 10,
    ) -> None:
        self._set_block_numbers(
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", walltime, re.ASCII):
            raise ConfigurationError(f"{type(self).__name__}: walltime takes the form HH:MM:SS, but got {walltime!r}")
        if not cmd_timeout > 0:
            raise ConfigurationError(f"{type(self).__name__}: cmd_timeout has to be more than 0, but is {cmd_timeout}")
        self._label = label
        self.walltime = walltime
        self.launcher = launcher_or_default(launcher)
        self.cmd_timeout = cmd_timeout
        self.worker_init = ""
        self.scheduler_options = ""
        self.resources: dict[str, dict[str, Any]] = {}
        self._system = SystemWatch(label)
        self._jobs: dict[str, JobWatch] = {}
        self._arrays_refused = False

    @property
    def label(self) -> str:
        """Short name of the provider."""
        return self._label

    # -- the three verbs -----------------------------------------------------------------------------------------

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Submit one block as one job.

        Args:
            command: Bash text: what the launcher is to start.
            tasks_per_node: How many copies of it on each node.
            job_name: Begin of the names of job and script.

        Returns:
            The batch system's id of the job.

        Raises:
            SubmitException: The batch system did not take it, with what it said; or `script_dir` is not set.
            ScriptPathError: The script could not be written.
            ValueError: The launcher can't start this command or this number of copies.
        """
        path = self._new_path(job_name)
        launch = self.launcher(command, tasks_per_node, self.nodes_per_block)
        name = self._unique_name(job_name)
        with self._refusals(job_name):
            self._write_scripts(name, path, tasks_per_node, launch)
        job_id = self._hand_over(self.submit_command(path), job_name, name)
        self._enter(job_id, name, path)
        logger.info("Submitted job %s to %s: %s", job_id, self.label, path)
        return job_id

    @property
    def blocks_per_submission(self) -> int:
        """How many blocks `submit_many` may be given: more than 1 where the batch system takes job arrays."""
        own = getattr(self.submit, "__func__", None) is ClusterProvider.submit
        return LARGEST_ARRAY if own and self._takes_arrays and not self._arrays_refused else 1

    def submit_many(
        self, commands: Sequence[str], tasks_per_node: int, job_names: Sequence[str] | None = None
    ) -> list[str]:
        """Submit several blocks, with one command where the batch system has job arrays.

        Args:
            commands: Bash text of each block: what the launcher is to start.
            tasks_per_node: How many copies of it on each node.
            job_names: Begin of the names of scripts, one for each; the first is the name of an array.

        Returns:
            The id of each block's job, in the same order. They are jobs like others.

        Raises:
            SubmitException: The batch system did not take them, with what it said; those that it took are cancelled.
            ScriptPathError: A script could not be written.
            ValueError: The launcher can't start these commands.
        """
        names = list(job_names or ["parsl.auto"] * len(commands))
        if self.blocks_per_submission > 1 and len(commands) > 1:
            try:
                return self._submit_array(commands, tasks_per_node, names)
            except SubmitException as error:
                if "array" not in f"{error.stderr}{error.stdout}".lower():
                    raise
                logger.warning("Job arrays are refused, so blocks are submitted one by one from now on: %s", error)
                self._arrays_refused = True
        job_ids: list[str] = []
        try:
            for command, name in zip(commands, names, strict=True):
                job_ids.append(self.submit(command, tasks_per_node, name))
        except BaseException:
            self.cancel(job_ids)
            raise
        return job_ids

    def _submit_array(self, commands: Sequence[str], tasks_per_node: int, names: Sequence[str]) -> list[str]:
        path, name = self._new_path(names[0]), self._unique_name(names[0])
        with self._refusals(names[0]):
            self._write_array(name, path, tasks_per_node)
        for number, command in enumerate(commands, self.array_first):
            launch = self.launcher(command, tasks_per_node, self.nodes_per_block)
            write_script(f"{path}.{number}", f"#!/bin/bash\n{self._body(f'{path}.{number}', launch)}")
        array_id = self._hand_over(self.array_command(path, name, len(commands)), names[0], name)
        job_ids = []
        for number in range(self.array_first, self.array_first + len(commands)):
            job_id = self.array_job_id(array_id, number)
            if job_id is None:
                answer = self._call(self.cancel_command([array_id]))
                raise SubmitException(
                    names[0], f"{array_id} is not the id of an array; {answer.words}", stderr="no array"
                )
            self._enter(job_id, name, f"{path}.{number}")
            job_ids.append(job_id)
        logger.info("Submitted %d jobs to %s as array %s: %s", len(job_ids), self.label, array_id, path)
        return job_ids

    def status(self, job_ids: list[str]) -> list[JobStatus]:
        """Tell the status of jobs; the batch system is asked unless it has just failed.

        Args:
            job_ids: Ids from `submit`; for others the status is UNKNOWN.

        Returns:
            One status for each. Where a job has ended it has the exit code, if it is known.
        """
        live = [i for i in dict.fromkeys(job_ids) if i in self.resources and not self._watch(i).status.terminal]
        if live and self._system.is_due(self.clock()):
            self._look(live)
        return [self._status_of(job_id) for job_id in job_ids]

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """End jobs, pending or running, with one command for many.

        Args:
            job_ids: Ids from `submit`.

        Returns:
            For each, whether it has ended or the batch system has taken the request to end it.
        """
        live = [i for i in dict.fromkeys(job_ids) if i in self.resources and not self._watch(i).status.terminal]
        failed = {i for batch in batched(live, self.status_batch_size) for i in self._cancel(list(batch))}
        return [i in self.resources and i not in failed for i in job_ids]

    # -- how they do it ------------------------------------------------------------------------------------------

    @property
    def _takes_arrays(self) -> bool:
        """Whether blocks can be jobs of an array."""
        return self.array_index is not None

    def _new_path(self, job_name: str) -> str:
        if self.script_dir is None:
            message = "script_dir of the provider is not set; an executor sets it, or set it to a folder for scripts"
            raise SubmitException(job_name, message)
        path = new_script_path(self.script_dir, job_name)
        if CONTROL_CHARACTERS.search(path):
            raise ScriptPathError(path, "batch systems take no line breaks and the like in names of folders")
        return path

    @contextlib.contextmanager
    def _refusals(self, job_name: str) -> Iterator[None]:
        """Say of which job a value is that cannot be written to its script."""
        try:
            yield
        except ValueError as error:
            raise SubmitException(job_name, error) from error

    def _hand_over(self, command: str, job_name: str, name: str) -> str:
        """Submit what has been written; return the job's id."""
        answer = self._call(command)
        job_id = self.parse_job_id(answer.out) if answer.code == 0 else None
        if job_id is None:
            raise self._submit_error(job_name, name, answer)
        return job_id

    def _unique_name(self, job_name: str) -> str:
        name, stamp = safe_job_name(job_name), f"{time.time_ns():x}"
        fits = len(name) + 1 + len(stamp) <= self.longest_name
        return f"{name}.{stamp}" if fits else f"p{stamp[1 - self.longest_name :]}"

    def _write_scripts(self, name: str, path: str, tasks_per_node: int, launch: str) -> None:
        """Write all files of a block."""
        options = render(self.template, self.template_values(name, path, tasks_per_node))
        write_script(path, f"#!/bin/bash\n{options}{self.scheduler_options}\n{self._body(path, launch)}")

    @property
    def block_seconds(self) -> int | None:
        """Seconds after which the batch system ends a block; None where `walltime` has a form that not all read alike.

        Those are all but "HH:MM:SS": "30" is half an hour to one batch system and half a minute to another.
        """
        if not re.fullmatch(r"\d+:\d+:\d+", self.walltime, re.ASCII):
            return None
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return hours * 3600 + minutes * 60 + seconds

    def _write_array(self, name: str, path: str, tasks_per_node: int) -> None:
        """Write what an array has beside the scripts of its jobs."""
        options = render(self.template, self.template_values(name, path, tasks_per_node))
        write_script(path, self.array_script(f"{options}{self.scheduler_options}", path))

    def _body(self, path: str, launch: str) -> str:
        known = {"PARSL_CORES": self.cores_per_node, "PARSL_MEMORY_GB": self.mem_per_node}
        exports = "".join(f"export {name}={value}\n" for name, value in known.items() if value)
        if self.block_seconds is not None:
            # By the clock of the node, on which the managers look at it.
            exports += f"export PARSL_BLOCK_ENDS=$(( $(date +%s) + {self.block_seconds} ))\n"
        return block_body(f"{exports}{self.worker_init}", launch, path)

    def _enter(self, job_id: str, name: str, path: str) -> None:
        status = JobStatus(JobState.PENDING, stdout_path=f"{path}.stdout", stderr_path=f"{path}.stderr")
        self._jobs[job_id] = JobWatch(status, self.clock())
        self.resources[job_id] = {
            "job_id": job_id,
            "job_name": name,
            "script_path": path,
            "exit_code_path": f"{path}.exitcode",
            "job_stdout_path": status.stdout_path,
            "job_stderr_path": status.stderr_path,
            "status": status,
        }

    def _submit_error(self, job_name: str, name: str, answer: Answer) -> SubmitException:
        """Make the exception for a job that was not submitted, or may have been: then it is cancelled by its name."""
        message = f"this command failed: {answer.command}"
        if answer.code == 0:
            message = f"there is no job id in what this command printed: {answer.command}"
        elif answer.code is None or answer.is_missing:
            message += f": {answer.words}"
        cancel = self.cancel_name_command(name)
        if answer.code in {0, None} and cancel is not None:
            cancelled = self._call(cancel)
            if cancelled.code != 0:
                message += f"; if there is a job {name} all the same, cancel it: {cancelled.words}"
        return SubmitException(job_name, message, answer.out, answer.err, answer.code)

    def _watch(self, job_id: str) -> JobWatch:
        """Return what is known of a job, of one too that somebody else put into `resources`."""
        watch = self._jobs.get(job_id)
        if watch is None:
            status = self.resources[job_id].get("status") or JobStatus(JobState.UNKNOWN)
            watch = self._jobs[job_id] = JobWatch(status, self.clock())
        return watch

    def _status_of(self, job_id: str) -> JobStatus:
        if job_id not in self.resources:
            return JobStatus(JobState.UNKNOWN, message=f"{type(self).__name__} submitted no job {job_id!r}")
        status = self.resources[job_id]["status"] = self._watch(job_id).status
        return status

    def _look(self, job_ids: list[str]) -> None:
        """Ask for the status of jobs; once there is no answer in time, no more is asked for now."""
        trouble = None
        found: dict[str, JobStatus] = {}
        for batch in batched(job_ids, self.status_batch_size):
            news, words = self._query(list(batch))
            found.update(news)
            trouble = words or trouble
            if words is not None and "no answer within" in words:
                break
        if trouble is None:
            self._system.on_success()
        else:
            self._system.on_failure(trouble, self.clock())
        for job_id in job_ids:
            self._take_in(job_id, found.get(job_id), in_trouble=trouble is not None)

    def _take_in(self, job_id: str, heard: JobStatus | None, *, in_trouble: bool) -> None:
        watch, now = self._watch(job_id), self.clock()
        complete = heard is not None and (not heard.terminal or heard.exit_code is not None)
        left = None if complete else exit_code_in(self.resources[job_id].get("exit_code_path"))
        if heard is not None:
            watch.on_heard(heard, left, self.label, now)
        elif not in_trouble:
            watch.on_silence(left, self.label, now)
        elif not watch.on_trace(left):
            watch.on_failure(self._system.complaint)

    def _cancel(self, job_ids: list[str]) -> list[str]:
        """End jobs; return those that could not be."""
        answer = self._call(self.cancel_command(job_ids))
        if not self._is_answer(answer):
            if len(job_ids) > 1 and answer.code is not None:
                return [i for job_id in job_ids for i in self._cancel([job_id])]
            logger.warning("Cancelling %s failed: %s", ", ".join(job_ids), answer.words)
            return job_ids
        for job_id in job_ids:
            self._watch(job_id).cancelled = True
        return []
