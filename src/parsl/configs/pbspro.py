"""Blocks of two nodes from PBS Pro or OpenPBS, a manager started on each by mpiexec."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.launchers.launchers import MpiExecLauncher
from parsl.providers.pbspro.pbspro import PBSProProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="pbspro",
                provider=PBSProProvider(
                    queue="YOUR_QUEUE",  # `qstat -Q` lists them
                    account="YOUR_ACCOUNT",
                    cpus_per_node=32,
                    select_options="",  # such as "ngpus=4"
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=4,
                    walltime="01:00:00",
                    scheduler_options="",  # such as "#PBS -l filesystems=home"
                    worker_init="",
                    launcher=MpiExecLauncher(),
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
