"""What takes longer than its walltime is ended, whatever it is at, and nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parsl.app.app import bash_app, python_app
from parsl.app.errors import AppTimeout
from parsl.dataflow.dflow import DataFlowKernel
from parsl.watchdog import GRACE_SECONDS
from tests.chaos.report import chaos_report
from tests.chaos.tools import Started, block_alarm, daemonised, gone, start_daemon, tell
from tests.live import pilot

LIMIT = 0.5


@pytest.fixture
def dfk(tmp_path: Path) -> Iterator[DataFlowKernel]:
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1)) as kernel:
        yield kernel


def busy_loop() -> None:
    while True:
        pass


def sleeping() -> None:
    time.sleep(1000)


def waiting_for_a_program() -> None:
    subprocess.run(["sleep", "1000"], check=True)


def c_code_that_keeps_the_lock() -> None:
    import itertools

    sum(itertools.repeat(1))


def foreign_code_that_keeps_the_lock() -> None:
    import ctypes

    forever = ctypes.PyDLL(None).sigsuspend
    forever(bytes(b"\xff" * 128))


def foreign_code_without_the_lock() -> None:
    import ctypes

    ctypes.CDLL(None).sigsuspend(bytes(b"\xff" * 128))


def with_the_alarm_blocked() -> None:
    block_alarm()
    time.sleep(1000)


def that_goes_on_regardless() -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(1000)


def that_dawdles_at_its_end() -> None:
    try:
        time.sleep(1000)
    finally:
        c_code_that_keeps_the_lock()


HEEDING: dict[str, Callable[[], None]] = {
    "a busy loop": busy_loop,
    "time.sleep": sleeping,
    "waiting for a program": waiting_for_a_program,
}
HEEDLESS: dict[str, Callable[[], None]] = {
    "C code that keeps the interpreter's lock": c_code_that_keeps_the_lock,
    "foreign code that keeps the lock": foreign_code_that_keeps_the_lock,
    "foreign code without the lock": foreign_code_without_the_lock,
    "SIGALRM blocked": with_the_alarm_blocked,
    "catches the exception and goes on": that_goes_on_regardless,
    "does not end its clean-up": that_dawdles_at_its_end,
}


@pytest.mark.parametrize("what", HEEDING)
def test_what_can_be_interrupted_is_and_its_worker_lives_on(dfk: DataFlowKernel, what: str) -> None:
    me = python_app(os.getpid, data_flow_kernel=dfk)
    before = me().result(pilot.SOON)
    begin = time.monotonic()
    future = python_app(HEEDING[what], data_flow_kernel=dfk)(walltime=LIMIT)
    error = future.exception(pilot.SOON)
    seconds = time.monotonic() - begin - LIMIT
    assert isinstance(error, AppTimeout)
    assert f"{HEEDING[what].__name__} did not end within its walltime of 0.5 s" in str(error)
    assert me().result(pilot.SOON) == before
    chaos_report(f"walltime over, python app: {what}", "`AppTimeout`; the worker lives on", seconds)


@pytest.mark.parametrize("what", HEEDLESS)
def test_what_cannot_be_interrupted_is_ended_with_its_worker(dfk: DataFlowKernel, what: str) -> None:
    me = python_app(os.getpid, data_flow_kernel=dfk)
    before = me().result(pilot.SOON)
    begin = time.monotonic()
    future = python_app(HEEDLESS[what], data_flow_kernel=dfk)(walltime=LIMIT)
    behind = me()
    error = future.exception(pilot.SOON)
    seconds = time.monotonic() - begin - LIMIT
    assert isinstance(error, AppTimeout)
    assert f"{HEEDLESS[what].__name__} did not end within its walltime of 0.5 s" in str(error)
    assert f"task {future.tid} on " in error.__notes__[0]
    assert f"in {HEEDLESS[what].__name__}" in error.__notes__[1], "where it was"
    assert behind.result(pilot.SOON) != before
    assert seconds >= GRACE_SECONDS
    chaos_report(f"walltime over, python app: {what}", "`AppTimeout` with the place; a new worker", seconds)


def test_a_function_that_ended_in_time_is_not_ended_later(dfk: DataFlowKernel) -> None:
    me = python_app(os.getpid, data_flow_kernel=dfk)
    first = me(walltime=0.2).result(pilot.SOON)

    def patient(seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    assert python_app(patient, data_flow_kernel=dfk)(0.2 + GRACE_SECONDS + 0.3).result(pilot.SOON) == first


def test_a_crash_after_a_limited_call_is_not_taken_for_the_end_of_its_time(dfk: DataFlowKernel) -> None:
    assert python_app(os.getpid, data_flow_kernel=dfk)(walltime=100).result(pilot.SOON)
    error = python_app(os._exit, data_flow_kernel=dfk)(1).exception(pilot.SOON)
    assert getattr(error, "cause", None) == "exit code 1"


def leave_family(path: str) -> None:
    start_daemon(path)
    script = f"sleep 1000 & echo $! > {path}; echo $$ > {path}; wait"
    with subprocess.Popen(["/bin/bash", "-c", script], start_new_session=True):
        tell(path)
        time.sleep(1000)


def leave_family_and_hang(path: str) -> None:
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    start_daemon(path)
    tell(path)
    c_code_that_keeps_the_lock()


@pytest.mark.parametrize(("function", "processes"), [(leave_family, 4), (leave_family_and_hang, 2)])
def test_what_a_python_app_has_started_ends_with_its_time(
    dfk: DataFlowKernel, started: Started, function: Callable[[str], None], processes: int
) -> None:
    future = python_app(function, data_flow_kernel=dfk)(started.path, walltime=1)
    family = started.processes(processes)
    worker = next(p for p in family if "parsl.executors.high_throughput.worker" in p.cmdline())
    others = [*(p for p in family if p != worker), *worker.children(recursive=True)]
    assert isinstance(future.exception(pilot.SOON), AppTimeout)
    assert gone(others)


def test_what_an_earlier_call_has_left_on_purpose_stays(dfk: DataFlowKernel, started: Started) -> None:
    python_app(start_daemon, data_flow_kernel=dfk)(started.path).result(pilot.SOON)
    (daemon,) = started.processes(1)
    assert isinstance(python_app(sleeping, data_flow_kernel=dfk)(walltime=LIMIT).exception(pilot.SOON), AppTimeout)
    assert daemon.is_running()


def test_a_bash_app_ends_with_grandchildren_and_daemons(dfk: DataFlowKernel, started: Started) -> None:
    @bash_app(data_flow_kernel=dfk)
    def family(path: str, walltime: float = 1) -> str:
        return f"{daemonised(path)}; (sleep 1000 & echo $! > {path}; wait) & echo $$ > {path}; wait"

    before = python_app(os.getpid, data_flow_kernel=dfk)().result(pilot.SOON)
    future = family(started.path)
    processes = started.processes(3)
    error = future.exception(pilot.SOON)
    begin = time.monotonic()
    assert isinstance(error, AppTimeout)
    assert gone(processes)
    assert python_app(os.getpid, data_flow_kernel=dfk)().result(pilot.SOON) == before
    chaos_report(
        "walltime over, bash app with grandchildren and a daemon",
        "`AppTimeout`; all are gone",
        time.monotonic() - begin,
    )


def test_the_function_that_makes_a_command_has_no_more_time_than_the_command(dfk: DataFlowKernel) -> None:
    @bash_app(data_flow_kernel=dfk)
    def slow(walltime: float = LIMIT) -> str:
        time.sleep(1000)
        return "true"

    assert isinstance(slow().exception(pilot.SOON), AppTimeout)
