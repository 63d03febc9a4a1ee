"""A kernel on threads, and what holds its tasks up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl.dataflow.dflow import DataFlowKernel
from tests.kernels import loaded


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[DataFlowKernel]:
    with loaded(tmp_path / "runs") as kernel:
        yield kernel


@pytest.fixture
def gate(kernel: DataFlowKernel) -> Iterator[threading.Event]:
    """An event that tasks wait for; set at the end, so that no task outlives its test for long."""
    event = threading.Event()
    yield event
    event.set()
