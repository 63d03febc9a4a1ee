"""Blocks of two nodes from LSF, on a machine with jsrun."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.launchers.launchers import JsrunLauncher
from parsl.providers.lsf.lsf import LSFProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="lsf",
                provider=LSFProvider(
                    queue="YOUR_QUEUE",  # `bqueues` lists them
                    project="YOUR_PROJECT",
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=2,
                    walltime="01:00:00",
                    worker_init="",
                    # Where there is no jsrun: MpiRunLauncher(), or SingleNodeLauncher() with nodes_per_block=1.
                    launcher=JsrunLauncher(overrides="--cpu_per_rs ALL_CPUS"),
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
