"""TaskVineExecutor without the library: its parameters, and the commands that it makes of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.taskvine.errors import TaskVineFactoryFailure, TaskVineTaskFailure
from parsl.providers import LocalProvider


def made(tmp_path: Path, **options: Any) -> TaskVineExecutor:
    executor = TaskVineExecutor(**options)
    executor.run_dir = str(tmp_path)
    executor._port = 9999
    return executor


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program called vine_worker on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "vine_worker").write_text("#!/bin/sh\n")
    (folder / "vine_worker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_it_is_imported_without_the_library_and_missed_at_the_start(tmp_path: Path) -> None:
    executor = made(tmp_path)
    executor.modules = ("no_such.taskvine",)
    with pytest.raises(OptionalModuleMissing, match=r"no_such\.taskvine.*ndcctools"):
        executor.start()
    assert not executor.in_use


def test_the_command_of_a_factory(tmp_path: Path, programs: Path) -> None:
    config = TaskVineFactoryConfig(min_workers=2, max_workers=5, cores=4, worker_options="--feature big")
    words = made(tmp_path, factory_config=config)._factory_command()
    assert words[0] == "vine_factory"
    assert words[-2:] == ["127.0.0.1", "9999"]
    assert {"--batch-type=local", "--min-workers=2", "--max-workers=5", "--cores=4"} <= set(words)
    assert f"--worker-binary={programs}/vine_worker" in words
    assert "--extra-options=--feature big --parent-death" in words
    assert not any(w.startswith(("--memory", "--gpus", "--password", "--batch-options")) for w in words)


def test_a_factory_elsewhere_finds_the_manager_by_its_name(tmp_path: Path, programs: Path) -> None:
    manager = TaskVineManagerConfig(project_name="mine", project_password_file="secret")
    config = TaskVineFactoryConfig(batch_type="condor", condor_requirements="HasBig")
    words = made(tmp_path, manager_config=manager, factory_config=config)._factory_command()
    assert words[-1] == "--manager-name=mine"
    assert f"--password={os.path.abspath('secret')}" in words
    assert "--condor-requirements=HasBig" in words
    assert not any("--parent-death" in w for w in words[2:])


def test_a_worker_that_is_not_there_is_told(tmp_path: Path, programs: Path) -> None:
    config = TaskVineFactoryConfig(worker_executable="other_worker")
    with pytest.raises(TaskVineFactoryFailure, match=r"'other_worker' .* is not on the PATH"):
        made(tmp_path, factory_config=config)._factory_command()


def test_a_factory_that_is_not_there_is_told(tmp_path: Path, programs: Path) -> None:
    executor = made(tmp_path)
    os.makedirs(executor.logdir)
    with pytest.raises(TaskVineFactoryFailure, match="could not be started"):
        executor._start_factory()
    executor._stop_workers()


def test_the_command_of_a_block(tmp_path: Path) -> None:
    executor = made(
        tmp_path,
        worker_launch_method="provider",
        provider=LocalProvider(),
        factory_config=TaskVineFactoryConfig(cores=4, memory=100, worker_options="--feature big"),
    )
    command = "vine_worker --cores=4 --memory=100 --timeout=300 --feature big 127.0.0.1 9999"
    assert executor._get_launch_command("3") == f"PARSL_WORKER_BLOCK_ID=3 {command}"
    assert executor.workers_per_node == 4


@pytest.mark.parametrize("method", ["factory", "manual"])
def test_blocks_are_asked_for_with_a_provider_alone(tmp_path: Path, method: str) -> None:
    executor = made(tmp_path, worker_launch_method=method, provider=LocalProvider())
    assert executor.provider is None
    assert executor.status_polling_interval == 0


@pytest.mark.parametrize(
    "options",
    [
        {"worker_launch_method": "magic"},
        {"function_exec_mode": "fast"},
        {"manager_config": TaskVineManagerConfig(autolabel_algorithm="guess")},
    ],
)
def test_values_that_are_not_known(options: dict[str, Any]) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        TaskVineExecutor(**options)


def test_the_manager_s_options(tmp_path: Path) -> None:
    config = TaskVineManagerConfig(wait_for_workers=3, tune_parameters={"hungry-minimum": 5}, vine_log_dir="logs")
    options = made(tmp_path, manager_config=config, function_exec_mode="serverless")._engine_options()
    assert options["tune"] == {"hungry-minimum": 5, "wait-for-workers": 3}
    assert options["log_folder"] == os.path.abspath("logs")
    assert options["serverless"] is True


def test_packing_needs_poncho(tmp_path: Path, programs: Path) -> None:
    for config in (TaskVineManagerConfig(app_pack=True), TaskVineManagerConfig(env_pack="some-environment")):
        with pytest.raises(OptionalModuleMissing, match="poncho_package_run"):
            made(tmp_path, manager_config=config)._engine_options()


def test_losses_and_failures_are_told_apart(tmp_path: Path) -> None:
    executor = made(tmp_path)
    lost = executor._task_failure("its worker was lost", 0, lost=True)
    assert isinstance(lost, TaskVineTaskFailure)
    assert isinstance(lost, EngineWorkerLost)
    assert not isinstance(executor._task_failure("too much", 0, lost=False), EngineWorkerLost)


def test_its_representation_reads_like_the_call() -> None:
    assert repr(TaskVineExecutor(label="x")).startswith("TaskVineExecutor(")
