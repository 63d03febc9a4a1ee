"""Tasks on threads of this process: for tasks that wait, or that leave Python for long."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.threads import ThreadPoolExecutor


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(executors=[ThreadPoolExecutor(label="threads", max_threads=8)])


config = fresh_config()
