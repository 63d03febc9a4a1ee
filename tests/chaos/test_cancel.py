"""Calls are cancelled wherever they are: with what they have started, with what depends on them, and with no other."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl.app.app import bash_app, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from tests.chaos.report import chaos_report
from tests.chaos.tools import Started, daemonised, gone, start_daemon, tell
from tests.live import pilot


@pytest.fixture(params=["shared memory", "another node"])
def executor(request: pytest.FixtureRequest) -> HighThroughputExecutor:
    return pilot.htex(**({} if request.param == "shared memory" else {"launch_cmd": pilot.OVER_TCP}))


@pytest.fixture
def dfk(tmp_path: Path, executor: HighThroughputExecutor) -> Iterator[DataFlowKernel]:
    with pilot.kernel(tmp_path, executor) as kernel:
        yield kernel


def hang(path: str) -> None:
    tell(path)
    time.sleep(1000)


def spin(path: str) -> None:
    tell(path)
    sum(iter(lambda: 1, 0))


def with_a_family(path: str) -> None:
    """Start a program with a child of its own, and a daemon; then wait."""
    start_daemon(path)
    script = f"sleep 1000 & echo $! > {path}; echo $$ > {path}; wait"
    with subprocess.Popen(["/bin/bash", "-c", script]) as process:
        tell(path)
        process.wait()


def test_what_runs_is_stopped_and_the_next_call_begins(dfk: DataFlowKernel, started: Started) -> None:
    me = python_app(os.getpid, data_flow_kernel=dfk)
    futures = [python_app(f, data_flow_kernel=dfk)(started.path) for f in (hang, spin)]
    workers = started.processes(2)
    behind = me()
    assert futures[0].running()
    begin = time.monotonic()
    assert futures[0].cancel() is True
    assert futures[0].cancelled()
    assert not futures[0].running()
    with pytest.raises(CancelledError):
        futures[0].result(timeout=0)
    pid = behind.result(pilot.SOON)
    seconds = time.monotonic() - begin
    assert pid not in {w.pid for w in workers}
    assert sum(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers) == 1
    assert not futures[1].done(), "another task has lost its worker"
    assert futures[0].cancel() is True
    assert futures[1].cancel() is True
    assert gone(workers)
    chaos_report("running task cancelled", "`CancelledError` at once; the next task runs on a new worker", seconds)


def test_all_that_a_python_app_has_started_goes_with_it(dfk: DataFlowKernel, started: Started) -> None:
    future = python_app(with_a_family, data_flow_kernel=dfk)(started.path)
    family = started.processes(4)
    begin = time.monotonic()
    assert future.cancel()
    assert gone(family)
    chaos_report(
        "python app cancelled that has started programs and a daemon", "all are gone", time.monotonic() - begin
    )


def test_all_that_a_bash_app_has_started_goes_with_it(dfk: DataFlowKernel, started: Started) -> None:
    @bash_app(data_flow_kernel=dfk)
    def family(path: str) -> str:
        return f"{daemonised(path)}; sleep 1000 & echo $! > {path}; echo $$ > {path}; wait"

    future = family(started.path)
    processes = started.processes(3)
    begin = time.monotonic()
    assert future.cancel()
    assert gone(processes)
    chaos_report("bash app cancelled, with grandchildren and a daemon", "all are gone", time.monotonic() - begin)


def test_waiting_calls_are_dropped_wherever_they_are(dfk: DataFlowKernel, started: Started, tmp_path: Path) -> None:
    @python_app(data_flow_kernel=dfk)
    def mark(number: int, *_: Any) -> int:
        with open(tmp_path / "ran", "a") as file:
            file.write(f"{number}\n")
        return number

    # Short calls, after which the manager wants many in stock: some of what follows waits in its mailbox.
    assert [f.result(pilot.SOON) for f in [mark(0) for _ in range(200)]] == [0] * 200
    holding = [python_app(hang, data_flow_kernel=dfk)(started.path) for _ in range(2)]
    started.processes(2)
    queued = [mark(i) for i in range(1, 1001)]
    depending = [mark(-1, f) for f in queued[::100]]
    assert all(f.cancel() for f in queued)
    assert all(f.cancelled() for f in queued)
    assert wait(depending, pilot.SOON).not_done == set()
    assert all(d.cancelled() for d in depending)
    assert all(h.cancel() for h in holding)
    assert mark(-2).result(pilot.SOON) == -2
    assert set((tmp_path / "ran").read_text().split()) == {"0", "-2"}
    assert dfk.executors["htex"].outstanding() == 0
    pilot.wait_for(lambda: not dfk.tasks)


def test_a_cancelled_call_is_not_tried_again_nor_remembered(tmp_path: Path, started: Started) -> None:
    with pilot.kernel(tmp_path, retries=3) as kernel:
        app = python_app(hang, data_flow_kernel=kernel, cache=True)
        first = app(started.path)
        (worker,) = started.processes(1)
        assert first.cancel()
        assert gone([worker])
        second = app(started.path)
        started.processes(1)
        assert not second.done()
        assert first.task_record.fail_count == 0
        assert second.cancel()


def test_only_what_is_cancelled_is_lost_however_short_the_calls(dfk: DataFlowKernel, tmp_path: Path) -> None:
    """A worker that is killed for one call has often ended that and gone on to the next."""

    @python_app(data_flow_kernel=dfk)
    def mark(number: int) -> int:
        fd = os.open(tmp_path / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{number}\n".encode())
        os.close(fd)
        return number

    futures = [mark(i) for i in range(600)]
    for number in range(0, 600, 20):
        wait([futures[max(0, number - 5)]], pilot.SOON)
        futures[number].cancel()
    for number, future in enumerate(futures):
        if future.cancelled():
            assert number % 20 == 0
        else:
            assert future.result(pilot.SOON) == number
    # What was begun and stopped may have left its mark; nothing has left two.
    ran = Counter(int(line) for line in (tmp_path / "ran").read_text().split())
    assert max(ran.values()) == 1
    assert {i for i in range(600) if i not in ran} <= {i for i, f in enumerate(futures) if f.cancelled()}


def test_threads_cannot_be_stopped_and_say_so(tmp_path: Path, started: Started) -> None:
    gate = pilot.Gate(tmp_path / "gate")

    def begin(path: str, gate: str) -> int:
        tell(path)
        return pilot.wait_at(gate)

    with pilot.kernel(tmp_path, ThreadPoolExecutor(max_threads=1)) as kernel:
        app = python_app(begin, data_flow_kernel=kernel)
        running, waiting = app(started.path, gate.path), app(started.path, gate.path)
        behind = python_app(lambda x: x, data_flow_kernel=kernel)(waiting)
        started.processes(1)
        assert running.running()
        assert running.cancel() is False
        assert waiting.cancel() is True
        assert wait([behind], pilot.SOON).not_done == set()
        assert behind.cancelled()
        gate.let(1)
        assert running.result(pilot.SOON) == os.getpid()
    gate.close()


def test_a_hundred_thousand_waiting_calls_are_cancelled_in_a_loop(tmp_path: Path, started: Started) -> None:
    number = 100_000
    with pilot.kernel(tmp_path) as kernel:
        holding = [python_app(hang, data_flow_kernel=kernel)(started.path) for _ in range(2)]
        started.processes(2)
        app = python_app(int, data_flow_kernel=kernel)
        futures = [app() for _ in range(number)]
        executor = kernel.executors["htex"]
        pilot.wait_for(lambda: executor.outstanding() == number + 2)
        begin = time.monotonic()
        assert all(f.cancel() for f in futures)
        seconds = time.monotonic() - begin
        pilot.wait_for(lambda: executor.outstanding() == 2)
        everywhere = time.monotonic() - begin
        assert all(h.cancel() for h in holding)
        assert app().result(pilot.SOON) == 0
    chaos_report("100,000 waiting tasks cancelled", "`CancelledError` in each", seconds)
    chaos_report("100,000 waiting tasks cancelled: forgotten by all processes", "nothing", everywhere)
