"""Executors: what runs tasks. The names are resolved on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.dask import DaskExecutor
    from parsl.executors.flux.executor import FluxExecutor
    from parsl.executors.futures import FuturesExecutor
    from parsl.executors.globus_compute import GlobusComputeExecutor
    from parsl.executors.high_throughput.executor import HighThroughputExecutor
    from parsl.executors.high_throughput.mpi_executor import MPIExecutor
    from parsl.executors.radical.executor import RadicalPilotExecutor
    from parsl.executors.ray import RayExecutor
    from parsl.executors.taskvine.executor import TaskVineExecutor
    from parsl.executors.taskvine.factory_config import TaskVineFactoryConfig
    from parsl.executors.taskvine.manager_config import TaskVineManagerConfig
    from parsl.executors.threads import ThreadPoolExecutor
    from parsl.executors.workqueue.executor import WorkQueueExecutor

_HOMES = {
    "DaskExecutor": "parsl.executors.dask",
    "FluxExecutor": "parsl.executors.flux.executor",
    "FuturesExecutor": "parsl.executors.futures",
    "GlobusComputeExecutor": "parsl.executors.globus_compute",
    "HighThroughputExecutor": "parsl.executors.high_throughput.executor",
    "MPIExecutor": "parsl.executors.high_throughput.mpi_executor",
    "RadicalPilotExecutor": "parsl.executors.radical.executor",
    "RayExecutor": "parsl.executors.ray",
    "TaskVineExecutor": "parsl.executors.taskvine.executor",
    "TaskVineFactoryConfig": "parsl.executors.taskvine.factory_config",
    "TaskVineManagerConfig": "parsl.executors.taskvine.manager_config",
    "ThreadPoolExecutor": "parsl.executors.threads",
    "WorkQueueExecutor": "parsl.executors.workqueue.executor",
}

__all__ = [
    "DaskExecutor",
    "FluxExecutor",
    "FuturesExecutor",
    "GlobusComputeExecutor",
    "HighThroughputExecutor",
    "MPIExecutor",
    "RadicalPilotExecutor",
    "RayExecutor",
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
