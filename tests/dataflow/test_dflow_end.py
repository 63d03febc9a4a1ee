"""The end of kernels: cleanup, with blocks, the end of the script."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import parsl
from parsl import python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DataFlowException
from parsl.dataflow.states import States
from parsl.errors import NoDataFlowKernelError
from parsl.executors.errors import ExecutorShutDownError
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded, threads_config


@python_app
def double(x: int) -> int:
    return 2 * x


@python_app
def wait_for(event: threading.Event, begun: threading.Event | None = None) -> bool:
    if begun is not None:
        begun.set()
    return event.wait(SOON)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_cleanup_twice_does_nothing_more(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        kernel.cleanup()
        kernel.cleanup()
        assert kernel.cleanup_called


def test_a_kernel_that_has_ended_takes_no_more(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        app = python_app(double.func, data_flow_kernel=kernel)
        done = app(1)
        done.result(timeout=SOON)
    with pytest.raises(NoDataFlowKernelError, match="cleaned up"):
        app(1)
    with pytest.raises(NoDataFlowKernelError, match="cleaned up"):
        done["key"]
    assert done.result() == 2
    assert done.cancel() is False


def test_cleanup_fails_what_has_not_ended_and_waits_for_nothing(tmp_path: Path) -> None:
    """Neither for a call that runs, nor for one that is queued, nor for one that waits for a future."""
    release, begun = threading.Event(), threading.Event()
    never: Future[int] = Future()
    with loaded(tmp_path, executors=[ThreadPoolExecutor(max_threads=1)]) as kernel:
        running = wait_for(release, begun)
        assert begun.wait(SOON)
        queued, waiting = double(1), double(never)
        behind = double(waiting)
        called: SimpleQueue[Any] = SimpleQueue()
        running.add_done_callback(called.put)
        kernel.cleanup()
    for future in (running, queued, waiting):
        error = future.exception(timeout=0)
        assert isinstance(error, DataFlowException)
        assert f"Task {future.tid}" in str(error)
        assert "cleaned up" in str(error)
    assert isinstance(behind.exception(timeout=0), DataFlowException)
    assert called.get(timeout=0) is running
    never.set_result(1)
    release.set()
    assert isinstance(running.exception(timeout=0), DataFlowException)
    assert kernel.task_state_counts[States.failed] + kernel.task_state_counts[States.dep_fail] == 4


def test_who_waits_for_a_task_is_woken_by_cleanup(tmp_path: Path) -> None:
    never: Future[int] = Future()
    with loaded(tmp_path) as kernel:
        future = double(never)
        seen: SimpleQueue[Any] = SimpleQueue()
        waiters = [
            threading.Thread(target=lambda: seen.put(future.exception(timeout=SOON))),
            threading.Thread(target=lambda: seen.put(kernel.wait_for_current_tasks())),  # type: ignore[func-returns-value]
        ]
        for waiter in waiters:
            waiter.start()
        kernel.cleanup()
        assert {type(seen.get(timeout=SOON)) for _ in waiters} == {DataFlowException, type(None)}
        for waiter in waiters:
            waiter.join(SOON)


def test_no_task_submitted_while_the_kernel_ends_is_left_open(tmp_path: Path) -> None:
    for _ in range(15):
        with loaded(tmp_path) as kernel:
            futures: SimpleQueue[Future[Any]] = SimpleQueue()
            begin = threading.Barrier(4)

            def submit(
                kernel: DataFlowKernel = kernel,
                futures: SimpleQueue[Future[Any]] = futures,
                begin: threading.Barrier = begin,
            ) -> None:
                begin.wait(SOON)
                try:
                    while True:
                        futures.put(kernel.submit(len, ("abc",)))
                except NoDataFlowKernelError:
                    pass

            threads = [threading.Thread(target=submit) for _ in range(3)]
            for thread in threads:
                thread.start()
            begin.wait(SOON)
            kernel.cleanup()
            for thread in threads:
                thread.join(SOON)
            ends = [futures.get_nowait().exception(timeout=SOON) for _ in range(futures.qsize())]
            assert all(e is None or isinstance(e, (DataFlowException, ExecutorShutDownError)) for e in ends)


def test_a_task_submitted_just_when_the_kernel_ends_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loaded(tmp_path) as kernel:

        def number_after_the_end() -> int:
            kernel.cleanup()
            return 0

        monkeypatch.setattr(kernel._ids, "get_id", number_after_the_end)
        assert isinstance(double(1).exception(timeout=SOON), DataFlowException)


def test_a_call_that_begins_during_the_cleanup_has_its_own_arguments(tmp_path: Path) -> None:
    """It can't be called back any more, so it must at least not run with others."""
    seen: list[Any] = []

    class Late(ThreadPoolExecutor):
        def launch(self, call: Any) -> None:
            self.call = call

        def shutdown(self, block: bool = True) -> None:
            seen.append(self.call.func(*self.call.args, **self.call.kwargs))
            super().shutdown(block)

    with loaded(tmp_path, executors=[Late(label="late")]):
        future = python_app(lambda *args, **kwargs: (args, kwargs))(1, two=2)
    assert isinstance(future.exception(timeout=0), DataFlowException)
    assert seen == [((1,), {"two": 2})]


def test_a_task_may_end_the_kernel(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        ended = threading.Event()

        @python_app
        def end() -> None:
            kernel.cleanup()
            ended.set()

        future = end()
        assert ended.wait(SOON)
        assert isinstance(future.exception(timeout=SOON), DataFlowException)


def test_a_callback_may_end_the_kernel(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        ended = threading.Event()
        double(1).add_done_callback(lambda _: (kernel.cleanup(), ended.set()))
        assert ended.wait(SOON)
        assert kernel.cleanup_called


def test_a_retry_handler_may_end_the_kernel(tmp_path: Path) -> None:
    def handler(exception: Exception, task: Any) -> float:
        kernel.cleanup()
        return 0

    with loaded(tmp_path, retries=3, retry_handler=handler) as kernel:
        assert isinstance(double(None).exception(timeout=SOON), DataFlowException)
        kernel.loop.join(SOON)


def test_an_executor_that_fails_to_shut_down_does_not_stop_the_cleanup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(ThreadPoolExecutor):
        def shutdown(self, block: bool = True) -> None:
            super().shutdown(block)
            raise OSError("the cluster does not answer")

    with loaded(tmp_path, executors=[Stubborn(label="stubborn"), ThreadPoolExecutor(label="other")]) as kernel:
        assert double(1).result(timeout=SOON) == 2
    assert "Executor stubborn did not shut down cleanly" in caplog.text
    with pytest.raises(ExecutorShutDownError):
        kernel.executors["other"].submit(len, {}, "x")


# -- the end of a with block ------------------------------------------------------------------------------------------


def test_exit_mode_cleanup_does_not_wait(tmp_path: Path) -> None:
    release = threading.Event()
    with parsl.load(threads_config(tmp_path)) as kernel:
        future = wait_for(release)
    assert kernel.cleanup_called
    assert isinstance(future.exception(timeout=0), DataFlowException)
    release.set()


def test_exit_mode_skip_leaves_the_kernel_loaded(tmp_path: Path) -> None:
    with parsl.load(threads_config(tmp_path, exit_mode="skip")) as kernel:
        pass
    assert parsl.dfk() is kernel
    assert double(1).result(timeout=SOON) == 2
    with pytest.raises(KeyError), kernel:
        raise KeyError
    assert not kernel.cleanup_called
    kernel.cleanup()


def test_exit_mode_wait_waits_for_all(tmp_path: Path) -> None:
    release = threading.Event()
    releaser = threading.Timer(0.05, release.set)
    with parsl.load(threads_config(tmp_path, exit_mode="wait")) as kernel:
        future = double(python_app(lambda: wait_for.func(release) and 3)())
        releaser.start()
    assert future.result(timeout=0) == 6
    assert kernel.cleanup_called
    releaser.join(SOON)


def test_exit_mode_wait_does_not_wait_after_an_exception(tmp_path: Path) -> None:
    release = threading.Event()
    with (
        pytest.raises(ValueError, match="in the block"),
        parsl.load(threads_config(tmp_path, exit_mode="wait")) as kernel,
    ):
        future = wait_for(release)
        raise ValueError("in the block")
    assert kernel.cleanup_called
    assert isinstance(future.exception(timeout=0), DataFlowException)
    release.set()


def test_a_wait_that_is_interrupted_still_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: DataFlowKernel) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DataFlowKernel, "wait_for_current_tasks", interrupted)
    with pytest.raises(KeyboardInterrupt), parsl.load(threads_config(tmp_path, exit_mode="wait")) as kernel:
        pass
    assert kernel.cleanup_called


# -- waiting for all --------------------------------------------------------------------------------------------------


def test_wait_for_current_tasks_tolerates_tasks_that_leave_and_fail(kernel: DataFlowKernel) -> None:
    @python_app
    def work(i: int) -> int:
        if i % 3 == 0:
            raise ValueError(i)
        return i

    futures = [work(i) for i in range(300)]
    parsl.wait_for_current_tasks()
    assert all(f.done() for f in futures)
    assert kernel.tasks == {}


def test_wait_for_current_tasks_tolerates_a_cancelled_task(kernel: DataFlowKernel) -> None:
    never: Future[int] = Future()
    future = double(never)
    ended: SimpleQueue[Any] = SimpleQueue()

    def wait() -> None:
        try:
            ended.put(kernel.wait_for_current_tasks())  # type: ignore[func-returns-value]
        except CancelledError as e:
            ended.put(e)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.05)
    assert future.cancel()
    assert ended.get(timeout=SOON) is None
    thread.join(SOON)


# -- the end of the script --------------------------------------------------------------------------------------------


def run_script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


SCRIPT = """
    import sys, threading, parsl

    @parsl.python_app
    def hang():
        threading.Event().wait()

    @parsl.python_app
    def one():
        return 1
"""


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("parsl.load(); print(one().result())", 0),
        ("parsl.load(); hang(); print(one().result())", 0),
        ("parsl.load(); f = hang(); f.add_done_callback(print); print(one().result()); sys.exit(3)", 3),
        ("parsl.load(); hang(); print(one().result()); raise ValueError", 1),
        ("parsl.load(parsl.Config(exit_mode='skip')).__enter__(); hang(); print(one().result())", 0),
        ("with parsl.load(): hang(); print(one().result())", 0),
    ],
)
def test_a_script_ends_with_whatever_it_left_open(tmp_path: Path, rest: str, code: int) -> None:
    done = run_script(tmp_path, textwrap.dedent(SCRIPT) + rest)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[0] == "1"
    assert "Cleaned up run" in (tmp_path / "runinfo" / "000" / "parsl.log").read_text()


def test_an_unhandled_error_is_the_last_thing_that_a_script_says(tmp_path: Path) -> None:
    done = run_script(tmp_path, textwrap.dedent(SCRIPT) + "parsl.load(); hang(); raise ValueError('mine')")
    assert done.stderr.splitlines()[-1] == "ValueError: mine"
