"""The contract of executors on TaskVineExecutor, with the real library and real workers; and Work Queue's coprocess.

Run by `test_service.py` under the Python for which the library is built.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import psutil
import pytest

from parsl.executors.errors import EngineWorkerLost
from parsl.executors.taskvine import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.executors.taskvine.errors import TaskVineTaskFailure
from parsl.executors.workqueue import WorkQueueExecutor
from parsl.providers import LocalProvider
from tests.executors.cctools_services import fill, hog
from tests.executors.contract import PATIENCE, ExecutorContract, Held, add, fail, hold

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


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., TaskVineExecutor]]:
    """Give a function that starts an executor without a kernel."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> TaskVineExecutor:
            executor = stack.enter_context(TaskVineExecutor(**options))
            executor.run_dir = str(tmp_path / "runs")
            executor.start()
            return executor

        yield start


class TestLimits:
    @pytest.mark.skipif(shutil.which("resource_monitor") is None, reason="no resource_monitor")
    @pytest.mark.parametrize(("function", "limit"), [(hog, "memory"), (fill, "disk")])
    def test_a_task_that_takes_more_than_it_was_given_is_ended(
        self, started: Any, tmp_path: Path, function: Any, limit: str
    ) -> None:
        config = TaskVineManagerConfig(port=0, autolabel=True)
        executor = started(manager_config=config, factory_config=factory(tmp_path / "worker"))
        given = {"cores": 1, "memory": 200, "disk": 200, limit: 80}
        with pytest.raises(TaskVineTaskFailure, match=rf"RESOURCE_EXHAUSTION\): {limit} \(limit 80\)"):
            executor.submit(function, given, 150).result(timeout=PATIENCE)


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


@contextlib.contextmanager
def worker_of(executor: TaskVineExecutor, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = ["vine_worker", "--cores=1", f"--workspace={folder}", "127.0.0.1", str(executor._port)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield worker
    finally:
        if worker.poll() is None:
            left = psutil.Process(worker.pid).children(recursive=True)
            worker.kill()
            worker.wait()
            end(left)


class TestLostWorker:
    def test_one_that_says_nothing_any_more_is_given_up(self, started: Any, tmp_path: Path) -> None:
        tune: dict[str, float] = {"keepalive-interval": 1, "keepalive-timeout": 4}
        config = TaskVineManagerConfig(port=0, max_retries=3, tune_parameters=tune)
        executor = started(manager_config=config, worker_launch_method="manual")
        held = Held(tmp_path, "held")
        task = executor.submit(hold, {}, held.path)
        with worker_of(executor, tmp_path / "first") as first:
            held.wait()
            left = psutil.Process(first.pid).children(recursive=True)
            # Its server for transfers lives on, and keeps the connection to the manager open.
            first.kill()
            with worker_of(executor, tmp_path / "second"):
                assert held.begun(PATIENCE)
                end(left)
                held.release()
                assert task.result(timeout=PATIENCE) == "released"
        held.close()


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
