"""A worker that dies: its task alone fails, the error says how, and another worker takes its place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl.app.app import python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput.errors import WorkerLost
from tests.chaos.report import chaos_report
from tests.chaos.tools import memory_group, moment, since
from tests.live import pilot

# What a replacement may take on a machine that others use as well; what it does take is reported.
REPLACED = 5.0


def no_core() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def left() -> None:
    os._exit(7)


def asked_for_the_end() -> None:
    sys.exit("no more")


def segfault() -> None:
    import ctypes

    no_core()
    ctypes.string_at(1)


def stack_overflow() -> None:
    import ctypes

    no_core()

    # Through C and back: what Python counts are its own frames only.
    @ctypes.CFUNCTYPE(None)
    def deeper() -> None:
        deeper()

    sys.setrecursionlimit(10**9)
    deeper()


def aborted() -> None:
    no_core()
    os.abort()


FAULTS: dict[str, tuple[Callable[[], None], str, str | None]] = {
    "worker killed by kill -9": (killed, "signal SIGKILL", None),
    "worker told to end by SIGTERM": (terminated, "exit code 143 by Terminated(143)", "terminated"),
    "task calls os._exit": (left, "exit code 7", None),
    "task raises SystemExit": (asked_for_the_end, "exit code 1 by SystemExit('no more')", "asked_for_the_end"),
    "task crashes: segmentation fault": (segfault, "signal SIGSEGV", "segfault"),
    "task crashes: stack overflow": (stack_overflow, "signal SIGSEGV", "deeper"),
    "task crashes: abort": (aborted, "signal SIGABRT", "aborted"),
}


def harm(fault: Callable[[], None], path: str) -> None:
    moment(path)
    fault()


@pytest.fixture
def dfk(tmp_path: Path) -> Iterator[DataFlowKernel]:
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1), system_retries=0) as kernel:
        yield kernel


@pytest.mark.parametrize("fault", FAULTS)
def test_the_task_alone_fails_and_its_worker_is_replaced(dfk: DataFlowKernel, tmp_path: Path, fault: str) -> None:
    end, cause, where = FAULTS[fault]
    me = python_app(os.getpid, data_flow_kernel=dfk)
    before = me().result(pilot.SOON)
    fatal = python_app(harm, data_flow_kernel=dfk)(end, str(tmp_path / "moment"))
    behind = [me() for _ in range(5)]
    error = fatal.exception(pilot.SOON)
    assert isinstance(error, WorkerLost)
    assert error.cause == cause
    assert cause in str(error)
    notes = error.__notes__
    assert f"process {before}" in notes[0]
    if where is None:
        assert len(notes) == 1
    else:
        assert notes[1].startswith("it was here")
        assert f" in {where}\n" in notes[1]
        assert "worker.py" not in notes[1]
    first = behind[0].result(pilot.SOON)
    seconds = since(tmp_path / "moment")
    assert {b.result(pilot.SOON) for b in behind} == {first}
    assert first != before
    assert seconds < REPLACED
    chaos_report(fault, f"`WorkerLost` ({cause}) for that task; the next one runs on a new worker", seconds)


def greedy(size: int, path: str) -> int:
    held = []
    moment(path)
    for _ in range(size // 2**20):
        held.append(b"x" * 2**20)
    return len(held)


def test_a_task_for_which_the_groups_memory_is_too_little_says_so(tmp_path: Path) -> None:
    with memory_group(400 * 2**20) as group:
        if group is None:
            pytest.skip("takes a control group of one's own")
        block = pilot.provider(worker_init=f"echo $$ > {group}/cgroup.procs")
        executor = pilot.htex(max_workers_per_node=1, provider=block)
        with pilot.kernel(tmp_path, executor, system_retries=0) as kernel:
            take = python_app(greedy, data_flow_kernel=kernel)
            assert take(2**20, str(tmp_path / "moment")).result(pilot.SOON) == 1
            too_much, little = (take(size, str(tmp_path / f"moment-{size}")) for size in (2**30, 2**20))
            error = too_much.exception(pilot.SOON)
            assert little.result(pilot.SOON) == 1
            seconds = since(tmp_path / f"moment-{2**30}")
            assert isinstance(error, WorkerLost)
            assert error.cause.startswith("signal SIGKILL: out of memory: the system killed it")
            assert "group had used up its memory of 419 MB; the worker had " in error.cause
            # A worker that is killed later for another reason is not taken for a victim of the same.
            dead = python_app(killed, data_flow_kernel=kernel)().exception(pilot.SOON)
            assert isinstance(dead, WorkerLost)
            assert dead.cause == "signal SIGKILL"
    chaos_report("task exceeds the memory of its control group", "`WorkerLost` (out of memory)", seconds)


def test_a_task_that_reaches_its_limit_of_memory_gets_its_own_error_and_costs_no_worker(
    dfk: DataFlowKernel, tmp_path: Path
) -> None:
    def limited(path: str) -> int:
        import resource
        import time

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
        try:
            with open(path, "w") as file:
                file.write(repr(time.monotonic()))
            return len(bytearray(2**31))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    me = python_app(os.getpid, data_flow_kernel=dfk)
    before = me().result(pilot.SOON)
    error = python_app(limited, data_flow_kernel=dfk)(str(tmp_path / "moment")).exception(pilot.SOON)
    assert type(error) is MemoryError
    assert me().result(pilot.SOON) == before
    chaos_report("task reaches a limit of memory (ulimit)", "`MemoryError`", since(tmp_path / "moment"))


def test_many_workers_die_at_once_and_all_other_tasks_end_well(tmp_path: Path) -> None:
    def odd_ones_die(number: int, path: str) -> int:
        if number % 7 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(path, "a") as file:
            file.write(f"{number}\n")
        return number

    with pilot.kernel(tmp_path) as kernel:
        run = python_app(odd_ones_die, data_flow_kernel=kernel)
        futures: list[Any] = [run(i, str(tmp_path / "ran")) for i in range(70)]
        errors = [f.exception(pilot.SOON) for f in futures]
        assert [isinstance(e, WorkerLost) for e in errors] == [i % 7 == 0 for i in range(70)]
        ran = [int(line) for line in (tmp_path / "ran").read_text().split()]
        assert sorted(ran) == [i for i in range(70) if i % 7], "one has run twice, or not at all"
        assert len(pilot.workers_of(kernel.executors["htex"])) == 2
