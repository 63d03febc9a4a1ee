"""The contract of executors on HighThroughputExecutor."""

from __future__ import annotations

from typing import ClassVar

import pytest

from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.errors import WorkerLost
from tests.executors.contract import ExecutorContract
from tests.live.pilot import htex


class TestHighThroughput(ExecutorContract):
    LOST = WorkerLost
    SPECIFICATION: ClassVar = {"priority": 3}

    @pytest.fixture
    def executor(self) -> HighThroughputExecutor:
        return htex()
