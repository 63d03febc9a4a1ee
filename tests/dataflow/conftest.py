"""A kernel on threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl.dataflow.dflow import DataFlowKernel
from tests.kernels import loaded


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[DataFlowKernel]:
    with loaded(tmp_path / "runs") as kernel:
        yield kernel
