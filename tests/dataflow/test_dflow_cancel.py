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
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded, threads_config


@python_app
def add(*numbers: int) -> int:
    return sum(numbers)


@python_app
def give(value: Any) -> Any:
    return value


@python_app
def wait_for(event: threading.Event, begun: threading.Event | None = None) -> bool:
    if begun is not None:
        begun.set()
    return event.wait(SOON)


@pytest.fixture
def gate(kernel: DataFlowKernel) -> Any:
    """An event that tasks wait for; set at the end, so that no task outlives its test for long."""
    event = threading.Event()
    yield event
    event.set()


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
