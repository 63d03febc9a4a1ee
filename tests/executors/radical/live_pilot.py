"""The contract, and what is RADICAL's own, on one local pilot; run by test_radical.py in a Python that has it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from parsl import bash_app
from parsl.app.errors import AppTimeout
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.radical import RadicalPilotExecutor, ResourceConfig
from tests.executors.contract import PATIENCE, ExecutorContract, Held, add, hold

pytestmark = [
    pytest.mark.services,
    pytest.mark.leaks_ok("RADICAL-Pilot's own threads, sockets and logs outlive its session"),
]

START = 200.0
"""Seconds that a pilot takes at most to run something: 15 on a machine of its own."""

MPI = os.environ.get("RADICAL_WORKER") == "MPIWorker"


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    settings = ResourceConfig()
    settings.worker_type = "MPIWorker" if MPI else "DefaultWorker"
    settings.worker_cores_per_node = 3 if MPI else 2
    executor = RadicalPilotExecutor("local.localhost", rpex_cfg=settings, bulk_mode=MPI, cores=6, runtime=10)
    kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path_factory.mktemp("runs")), strategy="none"))
    session = executor._pilot._session.uid
    try:
        # The pilot's start counts for no single test: it is hundreds of programs, one after another.
        ExecutorContract().call(kernel, add, 1).result(timeout=START)
        yield kernel
    finally:
        kernel.cleanup()
    assert [p.info for p in processes_of(session)] == []


class TestContract(ExecutorContract):
    CANCELS = False
    LOST = EngineWorkerLost
    SPECIFICATION: ClassVar[dict[str, Any]] = {"ranks": 1}
    # On a busy machine RADICAL takes a second for a call; in bulk mode its courier sees many at once all the same.
    TASKS = 16
    LINKS = 5
    # RADICAL carries two megabytes a second.
    BYTES = 4_000_000

    @pytest.fixture
    def executor(self, pilot: DataFlowKernel) -> Any:
        return pilot.executors["RPEX"]

    @pytest.fixture
    def kernel(self, pilot: DataFlowKernel) -> DataFlowKernel:
        return pilot

    # A pilot takes half a minute to start, so all share one; how it ends is seen at the end of the module.
    test_shutdown_twice_and_a_call_after_it = None
    test_tasks_that_are_open_at_the_end_are_told = None
    if MPI:
        # One rank's death is that of the worker, and so of all functions.
        test_a_lost_worker_costs_the_task_and_no_other = None


def rank(comm: Any = None) -> tuple[int, int]:
    return comm.rank, comm.size


def test_a_function_on_several_ranks(pilot: DataFlowKernel) -> None:
    shape = {"ranks": 2}
    future = ExecutorContract().call(pilot, rank, comm=None, parsl_resource_specification=shape)
    if MPI:
        assert future.result(timeout=PATIENCE) == [(0, 2), (1, 2)]
    else:
        assert isinstance(future.exception(timeout=PATIENCE), InvalidResourceSpecification)


def test_an_executable_on_several_ranks(pilot: DataFlowKernel, tmp_path: Path) -> None:
    run = bash_app(lambda stdout=None: "echo of $RP_RANKS", data_flow_kernel=pilot)
    out = tmp_path / "out"
    assert run(stdout=str(out), parsl_resource_specification={"ranks": 2}).result(timeout=PATIENCE) == 0
    assert out.read_text() == "of 2\n" * 2


def test_a_walltime_of_an_executable(pilot: DataFlowKernel) -> None:
    run = bash_app(lambda: "sleep 60", data_flow_kernel=pilot)
    assert isinstance(run(walltime=1).exception(timeout=PATIENCE), AppTimeout)


def end_worker() -> None:
    os.abort()


def processes_of(word: str) -> list[psutil.Process]:
    """Return the processes that have a word in their command or are in a folder of that name, but not this one."""
    return [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.pid != os.getpid() and word in str(p.info)]


# Nothing runs after one of the last two.


@pytest.mark.skipif(not MPI, reason="other workers run each function in a process of its own")
def test_the_death_of_an_mpi_worker_is_told(pilot: DataFlowKernel) -> None:
    error = ExecutorContract().call(pilot, end_worker).exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost), repr(error)
    error = ExecutorContract().call(pilot, add, 1).exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost)


@pytest.mark.skipif(MPI, reason="the pilot has just lost its worker")
def test_the_death_of_the_pilot_is_told_and_the_script_lives(pilot: DataFlowKernel, tmp_path: Path) -> None:
    held = Held(tmp_path, "held")
    running = ExecutorContract().call(pilot, hold, held.path)
    held.wait()
    session = pilot.executors["RPEX"]._pilot._session.uid
    for process in processes_of(f"{session}/pilot.0000"):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    error = running.exception(timeout=PATIENCE)
    assert isinstance(error, EngineWorkerLost), repr(error)
    assert "its logs are in" in str(error)
    assert isinstance(ExecutorContract().call(pilot, add, 1).exception(timeout=PATIENCE), EngineWorkerLost)
    held.close()
