"""What `make bench` measures: worker processes on this machine, one for each core."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor


def fresh_config() -> Config:
    """Return a configuration that no kernel has used."""
    return Config(executors=[HighThroughputExecutor()])


config = fresh_config()
