"""Executors: what runs tasks. The names are resolved on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.high_throughput.executor import HighThroughputExecutor
    from parsl.executors.high_throughput.mpi_executor import MPIExecutor
    from parsl.executors.taskvine.executor import TaskVineExecutor
    from parsl.executors.taskvine.factory_config import TaskVineFactoryConfig
    from parsl.executors.taskvine.manager_config import TaskVineManagerConfig
    from parsl.executors.threads import ThreadPoolExecutor
    from parsl.executors.workqueue.executor import WorkQueueExecutor

_HOMES = {
    "HighThroughputExecutor": "parsl.executors.high_throughput.executor",
    "MPIExecutor": "parsl.executors.high_throughput.mpi_executor",
    "TaskVineExecutor": "parsl.executors.taskvine.executor",
    "TaskVineFactoryConfig": "parsl.executors.taskvine.factory_config",
    "TaskVineManagerConfig": "parsl.executors.taskvine.manager_config",
    "ThreadPoolExecutor": "parsl.executors.threads",
    "WorkQueueExecutor": "parsl.executors.workqueue.executor",
}

__all__ = [
    "HighThroughputExecutor",
    "MPIExecutor",
    "TaskVineExecutor",
    "TaskVineFactoryConfig",
    "TaskVineManagerConfig",
    "ThreadPoolExecutor",
    "WorkQueueExecutor",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    return getattr(importlib.import_module(home), name)
