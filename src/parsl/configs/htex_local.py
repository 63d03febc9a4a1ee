"""Tasks on worker processes of this machine, one for each core."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.providers.local.local import LocalProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="htex_local",
                address="127.0.0.1",  # nobody else has to reach this machine
                cores_per_worker=1,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            )
        ]
    )


config = fresh_config()
