"""FuturesExecutor on pools of others that speak `concurrent.futures`: loky, executorlib, mpi4py."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.futures import FuturesExecutor
from tests.cloud_services import service
from tests.executors.contract import PATIENCE, ExecutorContract, add, end_worker

pytestmark = pytest.mark.leaks_ok("these libraries keep processes, threads and semaphores until the program ends")

ROOT = Path(__file__).parents[2]


class TestLoky(ExecutorContract):
    LOST = EngineWorkerLost

    @pytest.fixture
    def executor(self) -> FuturesExecutor:
        loky = pytest.importorskip("loky", reason="needs the extra 'services'")
        return FuturesExecutor(functools.partial(loky.ProcessPoolExecutor, max_workers=2), label="loky")


class TestExecutorlib(ExecutorContract):
    # A cancelled future ends the thread with which executorlib 1.11 serves all, so none is cancelled here.
    CANCELS = False
    TASKS = 50

    @pytest.fixture
    def executor(self) -> FuturesExecutor:
        executorlib = pytest.importorskip("executorlib", reason="needs the extra 'services'")
        make = functools.partial(executorlib.SingleNodeExecutor, max_workers=2, block_allocation=True)
        return FuturesExecutor(make, label="executorlib", resource_keyword="resource_dict")

    def test_a_resource_specification(self, kernel: DataFlowKernel) -> None:
        # Keys that it does not know it takes as well.
        right = self.call(kernel, add, 1, 2, parsl_resource_specification={"cores": 1})
        assert right.result(timeout=PATIENCE) == 3

    def test_a_lost_worker_costs_the_task_and_no_other(self, kernel: DataFlowKernel) -> None:
        # Its block of workers does not replace one that has died, so nothing more is asked of it.
        error = self.call(kernel, end_worker).exception(timeout=PATIENCE)
        assert "crashed" in str(error)


@pytest.mark.services
def test_on_the_ranks_of_an_mpi_program(tmp_path: Path) -> None:
    """Run the contract in a program of three ranks, whose first submits to the others."""
    mpirun = shutil.which("mpirun.openmpi")
    if mpirun is None:
        pytest.skip("no mpirun of Open MPI")
    test = ["-m", "pytest", "-q", "-m", "services", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}"]
    file = str(Path(__file__).with_name("live_mpi_pool.py"))
    with service("mpi") as variables:
        env = {**os.environ, **variables, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [mpirun, "-n", "3", sys.executable, "-m", "mpi4py.futures", *test, file]
        ran = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
