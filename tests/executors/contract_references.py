"""What executors promise that leave results with their engine: a class to derive from, as with the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import join_app, python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.threads import ThreadPoolExecutor
from tests.executors.contract import PATIENCE, count_bytes, make_bytes

# Larger than what engines send along with the word that a task has ended.
SIZE = 300_000


def run(kernel: DataFlowKernel, where: str, function: Any, *args: Any, **options: Any) -> Any:
    """Call a function on one of a kernel's two executors, the engine's or the threads called here."""
    labels = [label for label in kernel.executors if (label == "here") == (where == "here")]
    return python_app(function, data_flow_kernel=kernel, executors=labels[:1], **options)(*args)


class ReferencesContract:
    """Derive from this, and give a fixture `executor`, and one `executor_that_keeps_nothing`."""

    @pytest.fixture
    def kernel(self, executor: ParslExecutor, tmp_path: Path) -> Iterator[DataFlowKernel]:
        here = ThreadPoolExecutor(label="here")
        kernel = DataFlowKernel(Config(executors=[executor, here], run_dir=str(tmp_path / "runs"), strategy="none"))
        yield kernel
        kernel.cleanup()

    def test_a_result_that_only_feeds_tasks_of_the_engine_stays_there(self, kernel: DataFlowKernel) -> None:
        data = run(kernel, "there", make_bytes, 3_000_000)
        count = run(kernel, "there", count_bytes, data)
        assert count.result(timeout=PATIENCE) == 3_000_000
        assert count.reference is None
        assert data.reference is not None
        # Asked for late, by a task elsewhere and by the script, it comes.
        assert run(kernel, "here", count_bytes, data).result(timeout=PATIENCE) == 3_000_000
        assert data.reference is None
        assert len(data.result(timeout=PATIENCE)) == 3_000_000

    def test_the_script_can_ask_for_what_has_stayed(self, kernel: DataFlowKernel) -> None:
        data = run(kernel, "there", make_bytes, SIZE)
        assert run(kernel, "there", count_bytes, data).result(timeout=PATIENCE) == SIZE
        assert data.exception(timeout=PATIENCE) is None
        assert data.result(timeout=PATIENCE) == make_bytes(SIZE)

    def test_a_result_that_others_wait_for_comes_at_once(self, kernel: DataFlowKernel) -> None:
        data = run(kernel, "there", make_bytes, SIZE)
        both = [run(kernel, where, count_bytes, data) for where in ("there", "here")]
        assert [f.result(timeout=PATIENCE) for f in both] == [SIZE, SIZE]
        assert data.reference is None

    def test_references_deep_in_an_argument(self, kernel: DataFlowKernel) -> None:
        data = run(kernel, "there", make_bytes, SIZE)
        inside = run(kernel, "there", lambda boxes: sum(map(len, boxes[0]["data"])), [{"data": [data, data]}])
        assert inside.result(timeout=PATIENCE) == 2 * SIZE

    def test_what_is_remembered_or_joined_comes(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", make_bytes, SIZE, cache=True)
        assert run(kernel, "there", count_bytes, one, cache=True).result(timeout=PATIENCE) == SIZE
        assert one.reference is None
        two = run(kernel, "there", make_bytes, SIZE + 1)
        assert run(kernel, "there", count_bytes, two).result(timeout=PATIENCE) == SIZE + 1
        joined = join_app(lambda: [two, one], data_flow_kernel=kernel)().result(timeout=PATIENCE)
        assert [len(data) for data in joined] == [SIZE + 1, SIZE]

    def test_another_kernel_is_given_the_value(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        data = run(kernel, "there", make_bytes, SIZE)
        assert run(kernel, "there", count_bytes, data).result(timeout=PATIENCE) == SIZE
        assert data.reference is not None
        with DataFlowKernel(Config(run_dir=str(tmp_path / "other"), strategy="none")) as other:
            assert python_app(count_bytes, data_flow_kernel=other)(data).result(timeout=PATIENCE) == SIZE

    def test_what_has_stayed_is_gone_with_the_kernel(self, kernel: DataFlowKernel) -> None:
        data = run(kernel, "there", make_bytes, SIZE)
        count = run(kernel, "there", count_bytes, data)
        assert count.result(timeout=PATIENCE) == SIZE
        kernel.cleanup()
        assert count.result(timeout=PATIENCE) == SIZE
        with pytest.raises(EngineWorkerLost, match="ask for it before the kernel ends"):
            data.result(timeout=PATIENCE)

    def test_results_that_are_not_to_stay(self, executor_that_keeps_nothing: ParslExecutor, tmp_path: Path) -> None:
        config = Config(executors=[executor_that_keeps_nothing], run_dir=str(tmp_path), strategy="none")
        with DataFlowKernel(config) as kernel:
            data = run(kernel, "there", make_bytes, SIZE)
            assert run(kernel, "there", count_bytes, data).result(timeout=PATIENCE) == SIZE
            assert data.reference is None
