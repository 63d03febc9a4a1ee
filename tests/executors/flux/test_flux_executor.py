"""The Flux executor, on a stand-in for Flux: a command `flux`, and a module `flux.job` whose jobs are processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import ConfigurationError
from parsl.executors.errors import EngineWorkerLost, ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.flux.executor import FluxExecutor, FluxFutureWrapper
from parsl.providers import LocalProvider
from tests.executors.contract import PATIENCE, ExecutorContract, Held, add, fail, hold

FAKE = Path(__file__).parent / "fake"


@pytest.fixture
def flux_path(tmp_path: Path) -> str:
    path = tmp_path / "bin" / "flux"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE / "flux_command.py"} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def executor(flux_path: str, tmp_path: Path) -> FluxExecutor:
    made = FluxExecutor(flux_path=flux_path, provider=LocalProvider())
    made.run_dir = str(tmp_path / "run")
    return made


@pytest.mark.slow
class TestContract(ExecutorContract):
    LOST = EngineWorkerLost
    SPECIFICATION: ClassVar = {"num_tasks": 1, "cores_per_task": 2, "gpus_per_task": 0, "num_nodes": 1}
    # Each is a process that starts Python.
    TASKS = 20


@pytest.fixture
def kernel(executor: FluxExecutor, tmp_path: Path) -> Iterator[DataFlowKernel]:
    kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
    yield kernel
    kernel.cleanup()


def call(kernel: DataFlowKernel, function: Any, *args: Any, **kwargs: Any) -> Any:
    return python_app(function, data_flow_kernel=kernel)(*args, **kwargs)


# -- what a call asks for ----------------------------------------------------------------------------------------------


def ranks() -> tuple[str, str, str]:
    return tuple(os.environ[f"FLUX_{name}"] for name in ("TASK_RANK", "JOB_SIZE", "JOB_NNODES"))  # type: ignore[return-value]


def fail_on(rank: str) -> str:
    if os.environ["FLUX_TASK_RANK"] == rank:
        raise ValueError(f"rank {rank}")
    return "fine"


def test_each_rank_makes_the_call(kernel: DataFlowKernel) -> None:
    shape = {"num_tasks": 2, "num_nodes": 2}
    assert call(kernel, ranks, parsl_resource_specification=shape).result(timeout=PATIENCE) == ("0", "2", "2")
    error = call(kernel, fail_on, "1", parsl_resource_specification=shape).exception(timeout=PATIENCE)
    assert (type(error), str(error)) == (ValueError, "rank 1")
    error = call(kernel, fail_on, "0", parsl_resource_specification=shape).exception(timeout=PATIENCE)
    assert str(error) == "rank 0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_tasks": 0},
        {"cores_per_task": 1.5},
        {"gpus_per_task": -1},
        {"num_nodes": "1"},
        {"num_tasks": True},
        {"x": 1},
    ],
)
def test_a_wrong_specification(executor: FluxExecutor, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidResourceSpecification, match=f"{[*wrong]!r}".replace("[", r"\[").replace("]", r"\]")):
        executor._check_resources(wrong)


def test_what_flux_refuses_is_the_error_of_that_task(kernel: DataFlowKernel) -> None:
    error = call(kernel, add, 1, parsl_resource_specification={"cores_per_task": 99}).exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost)
    assert "unsatisfiable request" in str(error)
    error = call(kernel, add, 1, parsl_resource_specification={"num_nodes": 9}).exception(timeout=PATIENCE)
    assert "Flux did not take the job: ValueError: node count must not be greater" in str(error)
    assert call(kernel, add, 1).result(timeout=PATIENCE) == 1


def print_and_end() -> None:
    print("last words", flush=True)
    os._exit(3)


def test_the_last_words_of_a_job_are_told(kernel: DataFlowKernel) -> None:
    error = call(kernel, print_and_end).exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost)
    assert "the job ended with exit code 3; it printed:\nlast words" in str(error)


def test_files_of_jobs_are_gone_once_they_have_ended(flux_path: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    executor = FluxExecutor(flux_path=flux_path, working_dir=str(folder))
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
        assert call(kernel, add, 1).result(timeout=PATIENCE) == 1
        assert isinstance(call(kernel, fail, 1).exception(timeout=PATIENCE), Exception)
        assert folder.is_dir()
    assert list(folder.iterdir()) == []


# -- without a kernel --------------------------------------------------------------------------------------------------


def test_futures_without_a_kernel(executor: FluxExecutor, tmp_path: Path) -> None:
    held = [Held(tmp_path, f"held{i}") for i in range(2)]
    with pytest.raises(ExecutorShutDownError):
        executor.submit(add, {}, 1)
    executor.start()
    with executor:
        running = [executor.submit(hold, {}, h.path) for h in held]
        assert all(isinstance(f, FluxFutureWrapper) for f in running)
        for h in held:
            h.wait()
        waiting = executor.submit(add, {}, 1)
        assert running[0].running()
        assert not running[0].cancel()
        assert not waiting.running()
        assert waiting.cancel()
        assert waiting.cancel()
        with pytest.raises(CancelledError):
            waiting.result(timeout=PATIENCE)
        for h in held:
            h.release()
        assert [f.result(timeout=PATIENCE) for f in running] == ["released"] * 2
        assert not running[0].cancel()
        assert not running[0].running()
    for h in held:
        h.close()


# -- trouble with the instance -----------------------------------------------------------------------------------------


def parent() -> int:
    return os.getppid()


def test_a_lost_instance_ends_all_tasks_and_is_said_so(kernel: DataFlowKernel, tmp_path: Path) -> None:
    held = Held(tmp_path, "held")
    instance = call(kernel, parent).result(timeout=PATIENCE)
    running = call(kernel, hold, held.path)
    held.wait()
    os.kill(instance, signal.SIGKILL)
    error = running.exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost)
    assert "the connection to the Flux instance broke" in str(error)
    later = call(kernel, add, 1).exception(timeout=PATIENCE)
    assert isinstance(later, EngineWorkerLost)
    held.release()
    held.close()


def test_a_block_that_ends_at_once(executor: FluxExecutor, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_FLUX_BROKEN", "1")
    executor.provider.status_polling_interval = 1
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
        error = call(kernel, add, 1).exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost)
    assert "the block with the Flux instance has ended" in str(error)
    assert "flux-broker: boot failed" in str(error)


def test_a_python_without_flux(executor: FluxExecutor, tmp_path: Path) -> None:
    executor.launch_cmd = "{python} {manager} {protocol} {hostname} {port}"
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
        error = call(kernel, add, 1).exception(timeout=PATIENCE)
    assert "cannot import flux.job" in str(error)
    assert "install flux-python" in str(error)


def test_no_instance_to_connect_to(executor: FluxExecutor, tmp_path: Path) -> None:
    # The module is there, but no broker.
    executor.launch_cmd = f"PYTHONPATH={FAKE} {{python}} {{manager}} {{protocol}} {{hostname}} {{port}}"
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
        error = call(kernel, add, 1).exception(timeout=PATIENCE)
    assert "Flux could not be reached: FileNotFoundError" in str(error)


def test_arguments_for_flux(flux_path: str, tmp_path: Path) -> None:
    for kwargs, text in [({"threads": 2}, ""), ({"no_such": 1}, "unexpected keyword argument 'no_such'")]:
        executor = FluxExecutor(flux_path=flux_path, flux_executor_kwargs=kwargs)
        with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
            future = call(kernel, add, 1)
            if text:
                assert text in str(future.exception(timeout=PATIENCE))
            else:
                assert future.result(timeout=PATIENCE) == 1


def test_strangers_on_the_port_change_nothing(kernel: DataFlowKernel, executor: FluxExecutor) -> None:
    import socket

    assert call(kernel, add, 1).result(timeout=PATIENCE) == 1
    assert executor._block is not None
    assert executor._block._socket is not None
    endpoint = executor.loop.call(lambda: executor._block._socket.last_endpoint)  # type: ignore[union-attr]
    port = int(endpoint.decode().rpartition(":")[2].strip("\0"))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10)
    # Longer than a broken connection is looked at.
    looked = threading.Event()
    executor.loop.post(executor.loop.call_later, 1.0, looked.set)  # type: ignore[union-attr]
    assert looked.wait(PATIENCE)
    assert call(kernel, add, 2).result(timeout=PATIENCE) == 2


# -- the command of the block ------------------------------------------------------------------------------------------


def test_no_flux_command(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="there is no `flux` command on PATH"):
        FluxExecutor().start()


@pytest.mark.parametrize("command", ["{flux} {nonsense}", "{flux} {", "{} start"])
def test_a_launch_command_that_cannot_be_filled_in(flux_path: str, command: str) -> None:
    with pytest.raises(ConfigurationError, match="'launch_cmd' cannot be filled in"):
        FluxExecutor(flux_path=flux_path, launch_cmd=command).start()


def test_the_default_command_is_kept(flux_path: str) -> None:
    executor = FluxExecutor(flux_path=flux_path)
    assert executor.launch_cmd == FluxExecutor.DEFAULT_LAUNCH_CMD
    assert executor._command().startswith(f"{flux_path} start {sys.executable} {{manager}} {{protocol}}")


def test_a_provider_that_has_no_block(flux_path: str, tmp_path: Path, monkeypatch: Any) -> None:
    provider = LocalProvider()
    monkeypatch.setattr(provider, "submit", lambda *_: 1 / 0)
    executor = FluxExecutor(flux_path=flux_path, provider=provider)
    executor.run_dir = str(tmp_path)
    with pytest.raises(ZeroDivisionError):
        executor.start()
    executor.shutdown()


def test_a_kernel_that_scales_leaves_the_one_block_alone(executor: FluxExecutor, tmp_path: Path) -> None:
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="simple")) as kernel:
        assert [call(kernel, add, i).result(timeout=PATIENCE) for i in range(3)] == [0, 1, 2]
        assert len(executor.provider.resources) == 1
