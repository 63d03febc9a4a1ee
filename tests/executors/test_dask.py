"""DaskExecutor on a real local cluster: the contract, and what belongs to Dask alone."""

from __future__ import annotations

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
from parsl.executors.threads import ThreadPoolExecutor
from tests.executors.contract import PATIENCE, ExecutorContract, add, count_bytes, make_bytes

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


@pytest.fixture
def kernel(executor: DaskExecutor, tmp_path: Path) -> Iterator[DataFlowKernel]:
    threads = ThreadPoolExecutor(label="here")
    kernel = DataFlowKernel(Config(executors=[executor, threads], run_dir=str(tmp_path / "runs"), strategy="none"))
    yield kernel
    kernel.cleanup()


class TestDask(ExecutorContract):
    LOST = EngineWorkerLost
    SPECIFICATION: ClassVar = {"cores": 1, "priority": 2}
    TASKS = 300

    @pytest.fixture
    def executor(self, executor: DaskExecutor) -> DaskExecutor:
        return executor


def on(kernel: DataFlowKernel, where: str, function: Any, *args: Any) -> Any:
    return python_app(function, data_flow_kernel=kernel, executors=[where])(*args)


def test_a_result_that_only_feeds_tasks_of_the_cluster_stays_there(kernel: DataFlowKernel) -> None:
    data = on(kernel, "DaskExecutor", make_bytes, 3_000_000)
    count = on(kernel, "DaskExecutor", count_bytes, data)
    assert count.result(timeout=PATIENCE) == 3_000_000
    assert count.reference is None
    assert data.reference is not None
    # Asked for late, by a task elsewhere and by the script, it comes.
    assert on(kernel, "here", count_bytes, data).result(timeout=PATIENCE) == 3_000_000
    assert data.reference is None
    assert len(data.result(timeout=PATIENCE)) == 3_000_000


def test_the_script_can_ask_for_what_has_stayed(kernel: DataFlowKernel) -> None:
    one = on(kernel, "DaskExecutor", add, 1)
    two = on(kernel, "DaskExecutor", add, one, 1)
    assert two.result(timeout=PATIENCE) == 2
    assert one.result(timeout=PATIENCE) == 1


def test_a_result_that_others_wait_for_comes_at_once(kernel: DataFlowKernel) -> None:
    one = on(kernel, "DaskExecutor", add, 1)
    both = [on(kernel, "DaskExecutor", add, one, 1), on(kernel, "here", add, one, 2)]
    assert [f.result(timeout=PATIENCE) for f in both] == [2, 3]
    assert one.reference is None


def test_references_deep_in_an_argument(kernel: DataFlowKernel) -> None:
    one = on(kernel, "DaskExecutor", add, 1)
    inside = on(kernel, "DaskExecutor", lambda boxes: sum(boxes[0]["numbers"]), [{"numbers": [one, one]}])
    assert inside.result(timeout=PATIENCE) == 2


def test_what_has_stayed_is_gone_with_the_kernel(kernel: DataFlowKernel) -> None:
    one = on(kernel, "DaskExecutor", add, 1)
    two = on(kernel, "DaskExecutor", add, one, 1)
    assert two.result(timeout=PATIENCE) == 2
    kernel.cleanup()
    assert two.result(timeout=PATIENCE) == 2
    with pytest.raises(EngineWorkerLost, match="ask for it before the kernel ends"):
        one.result(timeout=PATIENCE)


def test_a_value_that_cannot_be_brought_fails_what_waits_for_it(kernel: DataFlowKernel) -> None:
    one = on(kernel, "DaskExecutor", add, 1)
    assert on(kernel, "DaskExecutor", add, one, 1).result(timeout=PATIENCE) == 2
    one.reference.future.cancel()
    error = on(kernel, "here", add, one).exception(timeout=PATIENCE)
    assert isinstance(error, DependencyError)
    assert "could not be brought" in str(error)


def test_results_that_are_not_to_stay(cluster: Any, tmp_path: Path) -> None:
    executor = DaskExecutor(address=cluster.scheduler_address, keep_results=False)
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:
        one = on(kernel, "DaskExecutor", add, 1)
        assert on(kernel, "DaskExecutor", add, one, 1).result(timeout=PATIENCE) == 2
        assert one.reference is None


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
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(OptionalModuleMissing, match="extra 'dask'"):
        DaskExecutor().start()
