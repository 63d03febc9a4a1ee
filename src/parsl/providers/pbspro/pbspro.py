"""Blocks as jobs of PBS Pro and OpenPBS."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobStatus
from parsl.launchers.launchers import SingleNodeLauncher
from parsl.providers.commands import output_options
from parsl.providers.torque.torque import TorqueProvider, pbs_status
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["PBSProProvider"]


class PBSProProvider(TorqueProvider):
    """Gets blocks from PBS Pro or OpenPBS with qsub, qstat and qdel.

    Args:
        account: Account to be charged; None for the user's default.
        queue: Queue to ask for; None for the server's default.
        scheduler_options: Lines `#PBS ...` to add.
        select_options: More of what each node needs to have, to be appended to the select statement, such as "ngpus=4".
        worker_init: Bash text to run in a block before the command, such as `module load python`.
        nodes_per_block: Nodes in a block.
        cpus_per_node: Hardware threads to ask for on each node.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        launcher: Starts the command within the block; None for a SingleNodeLauncher.
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
#PBS -l select={select}
#PBS -A {account}
#PBS -q {queue}
"""
    array_index = "PBS_ARRAY_INDEX"
    longest_name = 220

    @check_types
    def __init__(
        self,
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        select_options: str = "",
        worker_init: str = "",
        nodes_per_block: int = 1,
        cpus_per_node: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        launcher: AnyLauncher | None = None,
        walltime: str = "00:20:00",
        cmd_timeout: int = 120,
    ) -> None:
        super().__init__(
            account=account,
            queue=queue,
            scheduler_options=scheduler_options,
            worker_init=worker_init,
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
            launcher=SingleNodeLauncher() if launcher is None else launcher,
            walltime=walltime,
            cmd_timeout=cmd_timeout,
        )
        if cpus_per_node < 1:
            raise ConfigurationError(f"PBSProProvider: cpus_per_node has to be at least 1, but is {cpus_per_node}")
        self.select_options = select_options
        self.cpus_per_node = cpus_per_node

    @property
    def label(self) -> str:
        """Short name of the provider."""
        return "pbspro"

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        more = self.select_options.strip().lstrip(":")
        select = f"{self.nodes_per_block}:ncpus={self.cpus_per_node}{f':{more}' if more else ''}"
        return {**super().template_values(job_name, path, tasks_per_node), "select": select}

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call qsub for a job array."""
        return f"qsub -J 0-{count - 1} {output_options(script)} {shlex.quote(script)}"

    def status_command(self, job_ids: list[str]) -> str:
        """Call qstat for all that it knows of each job, also of those that have ended."""
        return f"qstat -x -f -F json {shlex.join(job_ids)}"

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read the JSON that qstat printed."""
        import json

        if not text.strip():
            return {}
        # Some releases leave control characters in the values of environment variables as they are.
        answer = json.loads(text[max(0, text.find("{")) :], strict=False)
        jobs = answer.get("Jobs", {}) if isinstance(answer, dict) else None
        if not isinstance(jobs, dict):
            raise ValueError("there is no table of jobs in it")  # noqa: TRY004 - the text is wrong, not a type
        return {i: pbs_status(str(facts.get("job_state", "")), facts) for i, facts in jobs.items()}
