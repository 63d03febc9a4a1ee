"""Single nodes from Grid Engine."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.providers.grid_engine.grid_engine import GridEngineProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="grid_engine",
                max_workers_per_node=4,  # as many as the slots that scheduler_options ask for
                provider=GridEngineProvider(
                    queue="YOUR_QUEUE",  # `qconf -sql` lists them
                    nodes_per_block=1,
                    init_blocks=1,
                    max_blocks=4,
                    walltime="01:00:00",
                    scheduler_options="#$ -pe YOUR_PARALLEL_ENVIRONMENT 4",  # `qconf -spl` lists them
                    worker_init="",
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
