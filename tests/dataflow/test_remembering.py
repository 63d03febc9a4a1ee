"""When the kernel asks the memoizer, and on which thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl.app.app import python_app
from parsl.data_provider.files import File
from parsl.dataflow.memoization import BasicMemoizer
from parsl.dataflow.states import States
from parsl.errors import NoDataFlowKernelError
from parsl.loop import Loop
from tests.kernels import SOON, loaded


@python_app(cache=True)
def same(x, outputs=()):
    for file in outputs:
        Path(file).touch()
    return x


@contextlib.contextmanager
def held(loop: Loop) -> Iterator[None]:
    """Keep a loop from doing anything."""
    go, busy = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        assert go.wait(SOON)

    loop.post(hold)
    assert busy.wait(SOON)
    try:
        yield
    finally:
        go.set()


def test_a_remembered_call_is_answered_without_the_loop(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        done = same(1)
        done.result(timeout=SOON)
        with held(kernel.loop):
            again = same(1)
            assert (again.done(), again.result(timeout=0), again.task_status()) == (True, 1, "memo_done")
            assert (again.task_record.returned is None, again.task_record.args) == (False, ())
            assert not same(2).done()
        assert kernel.task_state_counts[States.memo_done] == 1


def test_one_that_waits_for_something_is_answered_by_the_loop(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        same(1).result(timeout=SOON)
        one = python_app(lambda: 1)()
        one.result(timeout=SOON)
        with held(kernel.loop):
            again = same(one)
            assert not again.done()
        assert again.result(timeout=SOON) == 1
        assert again.task_record.from_memo


def test_so_is_one_that_writes_files(tmp_path: Path) -> None:
    out = File(str(tmp_path / "out"))
    with loaded(tmp_path / "runs") as kernel:
        same(1, outputs=[out]).result(timeout=SOON)
        with held(kernel.loop):
            again = same(1, outputs=[out])
            assert not again.done()
        assert again.outputs[0].result(timeout=SOON).filepath == out.filepath
        assert again.task_record.from_memo


def test_calls_that_were_answered_at_once_are_counted_without_being_asked_for(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        same(1).result(timeout=SOON)
        for _ in range(5000):
            same(1)
        for _ in range(2):  # the second comes in a later pass, so the first one has come to its end
            kernel.loop.call(lambda: None)
        assert not kernel._remembering.answered
        assert kernel.task_state_counts[States.memo_done] == 5000
    assert "Tasks in state States.memo_done: 5000" in (tmp_path / "000" / "parsl.log").read_text()


def test_calls_from_many_threads_are_answered_and_counted(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")) as kernel:
        for x in range(10):
            same(x).result(timeout=SOON)
        wrong: list[Any] = []

        def call() -> None:
            for n in range(500):
                if same(n % 10).result(timeout=SOON) != n % 10:
                    wrong.append(n)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert kernel.task_state_counts[States.memo_done] == 2000


def test_a_call_after_the_end_is_refused_though_it_is_known(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        app = python_app(lambda x: x, data_flow_kernel=kernel, cache=True)
        app(1).result(timeout=SOON)
    with pytest.raises(NoDataFlowKernelError, match="cleaned up"):
        app(1)
