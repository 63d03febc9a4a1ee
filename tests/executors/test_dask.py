"""DaskExecutor on a real local cluster: the contract, and what belongs to Dask alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.errors import OptionalModuleMissing
from parsl.executors.dask import DaskExecutor
from parsl.executors.errors import EngineWorkerLost
from tests.executors.contract import PATIENCE, ExecutorContract, add
from tests.executors.contract_references import ReferencesContract, run

pytestmark = [pytest.mark.leaks_ok("Dask keeps threads of its own for as long as the program runs")]
distributed = pytest.importorskip("distributed", reason="needs the extra 'dask'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start one cluster for all tests, as a user has one that outlives his programs."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        resources={"slots": 1},
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster: Any) -> DaskExecutor:
    return DaskExecutor(address=cluster.scheduler_address, resource_names={"cores": "slots"})


class TestDask(ExecutorContract):
    LOST = EngineWorkerLost
    SPECIFICATION: ClassVar = {"cores": 1, "priority": 2}
    TASKS = 300

    @pytest.fixture
    def executor(self, executor: DaskExecutor) -> DaskExecutor:
        return executor


def test_room_is_that_of_the_cluster(executor: DaskExecutor, cluster: Any, tmp_path: Path) -> None:
    cluster.wait_for_workers(2)
    assert executor.room() is None
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")):
        assert executor.room() == (0, 2, 2)
    assert executor.room() is None


class TestReferences(ReferencesContract):
    @pytest.fixture
    def executor(self, executor: DaskExecutor) -> DaskExecutor:
        return executor

    @pytest.fixture
    def executor_that_keeps_nothing(self, cluster: Any) -> DaskExecutor:
        return DaskExecutor(address=cluster.scheduler_address, keep_results=False)

    def test_a_value_that_cannot_be_brought_fails_what_waits_for_it(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1)
        assert run(kernel, "there", add, one, 1).result(timeout=PATIENCE) == 2
        one.reference.future.cancel()
        error = run(kernel, "here", add, one).exception(timeout=PATIENCE)
        assert isinstance(error, DependencyError)
        assert "could not be brought" in str(error)


def test_a_cluster_of_its_own(tmp_path: Path) -> None:
    executor = DaskExecutor(n_workers=1, resources={"gpus": 1}, client_options={"local_directory": str(tmp_path)})
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:
        app = python_app(add, data_flow_kernel=kernel)
        assert app(1, parsl_resource_specification={"gpus": 1}).result(timeout=PATIENCE) == 1


def test_an_address_where_no_scheduler_is_fails_at_the_start(tmp_path: Path) -> None:
    executor = DaskExecutor(address="tcp://127.0.0.1:1", client_options={"timeout": 0.5})
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none"))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionalModuleMissing, match="extra 'dask'"):
        DaskExecutor().start()
