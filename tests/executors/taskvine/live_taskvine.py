"""The contract of executors on TaskVineExecutor, with the real library and real workers; and Work Queue's coprocess.

Run by `test_service.py` under the Python for which the library is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pytest

from parsl.executors.errors import EngineWorkerLost
from parsl.executors.taskvine import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.executors.workqueue import WorkQueueExecutor
from parsl.providers import LocalProvider
from tests.executors.contract import PATIENCE, ExecutorContract, add, fail

pytestmark = pytest.mark.services


def factory(folder: Path) -> TaskVineFactoryConfig:
    folder.mkdir()
    options = f"--workspace {folder}/workspace"
    return TaskVineFactoryConfig(cores=2, memory=1000, disk=1000, worker_options=options)


class TestFactory(ExecutorContract):
    LOST = EngineWorkerLost
    # A task that does not say what it needs gets a whole worker.
    SLOTS = 1
    SPECIFICATION: ClassVar = {"cores": 1, "memory": 100, "disk": 100, "running_time_min": 0, "priority": 2.5}

    @pytest.fixture
    def executor(self, tmp_path: Path) -> TaskVineExecutor:
        return TaskVineExecutor(
            manager_config=TaskVineManagerConfig(port=0), factory_config=factory(tmp_path / "worker")
        )


class TestServerless(TestFactory):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> TaskVineExecutor:
        mode: Literal["serverless"] = "serverless"
        return TaskVineExecutor(
            function_exec_mode=mode,
            manager_config=TaskVineManagerConfig(port=0, library_config={"num_slots": 1}),
            factory_config=factory(tmp_path / "worker"),
        )


class TestProvider(TestFactory):
    # What many tasks meet is the same as above.
    TASKS = 100

    @pytest.fixture
    def executor(self, tmp_path: Path) -> TaskVineExecutor:
        return TaskVineExecutor(
            worker_launch_method="provider",
            provider=LocalProvider(),
            manager_config=TaskVineManagerConfig(port=0, shared_fs=True),
            factory_config=factory(tmp_path / "worker"),
        )


class TestCoprocess:
    """Work Queue of the same release, which has coprocesses; the one that other tests use has none."""

    def test_calls_are_made_by_a_process_that_stays_on_the_worker(self, tmp_path: Path) -> None:
        options = f"--cores 2 --memory 1000 --disk 1000 --workdir {tmp_path}"
        with WorkQueueExecutor(coprocess=True, worker_options=options) as executor:
            executor.run_dir = str(tmp_path / "runs")
            executor.start()
            executor.scale_out_facade(1)
            assert executor.submit(add, {}, 1, 2).result(timeout=PATIENCE) == 3
            assert executor.submit(add, {}, 3, 4).result(timeout=PATIENCE) == 7
            error = executor.submit(fail, {}, 5).exception(timeout=PATIENCE)
            assert type(error).__name__ == "RememberedError"
