"""What a batch system is to a provider: options, command lines, and parsers of what commands print."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping
from typing import ClassVar

from parsl.jobs.states import JobStatus
from parsl.providers.commands import Answer
from parsl.utils import execute_wait

__all__ = ["BatchSystem"]

logger = logging.getLogger(__name__)


class BatchSystem:
    """A batch system's own words, as a table of hooks, and one way to ask it.

    All hooks are pure, so they can be tested with recorded outputs. The status of jobs comes from `status_command`; for
    those that it does not list, or whose exit code it does not tell, from `history_command`.

    Attributes:
        cmd_timeout: Seconds that a command may take.
    """

    cmd_timeout: int

    template: ClassVar[str] = ""
    """Lines with the options of a job, see `parsl.providers.scripts.render`."""

    unknown_job: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    """What commands say, a line a job, of jobs that are not there or have ended: an answer and no failure."""

    unknown_job_codes: ClassVar[frozenset[int]] = frozenset()
    """Exit codes that say the same, of commands that say nothing."""

    array_index: ClassVar[str | None] = None
    """Environment variable with a job's number within its array; None where arrays are not used."""

    array_first: ClassVar[int] = 0
    """Number of the first job of an array."""

    longest_name: ClassVar[int] = 220
    """Characters that a job's name may have."""

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

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Return the command line that submits a script as an array of `count` jobs, numbered from `array_first`.

        Job n is to print to `<script>.<n>.stdout` and `<script>.<n>.stderr`.

        Args:
            script: Path of the script.
            job_name: Name of the array.
            count: How many jobs.
        """
        raise NotImplementedError

    def array_script(self, options: str, script: str) -> str:
        """Return what is in the script of an array: it runs the file `<script>.<n>` that belongs to job n.

        Args:
            options: The filled template and the user's options.
            script: Path of the script.
        """
        return f'#!/bin/bash\n{options}\n\nexec bash {shlex.quote(script)}."${{{self.array_index}:?}}"\n'

    def array_job_id(self, array_id: str, number: int) -> str | None:
        """Return the id of a job of an array.

        Args:
            array_id: What `parse_job_id` found.
            number: Its number in the array.

        Returns:
            The id; None if `array_id` is no array's, so that the batch system took it for a single job.
        """
        return f"{array_id}_{number}"

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
