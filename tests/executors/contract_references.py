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
from tests.executors.contract import PATIENCE, add, count_bytes, make_bytes


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
        one = run(kernel, "there", add, 1)
        assert run(kernel, "there", add, one, 1).result(timeout=PATIENCE) == 2
        assert one.exception(timeout=PATIENCE) is None
        assert one.result(timeout=PATIENCE) == 1

    def test_a_result_that_others_wait_for_comes_at_once(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1)
        both = [run(kernel, "there", add, one, 1), run(kernel, "here", add, one, 2)]
        assert [f.result(timeout=PATIENCE) for f in both] == [2, 3]
        assert one.reference is None

    def test_references_deep_in_an_argument(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1)
        inside = run(kernel, "there", lambda boxes: sum(boxes[0]["numbers"]), [{"numbers": [one, one]}])
        assert inside.result(timeout=PATIENCE) == 2

    def test_what_is_remembered_or_joined_comes(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1, cache=True)
        assert run(kernel, "there", add, one, 1, cache=True).result(timeout=PATIENCE) == 2
        assert one.reference is None
        two = run(kernel, "there", add, 2)
        assert run(kernel, "there", add, two, 1).result(timeout=PATIENCE) == 3
        assert join_app(lambda: [two, one], data_flow_kernel=kernel)().result(timeout=PATIENCE) == [2, 1]

    def test_another_kernel_is_given_the_value(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        one = run(kernel, "there", add, 1)
        assert run(kernel, "there", add, one, 1).result(timeout=PATIENCE) == 2
        assert one.reference is not None
        with DataFlowKernel(Config(run_dir=str(tmp_path / "other"), strategy="none")) as other:
            assert python_app(add, data_flow_kernel=other)(one, 5).result(timeout=PATIENCE) == 6

    def test_what_has_stayed_is_gone_with_the_kernel(self, kernel: DataFlowKernel) -> None:
        one = run(kernel, "there", add, 1)
        two = run(kernel, "there", add, one, 1)
        assert two.result(timeout=PATIENCE) == 2
        kernel.cleanup()
        assert two.result(timeout=PATIENCE) == 2
        with pytest.raises(EngineWorkerLost, match="ask for it before the kernel ends"):
            one.result(timeout=PATIENCE)

    def test_results_that_are_not_to_stay(self, executor_that_keeps_nothing: ParslExecutor, tmp_path: Path) -> None:
        config = Config(executors=[executor_that_keeps_nothing], run_dir=str(tmp_path), strategy="none")
        with DataFlowKernel(config) as kernel:
            one = run(kernel, "there", add, 1)
            assert run(kernel, "there", add, one, 1).result(timeout=PATIENCE) == 2
            assert one.reference is None
