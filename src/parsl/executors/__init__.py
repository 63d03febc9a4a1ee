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
    from parsl.executors.threads import ThreadPoolExecutor

_HOMES = {
    "DaskExecutor": "parsl.executors.dask",
    "FluxExecutor": "parsl.executors.flux.executor",
    "FuturesExecutor": "parsl.executors.futures",
    "GlobusComputeExecutor": "parsl.executors.globus_compute",
    "HighThroughputExecutor": "parsl.executors.high_throughput.executor",
    "MPIExecutor": "parsl.executors.high_throughput.mpi_executor",
    "RadicalPilotExecutor": "parsl.executors.radical.executor",
    "RayExecutor": "parsl.executors.ray",
    "ThreadPoolExecutor": "parsl.executors.threads",
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
    "ThreadPoolExecutor",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    return getattr(importlib.import_module(home), name)
