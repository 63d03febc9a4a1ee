"""Parallel scripting in Python: decorated functions return futures, and run where and when they can.

The names of this package are loaded when they are first used, so that `import parsl` costs next to nothing and a
worker process loads only what it needs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from parsl.version import VERSION

if TYPE_CHECKING:
    from parsl.app.app import bash_app, join_app, python_app
    from parsl.config import Config
    from parsl.data_provider.files import File
    from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
    from parsl.executors import HighThroughputExecutor, MPIExecutor, ThreadPoolExecutor, WorkQueueExecutor
    from parsl.log_utils import set_file_logger, set_stream_logger
    from parsl.monitoring import MonitoringHub

    load = DataFlowKernelLoader.load
    clear = DataFlowKernelLoader.clear
    dfk = DataFlowKernelLoader.dfk
    wait_for_current_tasks = DataFlowKernelLoader.wait_for_current_tasks

__version__ = VERSION

AUTO_LOGNAME = -1
"""Given as `stdout` or `stderr` of an app, has the kernel choose a file in the run folder."""

_HOMES = {
    "Config": "parsl.config",
    "DataFlowKernel": "parsl.dataflow.dflow",
    "DataFlowKernelLoader": "parsl.dataflow.dflow",
    "File": "parsl.data_provider.files",
    "HighThroughputExecutor": "parsl.executors",
    "MPIExecutor": "parsl.executors",
    "MonitoringHub": "parsl.monitoring",
    "ThreadPoolExecutor": "parsl.executors",
    "WorkQueueExecutor": "parsl.executors",
    "bash_app": "parsl.app.app",
    "join_app": "parsl.app.app",
    "python_app": "parsl.app.app",
    "set_file_logger": "parsl.log_utils",
    "set_stream_logger": "parsl.log_utils",
}
_OF_THE_LOADER = frozenset({"clear", "dfk", "load", "wait_for_current_tasks"})

__all__ = [
    "AUTO_LOGNAME",
    "VERSION",
    "Config",
    "DataFlowKernel",
    "DataFlowKernelLoader",
    "File",
    "HighThroughputExecutor",
    "MPIExecutor",
    "MonitoringHub",
    "ThreadPoolExecutor",
    "WorkQueueExecutor",
    "bash_app",
    "clear",
    "dfk",
    "join_app",
    "load",
    "python_app",
    "set_file_logger",
    "set_stream_logger",
    "wait_for_current_tasks",
]

logging.getLogger("parsl").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    import importlib.util

    if name in _OF_THE_LOADER:
        found = getattr(importlib.import_module("parsl.dataflow.dflow").DataFlowKernelLoader, name)
    elif name in _HOMES:
        found = getattr(importlib.import_module(_HOMES[name]), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        # Scripts write `parsl.config.Config` after a plain `import parsl`.
        found = importlib.import_module(f"{__name__}.{name}")
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
