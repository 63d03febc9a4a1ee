"""Kernels on threads, for tests of what runs on any executor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.executors.threads import ThreadPoolExecutor

SOON = 10.0
"""Seconds that nothing takes, unless it is broken."""


def threads_config(folder: object, **options: Any) -> Config:
    """Make a configuration with one thread pool of four and all files in `folder`."""
    options.setdefault("executors", [ThreadPoolExecutor(label="threads", max_threads=4)])
    return Config(run_dir=str(folder), strategy="none", **options)


@contextlib.contextmanager
def loaded(folder: object, **options: Any) -> Iterator[DataFlowKernel]:
    """Load such a kernel, and clean it up at the end."""
    kernel = DataFlowKernelLoader.load(threads_config(folder, **options))
    try:
        yield kernel
    finally:
        kernel.cleanup()
