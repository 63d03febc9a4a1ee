"""FuturesExecutor on mpi4py's pool; started by `test_futures_others.py` under `mpirun ... -m mpi4py.futures`."""

from __future__ import annotations

import pytest
from mpi4py.futures import MPIPoolExecutor

from parsl.executors.futures import FuturesExecutor
from tests.executors.contract import ExecutorContract

pytestmark = [pytest.mark.services, pytest.mark.leaks_ok("mpi4py keeps the thread that manages the ranks")]


class TestMPIPool(ExecutorContract):
    # A rank that dies takes all of an MPI program with it.
    SEPARATE = False

    @pytest.fixture
    def executor(self) -> FuturesExecutor:
        return FuturesExecutor(MPIPoolExecutor, label="mpi")
