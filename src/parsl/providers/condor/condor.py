"""Blocks as jobs of HTCondor."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobStatus
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.condor.answers import read_history, read_queue
from parsl.providers.scripts import render, write_script
from parsl.representation import RepresentationMixin
from parsl.utils import wtime_to_minutes
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["CondorProvider"]

_JOB_ID = re.compile(r"^(\d+)\.\d+ - \d+\.\d+\s*$", re.MULTILINE)


class CondorProvider(RepresentationMixin, ClusterProvider):
    """Gets blocks from HTCondor with condor_submit, looks at the living with condor_q, at the dead with condor_history.

    Args:
        nodes_per_block: Jobs that make a block: HTCondor gives each job a slot, and the launcher is run in each.
        cores_per_slot: Cores to ask for in each slot; None for no such request.
        mem_per_slot: Memory to ask for in each slot in GB; None for no such request.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        environment: Environment variables of the job.
        project: Project to be charged; "" for none.
        scheduler_options: Lines to add to the submit description.
        transfer_input_files: Files to be copied to the job's folder.
        walltime: Time limit of each block, "HH:MM:SS".
        worker_init: Bash text to run in a block before the command.
        launcher: Starts the command within the block; None for a SingleNodeLauncher.
        requirements: What a machine needs to have, an expression of HTCondor's; "" for nothing.
        cmd_timeout: Seconds that a command of HTCondor may take.
        cmd_chunk_size: Jobs to name in one command.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    template = """\
universe = vanilla
batch_name = {job_name}
executable = {script}
output = {script}.stdout
error = {script}.stderr
log = {script}.log
should_transfer_files = IF_NEEDED
when_to_transfer_output = ON_EXIT
transfer_input_files = {transfer_input_files}
environment = {environment}
request_cpus = {cores}
request_memory = {mem}
+ProjectName = {project}
requirements = {requirements}
periodic_remove = (JobStatus == 2) && (time() - JobCurrentStartDate > {walltime})
"""
    array_index = "Process"
    unknown_job = re.compile(r"Couldn't find/remove all jobs|No jobs? matching|Job \d+\.\d+ not found")

    @check_types
    def __init__(
        self,
        nodes_per_block: int = 1,
        cores_per_slot: int | None = None,
        mem_per_slot: float | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        environment: dict[str, str] | None = None,
        project: str = "",
        scheduler_options: str = "",
        transfer_input_files: list[str] = [],  # noqa: B006 - never changed here
        walltime: str = "00:10:00",
        worker_init: str = "",
        launcher: AnyLauncher | None = None,
        requirements: str = "",
        cmd_timeout: int = 60,
        cmd_chunk_size: int = 100,
    ) -> None:
        super().__init__(
            "condor",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher,
            cmd_timeout,
        )
        if cmd_chunk_size < 1:
            raise ConfigurationError(f"CondorProvider: cmd_chunk_size has to be at least 1, but is {cmd_chunk_size}")
        self.cores_per_slot = cores_per_slot
        self.mem_per_slot = mem_per_slot
        self.cores_per_node = cores_per_slot
        self.mem_per_node = mem_per_slot
        self.environment = environment
        self.project = project
        self.scheduler_options = scheduler_options
        self.transfer_input_files = transfer_input_files
        self.worker_init = worker_init
        self.requirements = requirements
        self.cmd_chunk_size = self.status_batch_size = cmd_chunk_size

    def template_values(self, job_name: str, path: str, tasks_per_node: int) -> Mapping[str, object]:
        """Return the values for the template."""
        return {
            "job_name": job_name,
            "script": _literal(path),
            "transfer_input_files": ", ".join(map(_literal, self.transfer_input_files)),
            "environment": _environment(self.environment or {}),
            "cores": self.cores_per_slot,
            "mem": None if self.mem_per_slot is None else f"{self.mem_per_slot * 1024:.0f}",
            "project": self.project and f'"{_literal(self.project)}"',
            "requirements": self.requirements,
            "walltime": 60 * max(1, wtime_to_minutes(self.walltime)),
        }

    def _write_scripts(self, name: str, path: str, tasks_per_node: int, launch: str) -> None:
        description = render(self.template, self.template_values(name, path, tasks_per_node), quote=str)
        write_script(path, f"#!/bin/bash\n{self._body(path, launch)}")
        write_script(f"{path}.submit", f"{description}{self.scheduler_options}\nqueue {self.nodes_per_block}\n")

    @property
    def _takes_arrays(self) -> bool:
        """Jobs of one submission are a block's nodes, or blocks of one node each."""
        return self.nodes_per_block == 1

    def _write_array(self, name: str, path: str, tasks_per_node: int) -> None:
        values = self.template_values(name, path, tasks_per_node)
        own = {**values, "script": f"{values['script']}.$(Process)"}
        write_script(f"{path}.submit", f"{render(self.template, own, quote=str)}{self.scheduler_options}\n")

    def _enter(self, job_id: str, name: str, path: str) -> None:
        super()._enter(job_id, name, path)
        if self.nodes_per_block > 1:  # several jobs write that file
            self.resources[job_id]["exit_code_path"] = None

    def submit_command(self, script: str) -> str:
        """Call condor_submit."""
        return f"condor_submit -terse {shlex.quote(script)}.submit"

    def array_command(self, script: str, job_name: str, count: int) -> str:
        """Call condor_submit with the number of jobs."""
        return f"{self.submit_command(script)} -queue {count}"

    def array_job_id(self, array_id: str, number: int) -> str:
        """Return the number of the job within its cluster."""
        return f"{array_id}.{number}"

    def parse_job_id(self, text: str) -> str | None:
        """Find the number of the cluster, which is what HTCondor calls the jobs of one submission."""
        match = _JOB_ID.search(text)
        return match[1] if match else None

    def status_command(self, job_ids: list[str]) -> str:
        """Call condor_q."""
        return f"condor_q {' '.join(job_ids)} -autoformat:, ClusterId ProcId JobStatus HoldReason"

    def parse_status(self, text: str) -> dict[str, JobStatus]:
        """Read what condor_q printed."""
        return read_queue(text)

    def history_command(self, job_ids: list[str]) -> str:
        """Call condor_history."""
        facts = "ClusterId ProcId JobStatus ExitBySignal ExitCode ExitSignal RemoveReason"
        limit = len(job_ids) * self.nodes_per_block
        return f"condor_history {' '.join(job_ids)} -limit {limit} -autoformat:, {facts}"

    def parse_history(self, text: str) -> dict[str, JobStatus]:
        """Read what condor_history printed."""
        return read_history(text)

    def cancel_command(self, job_ids: list[str]) -> str:
        """Call condor_rm."""
        return f"condor_rm {' '.join(job_ids)}"

    def cancel_name_command(self, job_name: str) -> str:
        """Call condor_rm with a name."""
        constraint = f'JobBatchName == "{job_name}"'
        return f"condor_rm -constraint {shlex.quote(constraint)}"


def _literal(text: str) -> str:
    """Keep HTCondor from expanding a text."""
    return text.replace("$", "$(DOLLAR)")


def _environment(variables: Mapping[str, str]) -> str | None:
    """Write variables in HTCondor's way: each in single quotes, all in double quotes, quotes within twice."""
    if not variables:
        return None
    quoted = (f"{name}='{value}'" for name, value in ((n, str(v).replace("'", "''")) for n, v in variables.items()))
    return '"' + _literal(" ".join(quoted)).replace('"', '""') + '"'
