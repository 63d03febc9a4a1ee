"""WorkQueueExecutor without the library: its parameters, and the commands that it makes of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors import WorkQueueExecutor
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.workqueue.errors import WorkQueueTaskFailure
from parsl.providers import LocalProvider


def test_it_is_imported_without_the_library_and_missed_at_the_start(tmp_path: Path) -> None:
    executor = WorkQueueExecutor()
    executor.modules = ("no_such.work_queue", "no_such_work_queue")
    executor.run_dir = str(tmp_path)
    with pytest.raises(OptionalModuleMissing, match=r"no_such_work_queue.*ndcctools"):
        executor.start()
    assert not executor.in_use


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, "work_queue_worker 127.0.0.1 9999"),
        ({"worker_options": "--cores 4"}, "work_queue_worker --cores 4 127.0.0.1 9999"),
        ({"address": "login1"}, "work_queue_worker login1 9999"),
        ({"project_name": "my run"}, "work_queue_worker -M 'my run'"),
        ({"project_name": "run", "address": "login1"}, "work_queue_worker login1 9999"),
        (
            {"project_password_file": "/home/me/pass word"},
            "work_queue_worker --password '/home/me/pass word' 127.0.0.1 9999",
        ),
        ({"worker_executable": "srun work_queue_worker"}, "srun work_queue_worker 127.0.0.1 9999"),
    ],
)
def test_the_command_of_a_block(options: dict[str, Any], command: str) -> None:
    executor = WorkQueueExecutor(**options)
    executor._port = 9999
    assert executor._get_launch_command("3") == f"PARSL_WORKER_BLOCK_ID=3 {command}"


def test_a_coprocess_is_a_program_that_workers_start(tmp_path: Path) -> None:
    executor = WorkQueueExecutor(label="wq", coprocess=True)
    executor.run_dir = str(tmp_path)
    (tmp_path / "wq").mkdir()
    executor.initialize_scaling()
    program = tmp_path / "wq" / "coprocess"
    assert f"--coprocess {program}" in executor._get_launch_command("0")
    assert program.read_text().endswith("-m parsl.executors.cctools_server --coprocess\n")
    assert os.access(program, os.X_OK)


def test_losses_and_failures_are_told_apart() -> None:
    executor = WorkQueueExecutor(label="wq")
    lost = executor._task_failure("its worker was lost", 0, lost=True)
    assert isinstance(lost, WorkQueueTaskFailure)
    assert isinstance(lost, EngineWorkerLost)
    assert str(lost) == "Task failure due to loss of a worker of executor wq: its worker was lost"
    failed = executor._task_failure("it used too much", 3, lost=False)
    assert not isinstance(failed, EngineWorkerLost)
    assert str(failed) == "Work Queue could not run the task: it used too much"


def test_values_that_do_not_go_together() -> None:
    with pytest.raises(ConfigurationError, match="shared_fs and pack"):
        WorkQueueExecutor(shared_fs=True, pack=True)


def test_packing_needs_poncho(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionalModuleMissing, match="poncho_package_run"):
        WorkQueueExecutor(pack=True)._engine_options()


def test_autolabel_needs_the_monitor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionalModuleMissing, match="resource_monitor"):
        WorkQueueExecutor(autolabel=True)._engine_options()


def test_it_scales_by_the_cores_of_a_worker() -> None:
    executor = WorkQueueExecutor(provider=LocalProvider(max_blocks=0), scaling_cores_per_worker=8)
    assert executor.workers_per_node == 8
    assert executor.outstanding() == 0


def test_wrong_types_name_the_parameter() -> None:
    with pytest.raises(TypeError, match="autolabel"):
        WorkQueueExecutor(autolabel="yes")  # type: ignore[arg-type]


def test_its_representation_reads_like_the_call() -> None:
    assert repr(WorkQueueExecutor(label="x", shared_fs=True)).startswith("WorkQueueExecutor(")
