"""Blocks as jobs of Torque."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers.launchers import AprunLauncher
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.commands import output_options
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["TorqueProvider", "pbs_status"]

STATES = {
    "B": JobState.RUNNING,  # an array that has begun
    "E": JobState.RUNNING,  # after its end, cleaning up: how it ended is told later
    "H": JobState.HELD,
    "M": JobState.PENDING,  # moved to another server
    "Q": JobState.PENDING,
    "R": JobState.RUNNING,
    "S": JobState.HELD,
    "T": JobState.PENDING,
    "U": JobState.HELD,  # suspended since its workstation is in use
    "W": JobState.PENDING,
}
"""PBS's letters for the state of a job that has not ended."""

ENDED = frozenset("CFX")
"""PBS's letters for a job that has ended."""

_JOB_ID = re.compile(r"^\s*(\d+(?:\[\d*\])?(?:\.[\w.-]+)?)\s*$", re.MULTILINE)
_NUMBER = re.compile(r"\d+(\[\d*\])?")

# What PBS puts in place of an exit code: a job over its limits, and one that could not be started.
_KILLED_FOR_WALLTIME = {-11, -29}
_NEVER_RAN = range(-99, 0)
_SIGNALS_FROM = 256


class TorqueProvider(ClusterProvider, RepresentationMixin):
    """Gets blocks from Torque, and from a PBS that takes `-l nodes=`, with qsub, qstat and qdel.

    Args:
        account: Account to be charged; None for the user's default.
        queue: Queue to ask for; None for the server's default.
        scheduler_options: Lines `#PBS ...` to add.
        worker_init: Bash text to run in a block before the command, such as `module load python`.
        nodes_per_block: Nodes in a block.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        launcher: Starts the command within the block; None for an AprunLauncher.
        walltime: Time limit of each block, "HH:MM:SS".
        cmd_timeout: Seconds that a command of the batch system may take.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    template = """\
#PBS -S /bin/bash
#PBS -N {job_name}
#PBS -l walltime={walltime}
#PBS -l nodes={nodes}:ppn={tasks_per_node}
#PBS -A {account}
#PBS -q {queue}
"""
    array_index = "PBS_ARRAYID"
    unknown_job_codes = frozenset({35, 153})
    longest_name = 15
    unknown_job = re.compile(
        r"Unknown Job Id|Job has finished|(?:Request invalid|invalid) for state of job", re.IGNORECASE
    )

    @check_types
    def __init__(
        self,
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        worker_init: str = "",
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        launcher: AnyLauncher | None = None,
        walltime: str = "00:20:00",
        cmd_timeout: int = 120,
    ) -> None:
        super().__init__(
            "torque",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            AprunLauncher() if launcher is None else launcher,
            cmd_timeout,
        )
        self.account = account
        self.queue = queue
        self.scheduler_options = scheduler_options
        self.worker_init = worker_init

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        return {
            "job_name": job_name,
            "walltime": self.walltime,
            "nodes": self.nodes_per_block,
            "tasks_per_node": tasks_per_node,
            "account": self.account,
            "queue": self.queue,
        }

    def submit_command(self, script: str) -> str:
        """Call qsub."""
        return f"qsub {output_options(script)} {shlex.quote(script)}"

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call qsub for a job array, each job of which looks after its own output: see `array_script`."""
        return f"qsub -t 0-{count - 1} {output_options(script)} {shlex.quote(script)}"

    def array_script(self, options: str, script: str) -> str:
        """Let each job redirect its output, for which the PBSs have names of files that differ with their releases."""
        own = f'{shlex.quote(script)}."$n"'
        run = f"n=${{{self.array_index}:?}}\nexec bash {own} > {own}.stdout 2> {own}.stderr"
        return f"#!/bin/bash\n{options}\n\n{run}\n"

    def array_job_id(self, array_id: str, number: int) -> str | None:
        """Put the number between the brackets that an array's id has."""
        return array_id.replace("[]", f"[{number}]") if "[]" in array_id else None

    def parse_job_id(self, text: str) -> str | None:
        """Find the line that is an id: `number.server` or `number`; the last, if there are several."""
        ids: list[str] = _JOB_ID.findall(text)
        return ids[-1] if ids else None

    def status_command(self, job_ids: list[str]) -> str:
        """Call qstat for all that it knows of each job."""
        return f"qstat -f {shlex.join(job_ids)}"

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read what `qstat -f` printed; MISSING for a job that has ended without exit code."""
        found = {}
        blocks = re.split(r"^Job Id:\s*", text, flags=re.MULTILINE)
        if blocks[0].strip() and len(blocks) == 1:
            raise ValueError(f"{blocks[0].strip().splitlines()[0]!r} is no line about a job")
        for block in blocks[1:]:
            job_id, _, rest = block.partition("\n")
            # Long values go on in further lines, which begin with a tab; Slurm's own qstat begins all of them so.
            facts = dict(re.findall(r"^\s+([\w.]+) = (.*)$", rest, re.MULTILINE))
            found[job_id.strip()] = pbs_status(facts.get("job_state", ""), facts)
        return found

    def cancel_command(self, job_ids: list[str]) -> str:
        """Call qdel."""
        return f"qdel {shlex.join(job_ids)}"

    def cancel_name_command(self, job_name: str) -> str:
        """Call qdel for what qselect finds under a name."""
        return f'jobs=$(qselect -N {shlex.quote(job_name)}) && {{ [ -z "$jobs" ] || qdel $jobs; }}'

    def _query(self, job_ids: list[str]) -> tuple[dict[str, JobStatus], str | None]:
        # The server's name behind the number may be another one than qsub printed.
        found, trouble = super()._query(job_ids)
        by_number = {_number(job_id): status for job_id, status in found.items()}
        return {i: by_number[_number(i)] for i in job_ids if _number(i) in by_number}, trouble


def pbs_status(letter: str, facts: Mapping[str, object]) -> JobStatus:
    """Make a status of what PBS tells of a job.

    Args:
        letter: The state.
        facts: The attributes of the job under PBS's names.

    Returns:
        The status; MISSING for a job that has ended without telling how.
    """
    comment = str(facts["comment"]) if facts.get("comment") else None
    if letter not in ENDED:
        state = STATES.get(letter, JobState.UNKNOWN)
        return JobStatus(state, comment if state is not JobState.UNKNOWN else f"qstat says job_state {letter!r}")
    told = facts.get("Exit_status", facts.get("exit_status"))
    if str(facts.get("substate")) == "91":  # ended by qdel, whatever its exit code
        return JobStatus(JobState.CANCELLED, comment)
    if told is None:
        return JobStatus(JobState.MISSING)
    code = int(str(told))
    if code in _KILLED_FOR_WALLTIME:
        return JobStatus(JobState.TIMEOUT, comment)
    if code in _NEVER_RAN:
        return JobStatus(JobState.FAILED, f"PBS could not run the job: Exit_status {code}; {comment or 'no comment'}")
    if code >= _SIGNALS_FROM:
        code = 128 + code % 128
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, comment if code else None, code)


def _number(job_id: str) -> str:
    match = _NUMBER.match(job_id)
    return match[0] if match else job_id
