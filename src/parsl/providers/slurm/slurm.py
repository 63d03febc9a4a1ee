"""Blocks as jobs of Slurm."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobStatus
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.commands import batched
from parsl.providers.slurm.answers import read_sacct, read_scontrol, read_squeue
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["SlurmProvider", "batched"]


class SlurmProvider(ClusterProvider, RepresentationMixin):
    """Gets blocks from Slurm with sbatch, looks at the living with squeue and at the dead with sacct.

    Where Slurm keeps no accounts, scontrol is asked instead of sacct.

    Args:
        partition: Partition to ask for; None for the cluster's default.
        account: Account to be charged; None for the user's default.
        qos: Quality of service; None for the default.
        constraint: Features that nodes need to have.
        clusters: Name of the cluster, where there are several.
        nodes_per_block: Nodes in a block.
        cores_per_node: Cores to ask for on each node; None for no such request.
        mem_per_node: Memory to ask for on each node in GB; None for no such request.
        gpus_per_node: GPUs on each node, as a number or "type:number".
        gres: Generic resources on each node, such as "gpu:2".
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        walltime: Time limit of each block, in one of Slurm's forms such as "HH:MM:SS".
        scheduler_options: Lines `#SBATCH ...` to add; they win over the ones that are made of the arguments.
        regex_job_id: What sbatch prints, with a group `id` for the job's id.
        worker_init: Bash text to run in a block before the command, such as `module load python`.
        cmd_timeout: Seconds that a command of Slurm may take.
        status_batch_size: Jobs to name in one command.
        exclusive: Ask for nodes that no other job is on.
        launcher: Starts the command within the block; None for a SingleNodeLauncher.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    template = """\
#SBATCH --job-name={job_name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={tasks_per_node}
#SBATCH --cpus-per-task={cpus_per_task}
#SBATCH --mem={mem}
#SBATCH --gpus-per-node={gpus_per_node}
#SBATCH --gres={gres}
#SBATCH --time={walltime}
#SBATCH --clusters={clusters}
#SBATCH --partition={partition}
#SBATCH --account={account}
#SBATCH --qos={qos}
#SBATCH --constraint={constraint}
#SBATCH {exclusive}
"""
    array_index = "SLURM_ARRAY_TASK_ID"
    unknown_job = re.compile(r"Invalid job id specified|Job/step already completing or completed")

    @check_types
    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        clusters: str | None = None,
        nodes_per_block: int = 1,
        cores_per_node: int | None = None,
        mem_per_node: int | float | None = None,
        gpus_per_node: int | str | None = None,
        gres: str | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        scheduler_options: str = "",
        regex_job_id: str = r"Submitted batch job (?P<id>\S*)",
        worker_init: str = "",
        cmd_timeout: int = 10,
        status_batch_size: int = 50,
        exclusive: bool = True,
        launcher: AnyLauncher | None = None,
    ) -> None:
        super().__init__(
            "slurm",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher,
            cmd_timeout,
        )
        if status_batch_size < 1:
            raise ConfigurationError(
                f"SlurmProvider: status_batch_size has to be at least 1, but is {status_batch_size}"
            )
        try:
            named = re.compile(regex_job_id).groupindex
        except re.error as error:
            raise ConfigurationError(f"SlurmProvider: regex_job_id {regex_job_id!r} is none: {error}") from error
        if "id" not in named:
            raise ConfigurationError(f"SlurmProvider: regex_job_id {regex_job_id!r} has no group named 'id'")
        self.partition = partition
        self.account = account
        self.qos = qos
        self.constraint = constraint
        self.clusters = clusters
        self.cores_per_node = cores_per_node
        self.mem_per_node = mem_per_node
        self.gpus_per_node = gpus_per_node
        self.gres = gres
        self.scheduler_options = scheduler_options
        self.regex_job_id = regex_job_id
        self.worker_init = worker_init
        self.status_batch_size = status_batch_size
        self.exclusive = exclusive

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        cores, mem = self.cores_per_node, self.mem_per_node
        return {
            **vars(self),
            "job_name": job_name,
            "nodes": self.nodes_per_block,
            "tasks_per_node": tasks_per_node,
            "cpus_per_task": None if cores is None else max(1, cores // tasks_per_node),
            "mem": None if mem is None else f"{mem * 1024:.0f}M",
            "exclusive": "--exclusive" if self.exclusive else None,
        }

    def submit_command(self, script: str) -> str:
        """Call sbatch; with the paths of what the job prints, in which percent signs have a meaning."""
        plain = shlex.quote(script.replace("%", "%%"))
        return f"sbatch --output={plain}.stdout --error={plain}.stderr {shlex.quote(script)}"

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call sbatch for a job array."""
        plain = shlex.quote(script.replace("%", "%%"))
        output = f"--output={plain}.%a.stdout --error={plain}.%a.stderr"
        return f"sbatch --array=0-{count - 1} {output} {shlex.quote(script)}"

    def parse_job_id(self, text: str) -> str | None:
        """Find the id with `regex_job_id`."""
        match = re.search(self.regex_job_id, text)
        return match["id"] if match and re.fullmatch(r"\d+", match["id"]) else None

    def status_command(self, job_ids: list[str]) -> str:
        """Call squeue, which knows jobs for some minutes after their end too."""
        options = f"--noheader --array --states=all --format='%i|%T|%r'{self._clusters}"
        return f"squeue {options} --jobs={','.join(job_ids)}"

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read what squeue printed."""
        return read_squeue(text)

    def history_command(self, job_ids: list[str]) -> str:
        """Call sacct."""
        options = f"--noheader --parsable2 --allocations --format=JobID,State,ExitCode{self._clusters}"
        return f"sacct {options} --jobs={','.join(job_ids)}"

    def parse_history(self, text: str) -> dict[str, JobStatus]:
        """Read what sacct printed."""
        return read_sacct(text)

    def _ask_history(self, job_ids: list[str]) -> tuple[dict[str, JobStatus], str | None]:
        found, trouble = super()._ask_history(job_ids)
        if trouble is None:
            return found, None
        # No accounts are kept here, or the accounting is down: the controller remembers for some minutes.
        command = "; ".join(f"scontrol{self._clusters} --oneliner show job {job_id}" for job_id in job_ids)
        shown, shown_trouble = self._ask(command, read_scontrol)
        without_accounts = "accounting storage is disabled" in trouble
        return shown, shown_trouble if without_accounts else trouble

    def cancel_command(self, job_ids: list[str]) -> str:
        """Call scancel."""
        return f"scancel{self._clusters} {' '.join(job_ids)}"

    def cancel_name_command(self, job_name: str) -> str:
        """Call scancel with a name."""
        return f"scancel{self._clusters} --name={shlex.quote(job_name)}"

    @property
    def _clusters(self) -> str:
        return f" --clusters={shlex.quote(self.clusters)}" if self.clusters else ""
