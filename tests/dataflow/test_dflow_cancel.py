"""Cancelling, callbacks and waiting on a live kernel."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, as_completed, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import parsl
from parsl import join_app, python_app
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.taskrecord import Value
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from tests.dataflow.apps import add, give, wait_for
from tests.kernels import SOON, loaded, threads_config
from tests.live import pilot

# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_is_cancelled_and_what_depends_on_it_too(kernel: DataFlowKernel) -> None:
    never: Future[int] = Future()
    waiting = add(never)
    child = add(waiting)
    assert waiting.cancel() is True
    assert waiting.cancelled()
    with pytest.raises(CancelledError):
        waiting.result(timeout=0)
    with pytest.raises(CancelledError):
        child.result(timeout=SOON)
    assert child.cancelled()
    assert waiting.cancel() is True
    assert wait([waiting, child], timeout=0).not_done == set()
    never.set_result(1)
    parsl.wait_for_current_tasks()


def test_a_queued_task_is_cancelled_and_a_running_one_is_not(tmp_path: Path) -> None:
    release, begun = threading.Event(), threading.Event()
    ran: list[int] = []
    with loaded(tmp_path, executors=[ThreadPoolExecutor(max_threads=1)]):
        running = wait_for(release, begun)
        assert begun.wait(SOON)
        queued = python_app(lambda: ran.append(1))()
        last = add(1)
        assert running.running()
        assert running.cancel() is False
        assert queued.cancel() is True
        release.set()
        assert running.result(timeout=SOON) is True
        assert last.result(timeout=SOON) == 1
        assert ran == []
        assert running.cancel() is False
        assert not running.cancelled()


def test_a_joining_task_is_cancelled(kernel: DataFlowKernel) -> None:
    inner: Future[int] = Future()
    joining_now = threading.Event()

    class Noticed(Future[int]):
        def add_done_callback(self, fn: Any) -> None:
            super().add_done_callback(fn)
            joining_now.set()

    noticed = Noticed()
    join = join_app(lambda: [inner, noticed])()
    assert joining_now.wait(SOON)
    after = give(join)
    assert join.running()
    assert join.cancel() is True
    assert not join.running()
    assert wait([join, after], timeout=SOON).not_done == set()
    assert after.cancelled()
    inner.set_result(1)
    noticed.set_result(2)
    parsl.wait_for_current_tasks()


class Stopping(ParslExecutor):
    """An executor that never ends a call by itself, and stops each that it is told to."""

    stops_calls = True

    def __init__(self) -> None:
        super().__init__()
        self.label = "stopping"
        self.open: dict[int, Any] = {}
        self.asked: SimpleQueue[int] = SimpleQueue()

    def start(self) -> None:
        """Need nothing."""

    def shutdown(self) -> None:
        """Leave nothing."""

    def submit(self, func: Any, resource_specification: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError("the kernel launches")

    def launch(self, call: Any) -> None:
        self.open[call.id] = call

    def cancel(self, call: Any, answer: Any) -> None:
        self.asked.put(call.id)
        call.done(Value("just too late"))
        answer(False)


def test_where_calls_can_be_stopped_a_running_one_is_cancelled_at_once(tmp_path: Path) -> None:
    executor = Stopping()
    called: SimpleQueue[Any] = SimpleQueue()
    with loaded(tmp_path, executors=[executor], retries=2) as kernel:
        running, never = add(1), Future[int]()
        waiting, child = add(never), give(running)
        data = DataFuture(running, File("x"))
        running.add_done_callback(called.put)
        kernel.loop.call(int)
        assert running.running()
        # Also where nobody may wait for an answer.
        assert kernel.loop.call(running.cancel) is True
        assert (running.done(), running.cancelled(), running.running()) == (True, True, False)
        assert data.cancelled()
        with pytest.raises(CancelledError):
            running.result()
        assert waiting.cancel() is True
        assert called.get(timeout=SOON) is running
        assert wait([child, data], timeout=SOON).not_done == set()
        assert child.cancelled()
        assert executor.asked.get(timeout=SOON) == running.tid
        assert executor.asked.empty(), "one was never launched"
        pilot.wait_for(lambda: not kernel.tasks)
        assert running.task_status() == "failed"
        assert running.task_record.try_id == 0


def test_more_calls_are_cancelled_than_the_loop_handles_at_once(tmp_path: Path) -> None:
    executor = Stopping()
    with loaded(tmp_path, executors=[executor]) as kernel:
        futures = [add(i) for i in range(2500)]
        threads = [threading.Thread(target=lambda n=n: [f.cancel() for f in futures[n:]]) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        assert all(f.cancelled() for f in futures)
        pilot.wait_for(lambda: not kernel.tasks)
        assert sorted(executor.asked.get(timeout=SOON) for _ in executor.open) == sorted(executor.open)


def test_cancelling_from_many_threads_while_tasks_run(kernel: DataFlowKernel) -> None:
    ran: list[int] = []
    futures = [python_app(lambda i=i: ran.append(i))() for i in range(400)]
    answers: SimpleQueue[tuple[int, bool]] = SimpleQueue()

    def cancel(part: range) -> None:
        for i in part:
            answers.put((i, futures[i].cancel()))

    threads = [threading.Thread(target=cancel, args=(range(399 - n, -1, -4),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    wait(futures, timeout=SOON)
    said = dict(answers.get(timeout=SOON) for _ in futures)
    assert {i for i, yes in said.items() if yes} == {i for i, f in enumerate(futures) if f.cancelled()}
    assert sorted(ran) == [i for i, f in enumerate(futures) if not f.cancelled()]


# -- callbacks and waiting --------------------------------------------------------------------------------------------


def test_callbacks_run_on_the_helper_and_may_wait_for_other_tasks(
    kernel: DataFlowKernel, gate: threading.Event
) -> None:
    seen: SimpleQueue[Any] = SimpleQueue()
    file = File("/tmp/x")

    def callback(future: Future[Any]) -> None:
        seen.put(threading.current_thread().name)
        seen.put(add(future, 1).result(timeout=SOON))
        # A file that a task produces, and a task of another future of the same kernel, wait for no callback either.
        produced = DataFuture(add(1), file)
        seen.put(give(produced).result(timeout=SOON).filename)

    first = python_app(lambda: wait_for.func(gate) and 1)()
    first.add_done_callback(callback)
    gate.set()
    assert seen.get(timeout=SOON) == "parsl-helper"
    assert seen.get(timeout=SOON) == 2
    assert seen.get(timeout=SOON) == "x"


def test_a_callback_that_blocks_stops_no_task(kernel: DataFlowKernel, gate: threading.Event, tmp_path: Path) -> None:
    first = python_app(lambda: wait_for.func(gate))()
    release, blocked = threading.Event(), threading.Event()
    first.add_done_callback(lambda _: (blocked.set(), release.wait(SOON)))
    gate.set()
    assert blocked.wait(SOON)
    produced = DataFuture(add(1), File("/data/out.txt"))
    with DataFlowKernel(threads_config(tmp_path)) as other:
        crossing = python_app(give.func, data_flow_kernel=other)(add(20))
        assert crossing.result(timeout=SOON) == 20
    assert give(produced).filename.result(timeout=SOON) == "out.txt"
    release.set()


def test_standard_waiting(kernel: DataFlowKernel) -> None:
    futures = [add(i) for i in range(50)]
    assert {f.result() for f in as_completed(futures, timeout=SOON)} == set(range(50))
    assert wait(futures, timeout=SOON).not_done == set()
