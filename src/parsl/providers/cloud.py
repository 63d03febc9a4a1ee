"""What providers of cloud machines and of pods share: the last known status of each job, and what is given back."""

from __future__ import annotations

import logging
import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.errors import OptionalModuleMissing
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import SubmitException
from parsl.providers.status_watch import SystemWatch
from parsl.representation import RepresentationMixin

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["CloudProvider", "MachineProvider", "exit_code_in", "load_sdk", "machine_script"]

logger = logging.getLogger(__name__)

LOOKS = 3
"""How many times the console of a machine that is off is looked at: its last words may come late."""

_OUTPUT_TAIL_BYTES = 4000


def load_sdk(extra: str, module: str) -> Any:
    """Import a module of a cloud's own library.

    Args:
        extra: Name of the extra of this package that brings the library.
        module: Full name of the module.

    Returns:
        The module.

    Raises:
        OptionalModuleMissing: It is not installed; the text says what to install.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise OptionalModuleMissing([module], f"To install them: pip install 'parsl[{extra}]'") from error


def machine_script(worker_init: str, launch: str, mark: str, *, power_off: bool) -> str:
    """Write what a new machine runs when it has started.

    The end of the block's output and its exit code go to the machine's console, which clouds keep: a machine that has
    switched itself off has no other way to tell.

    Args:
        worker_init: Bash text that comes before the command.
        launch: Bash text from a launcher.
        mark: Unique word for this block, see `exit_code_in`.
        power_off: Whether the machine switches itself off at the end.
    """
    delimiter = "PARSL_BLOCK"
    while delimiter in worker_init or delimiter in launch:
        delimiter += "_"
    end = "sync\nshutdown -h now || poweroff\n" if power_off else ""
    # A machine's start-up runs without HOME. The delimiter is quoted: nothing in the block's text is expanded here.
    return f"""#!/bin/bash
export HOME="${{HOME:-/root}}"
mkdir -p "$HOME/parsl" && cd "$HOME/parsl"
cat > block.sh <<'{delimiter}'
{worker_init}

{launch}
{delimiter}
bash block.sh > block.out 2>&1
code=$?
last_words() {{
    tail -c {_OUTPUT_TAIL_BYTES} block.out
    echo
    echo "parsl-block {mark} exit code $code"
}}
last_words | tee /dev/console 2>/dev/null
{end}"""


def exit_code_in(console: str, mark: str) -> int | None:
    """Find the exit code of a block in its machine's console.

    Args:
        console: What the console showed.
        mark: The block's mark, as given to `machine_script`.

    Returns:
        The exit code, 0 to 255; None if the block did not get to say it.
    """
    codes = re.findall(rf"parsl-block {re.escape(mark)} exit code (\d{{1,3}})\b", console)
    return int(codes[-1]) if codes else None


class CloudProvider(ExecutionProvider, RepresentationMixin):
    """Base of providers that ask a cloud through its vendor's library.

    A subclass says how to look at jobs and how to end them; this class keeps what is known. No status is guessed: while
    the cloud can't be asked, which is tried ever more rarely, each job keeps its last state, from the third failure in
    a row on with the error's own words. What a job leaves behind when it ends by itself is deleted, with another try
    at each look.

    Args:
        nodes_per_block: Nodes in a block, at least 1.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.

    Attributes:
        run_id: Unique word of this provider object, with which it labels all that it makes in the cloud.
        linger: Whether jobs are left alone when they have ended or are to be ended.
    """

    status_polling_interval = 60
    linger: bool = False

    def __init__(
        self, *, nodes_per_block: int, init_blocks: int, min_blocks: int, max_blocks: int, parallelism: float
    ) -> None:
        self._set_block_numbers(
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        self.resources: dict[str, dict[str, Any]] = {}
        self.run_id = os.urandom(6).hex()
        self._watch = SystemWatch(self.label)
        self._clock = time.monotonic
        self._to_release: set[str] = set()

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def _sdk_errors(self) -> tuple[type[Exception], ...]:
        """Return the exceptions with which the vendor's library says that a request failed."""

    @abstractmethod
    def _look(self, job_ids: list[str]) -> dict[str, JobStatus]:
        """Ask the cloud for jobs that had not ended; those of which nothing new is known may be left out."""

    @abstractmethod
    def _end(self, job_ids: list[str]) -> dict[str, str]:
        """End jobs; return, for those that could not be ended, why."""

    def _release(self, job_id: str) -> None:
        """Delete what a job left behind that ended by itself."""

    def _console(self, job_id: str) -> str:
        """Fetch what the console of a job's machine showed."""
        del job_id
        return ""

    def _words(self, error: Exception) -> str:
        """Take the words for the user out of one of the library's exceptions."""
        return str(error).strip() or type(error).__name__

    # -- the provider's verbs ------------------------------------------------------------------------------------

    def status(self, job_ids: list[str]) -> list[JobStatus]:
        """Tell the status of jobs; those that have not ended are asked for in as few requests as the cloud allows.

        Args:
            job_ids: Ids from `submit`; for others the status is UNKNOWN.

        Returns:
            One status for each.

        Raises:
            OptionalModuleMissing: The vendor's library is not installed.
        """
        live = [job_id for job_id in job_ids if job_id in self.resources and not self._known(job_id).terminal]
        if live and self._watch.is_due(self._clock()):
            try:
                found = self._look(live)
            except self._sdk_errors() as error:
                self._watch.on_failure(self._words(error), self._clock())
            else:
                self._watch.on_success()
                for job_id, status in found.items():
                    self._note(job_id, status)
        self._release_ended()
        return [self._shown(job_id) for job_id in job_ids]

    def cancel(self, job_ids: list[str]) -> list[bool]:
        """End jobs. It does not wait until they are gone.

        Args:
            job_ids: Ids from `submit`.

        Returns:
            For each, True if it has ended or is about to; False for an unknown id, if the cloud refused (the log says
            why), and with `linger`, for then the user ends it.
        """
        live = [job_id for job_id in job_ids if job_id in self.resources and not self._known(job_id).terminal]
        failed: dict[str, str] = {}
        if self.linger:
            failed = dict.fromkeys(live, "linger is set, so it is left for you to end")
        elif live:
            try:
                failed = self._end(live)
            except self._sdk_errors() as error:
                failed = dict.fromkeys(live, self._words(error))
        for job_id in live:
            if job_id in failed:
                logger.warning("%s: job %s goes on: %s", self.label, job_id, failed[job_id])
            else:
                self.resources[job_id]["status"] = JobStatus(JobState.CANCELLED)
        self._release_ended()
        return [job_id in self.resources and job_id not in failed for job_id in job_ids]

    # -- what is known -------------------------------------------------------------------------------------------

    def _add(self, job_id: str, job_name: str, **known: Any) -> str:
        """Remember a job that was just made; returns its id."""
        status = JobStatus(JobState.PENDING)
        self.resources[job_id] = {"job_id": job_id, "job_name": job_name, "status": status, **known}
        return job_id

    def _refused(self, job_name: str, error: Exception) -> SubmitException:
        """Make the exception for a job that the cloud refused."""
        return SubmitException(job_name, f"{self.label} refused it: {self._words(error)}")

    def _known(self, job_id: str) -> JobStatus:
        status: JobStatus = self.resources[job_id]["status"]
        return status

    def _note(self, job_id: str, status: JobStatus) -> None:
        """Remember what a look found; UNKNOWN changes the message alone."""
        if status.state is JobState.UNKNOWN:
            status = JobStatus(self._known(job_id).state, status.message)
        self.resources[job_id]["status"] = status
        if status.terminal and not self.linger:
            self._to_release.add(job_id)

    def _shown(self, job_id: str) -> JobStatus:
        if job_id not in self.resources:
            return JobStatus(JobState.UNKNOWN, message=f"{type(self).__name__} made no job {job_id!r}")
        status = self._known(job_id)
        if status.terminal or self._watch.complaint is None:
            return status
        return JobStatus(status.state, self._watch.complaint)

    def _release_ended(self) -> None:
        for job_id in sorted(self._to_release):
            try:
                self._release(job_id)
            except self._sdk_errors() as error:
                logger.warning("%s: what job %s left is still there: %s", self.label, job_id, self._words(error))
            else:
                self._to_release.discard(job_id)

    def _each(self, job_ids: list[str], end: Callable[[str], object]) -> dict[str, str]:
        """End jobs one by one, whatever becomes of the others; return why some could not be ended."""
        failed = {}
        for job_id in job_ids:
            try:
                end(job_id)
            except self._sdk_errors() as error:
                failed[job_id] = self._words(error)
        return failed

    # -- machines ------------------------------------------------------------------------------------------------

    def _switched_off(self, job_id: str, reason: str) -> JobStatus:
        """Tell the status of a machine that is off and was not ended by us: by the last words on its console.

        They may come late, so for a few looks the job is left as it was. Without them it has failed, for it is not
        known to have done well.

        Args:
            job_id: The job.
            reason: What the cloud says of the end.
        """
        known = self.resources[job_id]
        try:
            console = self._console(job_id)
        except self._sdk_errors() as error:
            logger.info("%s: the console of job %s can't be read: %s", self.label, job_id, self._words(error))
            console = ""
        code = exit_code_in(console, known["mark"])
        if code is None:
            known["looks_for_end"] = known.get("looks_for_end", 0) + 1
            if known["looks_for_end"] < LOOKS:
                return JobStatus(JobState.UNKNOWN, f"the machine is off, its console says nothing yet ({reason})")
        path = self._keep_output(job_id, console)
        if code == 0:
            return JobStatus(JobState.COMPLETED, exit_code=0, stdout_path=path)
        message = f"the machine is off, and its console does not say how the block ended ({reason})"
        if code is not None:
            message = f"the block's script ended with exit code {code}"
        return JobStatus(JobState.FAILED, message, code, stdout_path=path, stderr_path=path)

    def _keep_output(self, job_id: str, text: str) -> str | None:
        """Write what a job printed beside the scripts of other blocks; returns the path, None if there is nothing."""
        if not text or self.script_dir is None:
            return None
        path = os.path.join(os.path.abspath(self.script_dir), f"{job_id}.output")
        try:
            os.makedirs(self.script_dir, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            logger.warning("%s: the output of job %s can't be written: %s", self.label, job_id, error)
            return None
        self.resources[job_id].update(job_stdout_path=path, job_stderr_path=path)
        return path


class MachineProvider(CloudProvider):
    """Base of providers whose blocks are machines: a subclass starts one and says what has become of it."""

    launcher: AnyLauncher

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Ask for a machine for a block, and for the network if this is the first and the cloud wants one.

        Args:
            command: Bash text: what the launcher is to start.
            tasks_per_node: How many copies of it.
            job_name: Name for people, kept with the job.

        Returns:
            The machine's id, or its name where the cloud knows machines by that.

        Raises:
            SubmitException: The cloud refused (capacity, limits, credentials, image); the text is its own.
            OptionalModuleMissing: The cloud's library is not installed.
        """
        launch = self.launcher(command, tasks_per_node, self.nodes_per_block)
        try:
            return self._start(launch, job_name)
        except self._sdk_errors() as error:
            raise self._refused(job_name, error) from error

    @abstractmethod
    def _start(self, launch: str, job_name: str) -> str:
        """Ask for a machine that runs bash text when it has started; return the job's id."""
