"""Slots of four cores from HTCondor, each a block."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.providers.condor.condor import CondorProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="htcondor",
                max_workers_per_node=4,
                # Keys of encrypted connections are read from the run folder, so slots have to see that; in a pool
                # without a shared file system say encrypted=False, if its network is your own.
                provider=CondorProvider(
                    nodes_per_block=1,
                    cores_per_slot=4,
                    mem_per_slot=8,
                    init_blocks=1,
                    max_blocks=10,
                    walltime="01:00:00",
                    project="",  # who is charged, where somebody is
                    requirements="",  # such as 'OpSysAndVer == "Debian12"'
                    worker_init="",
                ),
            )
        ],
        retries=3,  # slots are taken back
    )


config = fresh_config()
