"""What batch systems have in common: scripts, commands, and answers that are text."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers.errors import BadLauncher
from parsl.providers.base import ExecutionProvider, check_block_numbers
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
from parsl.utils import execute_wait

__all__ = ["ClusterProvider"]

logger = logging.getLogger(__name__)


class ClusterProvider(ExecutionProvider):
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
        launcher: Starts the command within the block.
        cmd_timeout: Seconds that a command of the batch system may take.

    Raises:
        BadLauncher: The launcher can't be called.
        ConfigurationError: A number is too small, or the walltime is none.
    """

    template: ClassVar[str] = ""
    """Lines with the options of a job, see `parsl.providers.scripts.render`."""

    unknown_job: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    """What commands say, a line a job, of jobs that are not there or have ended: an answer and no failure."""

    unknown_job_codes: ClassVar[frozenset[int]] = frozenset()
    """Exit codes that say the same, of commands that say nothing."""

    status_polling_interval: int = 60
    status_batch_size: int = 100
    """Jobs to name in one command."""

    longest_name: ClassVar[int] = 220
    """Characters that a job's name may have."""

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
        if not callable(launcher):
            raise BadLauncher(launcher)
        check_block_numbers(
            type(self).__name__,
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
        self.nodes_per_block = nodes_per_block
        self.init_blocks = init_blocks
        self.min_blocks = min_blocks
        self.max_blocks = max_blocks
        self.parallelism = parallelism
        self.walltime = walltime
        self.launcher = launcher
        self.cmd_timeout = cmd_timeout
        self.worker_init = ""
        self.scheduler_options = ""
        self.resources: dict[str, dict[str, Any]] = {}
        self._system = SystemWatch(label)
        self._jobs: dict[str, JobWatch] = {}

    @property
    def label(self) -> str:
        """Short name of the provider."""
        return self._label

    # -- what a batch system says of itself ----------------------------------------------------------------------

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template.

        Args:
            job_name: Name for the job, safe and unique.
            path: Path of the script; `<path>.stdout` and `<path>.stderr` are for what it prints.
            tasks_per_node: Copies of the command on each node.
        """
        raise NotImplementedError

    def submit_command(self, script: str) -> str:
        """Return the command line that submits a script."""
        raise NotImplementedError

    def parse_job_id(self, text: str) -> str | None:
        """Find the job id in what the submit command printed, with banners round it or not; None if it is not there."""
        raise NotImplementedError

    def status_command(self, job_ids: list[str]) -> str:
        """Return the command line that asks for the status of jobs."""
        raise NotImplementedError

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read what the status command printed.

        Returns:
            The status of each job that is named; UNKNOWN with the batch system's word in the message where that word
            is new.

        Raises:
            ValueError: The text is no such answer.
        """
        raise NotImplementedError

    def history_command(self, job_ids: list[str]) -> str | None:
        """Return the command line that tells how jobs ended, None if the status command tells already."""
        return None

    def parse_history(self, text: str) -> dict[str, JobStatus]:
        """Read what the history command printed, as `parse_status` does."""
        return self.parse_status(text)

    def cancel_command(self, job_ids: list[str]) -> str:
        """Return the command line that ends jobs."""
        raise NotImplementedError

    def cancel_name_command(self, job_name: str) -> str | None:
        """Return the command line that ends jobs of a name, None if there is no such; for jobs without known id."""
        return None

    # -- the three verbs -----------------------------------------------------------------------------------------

    def execute_wait(self, cmd: str, timeout: float | None = None) -> tuple[int, str, str]:
        """Run a command of the batch system. All commands go through here.

        Args:
            cmd: Command line for a shell.
            timeout: Seconds that it may take, None for `cmd_timeout`.

        Returns:
            Exit code, standard output and standard error.

        Raises:
            subprocess.TimeoutExpired: It took longer and was killed.
        """
        return execute_wait(cmd, self.cmd_timeout if timeout is None else timeout)

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
        if self.script_dir is None:
            message = "script_dir of the provider is not set; an executor sets it, or set it to a folder for scripts"
            raise SubmitException(job_name, message)
        path = new_script_path(self.script_dir, job_name)
        if CONTROL_CHARACTERS.search(path):
            raise ScriptPathError(path, "batch systems take no line breaks and the like in names of folders")
        launch = self.launcher(command, tasks_per_node, self.nodes_per_block)
        name = self._unique_name(job_name)
        try:
            self._write_scripts(name, path, tasks_per_node, launch)
        except ValueError as error:
            raise SubmitException(job_name, error) from error
        answer = self._call(self.submit_command(path))
        job_id = self.parse_job_id(answer.out) if answer.code == 0 else None
        if job_id is None:
            raise self._submit_error(job_name, name, answer)
        self._enter(job_id, name, path)
        logger.info("Submitted job %s to %s: %s", job_id, self.label, path)
        return job_id

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

    def _unique_name(self, job_name: str) -> str:
        name, stamp = safe_job_name(job_name), f"{time.time_ns():x}"
        fits = len(name) + 1 + len(stamp) <= self.longest_name
        return f"{name}.{stamp}" if fits else f"p{stamp[1 - self.longest_name :]}"

    def _write_scripts(self, name: str, path: str, tasks_per_node: int, launch: str) -> None:
        """Write all files of a block."""
        options = render(self.template, self.template_values(name, path, tasks_per_node))
        write_script(path, f"#!/bin/bash\n{options}{self.scheduler_options}\n{self._body(path, launch)}")

    def _body(self, path: str, launch: str) -> str:
        known = {"PARSL_CORES": self.cores_per_node, "PARSL_MEMORY_GB": self.mem_per_node}
        exports = "".join(f"export {name}={value}\n" for name, value in known.items() if value)
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

    def _call(self, command: str) -> Answer:
        """Run a command; what goes wrong with that is an answer too."""
        import subprocess

        try:
            answer = Answer(command, *self.execute_wait(command))
        except subprocess.TimeoutExpired:
            answer = Answer(command, None, err=f"no answer within {self.cmd_timeout} s")
        except OSError as error:
            answer = Answer(command, None, err=f"cannot be run: {error}")
        logger.debug("%s", answer)
        return answer

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

    def _query(self, job_ids: list[str]) -> tuple[dict[str, JobStatus], str | None]:
        """Ask for the status of some jobs.

        Returns:
            The status of those that an answer was got for, and what went wrong, if something did: then nothing can be
            said of the others.
        """
        found, trouble = self._ask(self.status_command(job_ids), self.parse_status)
        ended = [i for i in job_ids if i not in found or (found[i].terminal and found[i].exit_code is None)]
        if trouble is None and ended:
            history, trouble = self._ask_history(ended)
            found.update({i: s for i, s in history.items() if i not in found or s.terminal})
        return found, trouble

    def _ask_history(self, job_ids: list[str]) -> tuple[dict[str, JobStatus], str | None]:
        command = self.history_command(job_ids)
        return ({}, None) if command is None else self._ask(command, self.parse_history)

    def _ask(
        self, command: str, parse: Callable[[str], dict[str, JobStatus]]
    ) -> tuple[dict[str, JobStatus], str | None]:
        answer = self._call(command)
        if answer.code is None:
            return {}, answer.words
        try:
            found = parse(answer.out)
        except ValueError as error:
            return {}, answer.words if answer.code else f"{answer.words}; that is new to us: {error}"
        return found, None if self._is_answer(answer) else answer.words

    def _is_answer(self, answer: Answer) -> bool:
        """Tell whether a command did its work, that is failed for no other reason than jobs that are not there."""
        if answer.code in {0, None}:
            return answer.code == 0
        complaints = [line for line in (answer.err.strip() or answer.out).splitlines() if line.strip()]
        return all(map(self.unknown_job.search, complaints)) if complaints else answer.code in self.unknown_job_codes

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
