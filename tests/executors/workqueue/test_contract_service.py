"""The contract of executors on WorkQueueExecutor, with the real library and real workers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from parsl.executors.errors import EngineWorkerLost
from parsl.executors.workqueue.errors import WorkQueueTaskFailure
from parsl.executors.workqueue.executor import WorkQueueExecutor
from parsl.providers import LocalProvider
from tests.executors.contract import ExecutorContract

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("library")]


def two_slots(folder: Path) -> str:
    """Return worker options for two slots, with all files of the worker in a folder."""
    return f"--cores 2 --memory 1000 --disk 1000 --workdir {folder}"


class TestWorkQueue(ExecutorContract):
    LOST = EngineWorkerLost
    # A task that does not say what it needs gets a whole worker.
    SLOTS = 1
    SPECIFICATION: ClassVar = {"cores": 1, "memory": 100, "disk": 100, "running_time_min": 0, "priority": 2.5}

    @pytest.fixture
    def executor(self, tmp_path: Path) -> WorkQueueExecutor:
        (tmp_path / "worker").mkdir()
        return WorkQueueExecutor(provider=LocalProvider(), worker_options=two_slots(tmp_path / "worker"))

    def test_its_losses_are_both_kinds_of_error(self) -> None:
        from parsl.executors.workqueue.errors import WorkQueueWorkerLost

        assert issubclass(WorkQueueWorkerLost, WorkQueueTaskFailure)
        assert issubclass(WorkQueueWorkerLost, EngineWorkerLost)
