"""Blocks of two nodes from Slurm, a worker for each core."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.launchers.launchers import SrunLauncher
from parsl.providers.slurm.slurm import SlurmProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="slurm",
                # With several networks, name the one that nodes see:
                # address=parsl.addresses.address_by_interface("ib0").
                provider=SlurmProvider(
                    partition="YOUR_PARTITION",  # `sinfo` lists them; leave it out for the default one
                    account="YOUR_ACCOUNT",  # leave it out where nobody is charged
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=4,
                    walltime="01:00:00",
                    worker_init="",  # such as "module load gcc", run on each block before the workers start
                    launcher=SrunLauncher(),  # one manager on each node
                ),
            )
        ],
        retries=1,  # a block that reaches its walltime takes running tasks with it
    )


config = fresh_config()
