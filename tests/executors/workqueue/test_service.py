"""What WorkQueueExecutor alone promises, with the real library and real workers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.cctools_manager import KEEPALIVE
from parsl.executors.workqueue.errors import WorkQueueFailure, WorkQueueTaskFailure, WorkQueueWorkerLost
from parsl.executors.workqueue.executor import WorkQueueExecutor
from parsl.providers import LocalProvider
from tests.executors.cctools_services import fill, hog
from tests.executors.contract import PATIENCE, Held, add, hold

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("library")]


def nothing(after: Any = None) -> None:
    pass


def variable(name: str) -> str | None:
    import os

    return os.environ.get(name)


def spin() -> None:
    while True:
        pass


def end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker as the end of its node would: without a word, and with its tasks."""
    if worker.poll() is not None:
        return
    processes = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    worker.wait()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


class Made:
    """Makes executors with a worker of this machine, or none, and starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executors: list[WorkQueueExecutor] = []

    def __call__(self, **options: Any) -> WorkQueueExecutor:
        (self.folder / "worker").mkdir(exist_ok=True)
        words = "--cores 2 --memory 1000 --disk 1000 --workdir " + str(self.folder / "worker")
        provider = LocalProvider(init_blocks=options.pop("blocks", 1))
        executor = options.pop("kind", WorkQueueExecutor)(
            label="wq", provider=provider, worker_options=f"{words} {options.pop('words', '')}", **options
        )
        executor.run_dir = str(self.folder / "runs")
        executor.start()
        self.executors.append(executor)
        executor.scale_out_facade(provider.init_blocks)
        return executor


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path)
    yield made
    for executor in made.executors:
        executor.shutdown()


def test_a_chained_task_takes_less_than_50_ms_a_link(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    executor = WorkQueueExecutor(worker_options=f"--cores 2 --memory 1000 --disk 1000 --workdir {tmp_path}/worker")
    kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
    try:
        app = python_app(nothing, data_flow_kernel=kernel)

        def chain(links: int) -> float:
            began = time.perf_counter()
            future: Any = None
            for _ in range(links):
                future = app(future)
            future.result(timeout=PATIENCE)
            return (time.perf_counter() - began) / links

        # The first tasks start their Python themselves; and others use this machine too: the best of some counts.
        chain(10)
        assert min(chain(10) for _ in range(5)) < 0.05
    finally:
        kernel.cleanup()


def test_limits_and_variables(made: Made) -> None:
    executor = made(env={"OF_THE_TASK": "yes"}, init_command="export OF_THE_COMMAND=yes")
    futures = [executor.submit(variable, {}, name) for name in ("OF_THE_TASK", "OF_THE_COMMAND")]
    assert [f.result(timeout=PATIENCE) for f in futures] == ["yes", "yes"]
    limits = {"cores": 1, "memory": 10, "disk": 10, "running_time_max": 1}
    with pytest.raises(WorkQueueTaskFailure, match=r"running_time_max \(MAX_WALL_TIME\)"):
        executor.submit(spin, limits).result(timeout=PATIENCE)


@pytest.mark.skipif(shutil.which("resource_monitor") is None, reason="no resource_monitor")
def test_autolabel_names_the_resource_that_was_exceeded(made: Made) -> None:
    executor = made(autolabel=True, autolabel_window=1)

    limits = {"cores": 1, "memory": 100, "disk": 10, "running_time_max": 1}
    with pytest.raises(WorkQueueTaskFailure, match=r"RESOURCE_EXHAUSTION.*wall_time"):
        executor.submit(spin, limits).result(timeout=PATIENCE)


@pytest.mark.skipif(shutil.which("resource_monitor") is None, reason="no resource_monitor")
@pytest.mark.parametrize(("function", "limit"), [(hog, "memory"), (fill, "disk")])
def test_a_task_that_takes_more_than_it_was_given_is_ended(made: Made, function: Any, limit: str) -> None:
    executor = made(autolabel=True)
    given = {"cores": 1, "memory": 200, "disk": 200, limit: 80}
    with pytest.raises(WorkQueueTaskFailure, match=rf"RESOURCE_EXHAUSTION\): {limit} \(limit 80\)"):
        executor.submit(function, given, 150).result(timeout=PATIENCE)


@contextlib.contextmanager
def worker_of(executor: WorkQueueExecutor, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir()
    command = ["work_queue_worker", "--cores", "1", "--workdir", str(folder), "127.0.0.1", str(executor._port)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield worker
    finally:
        end(worker)


def test_a_worker_that_is_killed_alone_is_noticed_before_it_is_asked(made: Made, tmp_path: Path) -> None:
    """Its tasks live on, and have inherited its connection."""
    executor = made(blocks=0, max_retries=3)
    held = Held(tmp_path, "held")
    task = executor.submit(hold, {}, held.path)
    with worker_of(executor, tmp_path / "first") as first:
        held.wait()
        orphans = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        with worker_of(executor, tmp_path / "second"):
            # Less than the minute after which a silent worker is asked.
            assert held.begun(KEEPALIVE["keepalive-interval"] / 2)
            for process in orphans:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(orphans)
            held.release()
            assert task.result(timeout=PATIENCE) == "released"
    held.close()


class Impatient(WorkQueueExecutor):
    """Asks a silent worker after a second, and gives it up after four."""

    def _engine_options(self) -> dict[str, Any]:
        return {**super()._engine_options(), "tune": {"keepalive-interval": 1, "keepalive-timeout": 4}}


def test_a_worker_that_says_nothing_any_more_is_given_up(made: Made, tmp_path: Path) -> None:
    executor = made(kind=Impatient, blocks=0, max_retries=3)
    held = Held(tmp_path, "held")
    task = executor.submit(hold, {}, held.path)
    with worker_of(executor, tmp_path / "first") as first:
        held.wait()
        # As one whose node is cut off: its connection stays, and nothing comes.
        first.send_signal(signal.SIGSTOP)
        with worker_of(executor, tmp_path / "second"):
            assert held.begun(PATIENCE)
            end(first)
            held.release()
            assert task.result(timeout=PATIENCE) == "released"
    held.close()


def test_a_worker_that_is_killed_again_and_again_is_told(made: Made, tmp_path: Path) -> None:
    executor = made(blocks=0, max_retries=1)
    command = ["work_queue_worker", "--cores", "1", "--workdir", str(tmp_path / "worker")]
    command += ["127.0.0.1", str(executor._port)]
    held = Held(tmp_path, "held")
    task = executor.submit(hold, {}, held.path)
    workers = []
    try:
        # A worker that begins the task is killed; where it has been tried often enough, the next one is not given it.
        while not task.done():
            workers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            while not task.done() and not held.begun(0.2):
                pass
            end(workers[-1])
        with pytest.raises(WorkQueueWorkerLost, match="MAX_RETRIES"):
            task.result(timeout=PATIENCE)
        assert len(workers) <= 3
    finally:
        held.release()
        held.close()


def test_a_password_keeps_strangers_out(made: Made, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    executor = made(project_password_file=str(password))
    assert executor.submit(add, {}, 1, 2).result(timeout=PATIENCE) == 3


def test_a_port_that_is_taken_is_told(made: Made) -> None:
    with socket.create_server(("", 0)) as taken, pytest.raises(WorkQueueFailure, match="did not start"):
        made(port=taken.getsockname()[1])


@pytest.mark.skipif(shutil.which("catalog_server") is None, reason="no catalog_server")
def test_workers_find_a_project_in_the_catalogue(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    catalogue = subprocess.Popen(
        ["catalog_server", "-p", str(port), "-I", "127.0.0.1", "-n", "localhost", "-H", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CATALOG_HOST": "127.0.0.1"},
    )
    try:
        monkeypatch.setenv("CATALOG_HOST", "127.0.0.1")
        monkeypatch.setenv("CATALOG_PORT", str(port))
        executor = made(project_name="of-the-tests", words=f"-C 127.0.0.1:{port}")
        assert executor.submit(add, {}, 1, 2).result(timeout=PATIENCE) == 3
    finally:
        catalogue.terminate()
        catalogue.wait()
