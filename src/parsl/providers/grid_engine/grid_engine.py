"""Blocks as jobs of Grid Engine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.commands import match_rows, output_options
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["GridEngineProvider"]

_ROW = re.compile(
    r"(?P<id>\d+)\s+[\d.]+\s+\S.*?\s(?P<state>[a-zA-Z]{1,5})\s+\d\d/\d\d/\d{4}\s+[\d:.]+"
    r"(?:\s+\S*[^\d\s]\S*)?\s+\d+(?:\s+(?P<task>\d+))?|job-ID .*|-+"
)
_JOB_ID = re.compile(r"Your job(?:-array)? (\d+)[ .]")
_RECORD = re.compile(r"^=+$", re.MULTILINE)
_FACT = re.compile(r"^(jobnumber|taskid|failed|exit_status) +(\d+) *(.*?) *$", re.MULTILINE)

# What qacct says in `failed` of jobs that qmaster or execd ended since they took too long.
_OVER_LIMIT = "37"


class GridEngineProvider(ClusterProvider, RepresentationMixin):
    """Gets blocks from Grid Engine with qsub, looks at the living with qstat and at the dead with qacct.

    Args:
        nodes_per_block: Nodes in a block; Grid Engine hears of it by a parallel environment in `scheduler_options`.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        walltime: Time limit of each block, "HH:MM:SS".
        scheduler_options: Lines `#$ ...` to add.
        worker_init: Bash text to run in a block before the command, such as `module load python`.
        launcher: Starts the command within the block; None for a SingleNodeLauncher.
        cmd_timeout: Seconds that a command of Grid Engine may take.
        queue: Queue to ask for; None for any.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    template = """\
#$ -S /bin/bash
#$ -N {job_name}
#$ -cwd
#$ -l h_rt={walltime}
#$ -q {queue}
"""
    array_index = "SGE_TASK_ID"
    array_first = 1
    unknown_job = re.compile(r"does not exist|not found|has registered the job|has deleted job")

    @check_types
    def __init__(
        self,
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        scheduler_options: str = "",
        worker_init: str = "",
        launcher: AnyLauncher | None = None,
        cmd_timeout: int = 60,
        queue: str | None = None,
    ) -> None:
        super().__init__(
            "grid_engine",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher,
            cmd_timeout,
        )
        self.scheduler_options = scheduler_options
        self.worker_init = worker_init
        self.queue = queue

    def get_configs(self, command: str, tasks_per_node: int) -> dict[str, object]:
        """Return what the script of a block is made of.

        Args:
            command: Bash text: what the launcher is to start.
            tasks_per_node: How many copies of it on each node.
        """
        return {
            "submit_script_dir": self.script_dir,
            "nodes": self.nodes_per_block,
            "tasks_per_node": tasks_per_node,
            "walltime": self.walltime,
            "queue": self.queue,
            "scheduler_options": self.scheduler_options,
            "worker_init": self.worker_init,
            "user_script": self.launcher(command, tasks_per_node, self.nodes_per_block),
        }

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        return {"job_name": job_name, "walltime": self.walltime, "queue": self.queue}

    def submit_command(self, script: str) -> str:
        """Call qsub."""
        return f"qsub {output_options(script)} {shlex.quote(script)}"

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call qsub for a job array; $TASK_ID in a path is a job's number, which Grid Engine puts there."""
        output = output_options(script, ".'$TASK_ID'")
        return f"qsub -t 1-{count} {output} {shlex.quote(script)}"

    def array_job_id(self, array_id: str, number: int) -> str:
        """Return the id as qdel takes it."""
        return f"{array_id}.{number}"

    def parse_job_id(self, text: str) -> str | None:
        """Find the id in qsub's sentence."""
        match = _JOB_ID.search(text)
        return match[1] if match else None

    def status_command(self, job_ids: list[str]) -> str:
        """Call qstat, which lists all jobs of the user that have not ended, those of arrays one by one."""
        return 'qstat -g d -u "$(id -un)"'

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read the table of qstat."""
        return {_id(row["id"], row["task"]): _living(row["state"]) for row in match_rows(_ROW, text) if row["id"]}

    def history_command(self, job_ids: list[str]) -> str:
        """Call qacct for one job, or all jobs of an array, after the other."""
        numbers = dict.fromkeys(job_id.partition(".")[0] for job_id in job_ids)
        return f"for job in {shlex.join(numbers)}; do qacct -j $job; done"

    def parse_history(self, text: str) -> dict[str, JobStatus]:
        """Read the records of qacct; of two with the same number the later counts."""
        found = {}
        for record in _RECORD.split(text):
            facts = {name: (number, words) for name, number, words in _FACT.findall(record)}
            if {"jobnumber", "failed", "exit_status"} <= facts.keys():
                job_id = _id(facts["jobnumber"][0], facts.get("taskid", (None,))[0])
                found[job_id] = _ended(*facts["failed"], int(facts["exit_status"][0]))
        if text.strip() and not found:
            raise ValueError(f"{text.strip().splitlines()[0]!r} begins no record of a job")
        return found

    def cancel_command(self, job_ids: list[str]) -> str:
        """Call qdel."""
        return f"qdel {shlex.join(job_ids)}"

    def cancel_name_command(self, job_name: str) -> str:
        """Call qdel with a name."""
        return f"qdel {shlex.quote(job_name)}"


def _id(number: str, task: str | None) -> str:
    return f"{number}.{task}" if task else number


def _living(letters: str) -> JobStatus:
    """Make a status of the letters of qstat, one for each thing that is the case."""
    if "E" in letters:
        return JobStatus(JobState.HELD, f"qstat says {letters}: the job could not be started; qstat -j tells why")
    if set(letters) & set("hsST"):
        return JobStatus(JobState.HELD, f"qstat says {letters}")
    if set(letters) & set("rtR"):
        return JobStatus(JobState.RUNNING)
    if set(letters) & set("qw"):
        return JobStatus(JobState.PENDING)
    # Also a lone d: being deleted, from which state is not told.
    return JobStatus(JobState.UNKNOWN, f"qstat says {letters}")


def _ended(failed: str, words: str, exit_status: int) -> JobStatus:
    if failed == "0":
        return JobStatus(JobState.FAILED if exit_status else JobState.COMPLETED, exit_code=exit_status)
    state = JobState.TIMEOUT if failed == _OVER_LIMIT else JobState.FAILED
    return JobStatus(state, f"qacct says failed {failed} {words}".rstrip(), exit_status)
