"""RayExecutor on a real local cluster: the contract, and what belongs to Ray alone."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.ray import RayExecutor
from tests.executors.contract import PATIENCE, ExecutorContract, add
from tests.executors.contract_references import ReferencesContract, run

ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
pytestmark = [
    pytest.mark.leaks_ok("Ray keeps threads and sockets of its own for as long as the program runs"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start one cluster for all tests, as a user has one that outlives his kernels."""
    plain_print = builtins.print
    ray.init(
        address="local",
        num_cpus=2,
        resources={"slots": 2},
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200_000_000,
    )
    yield
    ray.shutdown()
    # Ray puts one of its own in its place, and leaves it there.
    builtins.print = plain_print


@pytest.fixture
def executor(cluster: None) -> RayExecutor:
    return RayExecutor()


class TestRay(ExecutorContract):
    LOST = EngineWorkerLost
    SPECIFICATION: ClassVar = {"cores": 1, "memory": 10, "slots": 1}

    @pytest.fixture
    def executor(self, executor: RayExecutor) -> RayExecutor:
        return executor


def test_room_is_that_of_the_cluster(executor: RayExecutor, tmp_path: Path) -> None:
    assert executor.room() is None
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")):
        assert executor.room() == (0, 2, 2)
    assert executor.room() is None


def test_a_function_that_is_called_again_is_sent_once(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parsl.executors.ray._MOST_OWN", 1)
    counts = [[0], [0]]

    def first(*numbers: int) -> int:
        return add(*numbers) + counts[0][0]

    def second(*numbers: int) -> int:
        return add(*numbers) + counts[1][0]

    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:
        apps = [python_app(f, data_flow_kernel=kernel) for f in (first, second)]
        for _ in range(3):
            assert [app(1, 2).result(timeout=PATIENCE) for app in apps] == [3, 3]
            assert [app().result(timeout=PATIENCE) for app in apps] == [0, 0]
        data = apps[0](*[1] * 200_000)
        assert apps[0](data, 1).result(timeout=PATIENCE) == 200_001
        assert executor._tasks[first] is not None
        # There are no more of these than was said.
        assert executor._tasks[second] is None
        assert executor._own == 1


class TestReferences(ReferencesContract):
    @pytest.fixture
    def executor(self, executor: RayExecutor) -> RayExecutor:
        return executor

    @pytest.fixture
    def executor_that_keeps_nothing(self, cluster: None) -> RayExecutor:
        return RayExecutor(keep_results=False)

    def test_a_small_result_comes_with_the_word_that_its_task_has_ended(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1)
        assert run(kernel, "there", add, one, 1).result(timeout=PATIENCE) == 2
        assert one.reference is None


def test_a_connection_that_was_there_outlives_the_kernel(executor: RayExecutor, tmp_path: Path) -> None:
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")):
        assert executor.submit(add, {}, 1).result(timeout=PATIENCE) == 1
    assert ray.is_initialized()


def test_an_address_where_no_cluster_is_fails_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = RayExecutor(address="127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**_: Any) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1: nobody answers"):
        executor.start()


@pytest.mark.parametrize("wrong", [{"cores": -1}, {"cores": "many"}, {"gpus": True}])
def test_amounts_must_be_numbers(executor: RayExecutor, wrong: dict[str, Any], tmp_path: Path) -> None:
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:
        error = TestRay().call(kernel, add, 1, parsl_resource_specification=wrong).exception(timeout=PATIENCE)
        assert "amount" in str(error)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionalModuleMissing, match="extra 'ray'"):
        RayExecutor().start()
