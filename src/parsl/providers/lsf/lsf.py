"""Blocks as jobs of LSF."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.commands import match_rows, output_options
from parsl.providers.errors import SchedulerMissingArgs
from parsl.representation import RepresentationMixin
from parsl.utils import wtime_to_minutes
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["LSFProvider"]

STATES = {
    "DONE": JobState.COMPLETED,
    "EXIT": JobState.FAILED,
    "PEND": JobState.PENDING,
    "PROV": JobState.PENDING,  # its host is being powered up
    "PSUSP": JobState.HELD,
    "RUN": JobState.RUNNING,
    "SSUSP": JobState.HELD,
    "USUSP": JobState.HELD,
    "WAIT": JobState.PENDING,
}
"""LSF's words for the state of a job. ZOMBI and UNKWN say that LSF itself does not know."""

_ROW = re.compile(r"(?P<id>\d+)(\[\d+\])?\s+(?P<index>\d+|-)\s+(?P<state>[A-Z]+)\s+(?P<code>\d+|-)")
_JOB_ID = re.compile(r"Job <(\d+)> is submitted")


class LSFProvider(ClusterProvider, RepresentationMixin):
    """Gets blocks from LSF with bsub, bjobs and bkill.

    Args:
        nodes_per_block: Nodes in a block.
        cores_per_block: Cores in a block, if they and not nodes are asked for; then it has to be given.
        cores_per_node: Cores of each node, so that cores can be asked for node by node; None lets LSF spread them.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        walltime: Time limit of each block, "HH:MM:SS"; LSF knows no seconds.
        scheduler_options: Lines `#BSUB ...` to add.
        worker_init: Bash text to run in a block before the command, such as `module load python`.
        project: Project to be charged; None for the user's default.
        queue: Queue to ask for; None for the default.
        cmd_timeout: Seconds that a command of LSF may take.
        bsub_redirection: Hand the script to bsub as its input, as most sites want it, and not by its name.
        request_by_nodes: Ask for nodes (`-nnodes`), which not all sites allow, and not for cores (`-n`).
        launcher: Starts the command within the block; None for a SingleNodeLauncher.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
        SchedulerMissingArgs: Cores are to be asked for, but `cores_per_block` is not given.
    """

    template = """\
#BSUB -J {job_name}
#BSUB -W {walltime}
#BSUB -nnodes {nodes}
#BSUB -n {cores}
#BSUB -R {span}
#BSUB -q {queue}
#BSUB -P {project}
"""
    array_index = "LSB_JOBINDEX"
    array_first = 1
    unknown_job = re.compile(r"is not found|No matching job found|already finished|is being terminated")

    @check_types
    def __init__(
        self,
        nodes_per_block: int = 1,
        cores_per_block: int | None = None,
        cores_per_node: int | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        scheduler_options: str = "",
        worker_init: str = "",
        project: str | None = None,
        queue: str | None = None,
        cmd_timeout: int = 120,
        bsub_redirection: bool = False,
        request_by_nodes: bool = True,
        launcher: AnyLauncher | None = None,
    ) -> None:
        super().__init__(
            "LSF",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher,
            cmd_timeout,
        )
        if not request_by_nodes and cores_per_block is None:
            raise SchedulerMissingArgs(["cores_per_block"], self.label)
        for name, number in (("cores_per_block", cores_per_block), ("cores_per_node", cores_per_node)):
            if number is not None and number < 1:
                raise ConfigurationError(f"LSFProvider: {name} has to be at least 1, but is {number}")
        self.cores_per_block = cores_per_block
        self.cores_per_node = cores_per_node
        self.scheduler_options = scheduler_options
        self.worker_init = worker_init
        self.project = project
        self.queue = queue
        self.bsub_redirection = bsub_redirection
        self.request_by_nodes = request_by_nodes

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        minutes = max(1, wtime_to_minutes(self.walltime))
        by_nodes = self.request_by_nodes
        return {
            "job_name": job_name,
            "walltime": f"{minutes // 60}:{minutes % 60:02}",
            "nodes": self.nodes_per_block if by_nodes else None,
            "cores": None if by_nodes else self.cores_per_block,
            "span": None if by_nodes or self.cores_per_node is None else f"span[ptile={self.cores_per_node}]",
            "queue": self.queue,
            "project": self.project,
        }

    def submit_command(self, script: str) -> str:
        """Call bsub with the script as its input or by name."""
        return f"bsub {output_options(script)} {self._named(script)}"

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call bsub for a job array, which its name makes it; %I is a job's number."""
        name = shlex.quote(f"{job_name}[1-{count}]")
        return f"bsub -J {name} {output_options(script, '.%I')} {self._named(script)}"

    def array_job_id(self, array_id: str, number: int) -> str:
        """Return the id as bjobs and bkill take it."""
        return f"{array_id}[{number}]"

    def parse_job_id(self, text: str) -> str | None:
        """Find the id in bsub's sentence."""
        match = _JOB_ID.search(text)
        return match[1] if match else None

    def status_command(self, job_ids: list[str]) -> str:
        """Call bjobs."""
        return f"bjobs -a -noheader -o 'jobid jobindex stat exit_code' {shlex.join(job_ids)}"

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read what bjobs printed."""
        return {_id(row): _status(row["state"], row["code"]) for row in match_rows(_ROW, text)}

    def cancel_command(self, job_ids: list[str]) -> str:
        """Call bkill."""
        return f"bkill {shlex.join(job_ids)}"

    def cancel_name_command(self, job_name: str) -> str:
        """Call bkill with a name."""
        return f"bkill -J {shlex.quote(job_name)} 0"

    def _named(self, script: str) -> str:
        return f"{'< ' if self.bsub_redirection else ''}{shlex.quote(script)}"


def _id(row: re.Match[str]) -> str:
    """Make an id of its columns; a job that is in no array has the index 0."""
    return row["id"] if row["index"] in {"0", "-"} else f"{row['id']}[{row['index']}]"


def _status(word: str, code: str) -> JobStatus:
    state = STATES.get(word, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        return JobStatus(state, f"bjobs says {word}")
    if state is JobState.COMPLETED:
        return JobStatus(state, exit_code=0)
    if state is JobState.FAILED:
        # LSF ends a job at its walltime with SIGUSR2, and tells 140 for it.
        exit_code = int(code) if code.isdigit() else None
        return JobStatus(JobState.TIMEOUT if exit_code == 140 else state, exit_code=exit_code)
    return JobStatus(state)
