"""Processes that die, freeze or are told to go, while tasks are with them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from concurrent.futures import wait

import psutil
import pytest

from parsl.app.app import bash_app, python_app
from parsl.dataflow.errors import DataFlowException
from parsl.executors.errors import BadStateException, ExecutorShutDownError
from parsl.executors.high_throughput.errors import (
    CommandClientBadError,
    InterchangeLost,
    ManagerLost,
    PoisonTask,
    WorkerLost,
)
from tests.live import pilot


@pytest.fixture
def executor():
    # A block that ends is no reason to give up here: what is lost with it is what is looked at.
    return pilot.htex(block_error_handler=False, heartbeat_period=1, heartbeat_threshold=2)


@pytest.fixture
def dfk(tmp_path, executor):
    with pilot.kernel(tmp_path, executor) as kernel:
        yield kernel


@pytest.fixture
def held(dfk, executor, gate):
    """Two tasks that wait on the two workers, and one that is queued."""
    futures = [python_app(pilot.wait_at, data_flow_kernel=dfk)(gate.path) for _ in range(3)]
    pilot.wait_for(lambda: pilot.running(executor, 2))
    return futures


# -- workers -----------------------------------------------------------------------------------------------------------


def leave():
    os._exit(7)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(1)


def system_exit():
    raise SystemExit(3)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "cause", "system_retries"),
    [
        (leave, "exit code 7", 0),
        (kill_itself, "signal SIGKILL", 0),
        (crash, "signal SIGSEGV", 0),
        # What a task asks for is its own failure in any case.
        (system_exit, "exit code 3 by SystemExit(3)", 3),
        (interrupt, "signal SIGINT by KeyboardInterrupt()", 0),
    ],
)
def test_a_task_that_ends_its_worker_costs_that_worker_and_no_other_task(tmp_path, end, cause, system_retries):
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1), system_retries=system_retries) as kernel:
        executor = kernel.executors["htex"]
        me = python_app(os.getpid, data_flow_kernel=kernel)
        before = me().result(pilot.SOON)
        first = [me() for _ in range(20)]
        fatal = python_app(end, data_flow_kernel=kernel)()
        rest = [me() for _ in range(20)]
        error = fatal.exception(pilot.SOON)
        assert isinstance(error, WorkerLost)
        assert (error.worker_id, error.hostname, error.cause) == (0, socket.gethostname(), cause)
        assert cause in str(error)
        note = error.__notes__[0]
        assert f"task {fatal.tid} " in note
        assert f"process {before}" in note
        assert os.path.isfile(note.partition("log: ")[2])
        assert {f.result(pilot.SOON) for f in first} == {before}
        (after,) = {f.result(pilot.SOON) for f in rest}
        assert after != before
        assert executor.outstanding() == 0
        assert [w.pid for w in pilot.workers_of(executor)] == [after]


def test_many_lost_workers_are_all_replaced(dfk, executor):
    die, me = (python_app(f, data_flow_kernel=dfk) for f in (leave, os.getpid))
    futures = [die() if i % 10 == 0 else me() for i in range(60)]
    errors = [f.exception(60) for f in futures]
    assert [type(e) for e in errors] == [PoisonTask if i % 10 == 0 else type(None) for i in range(60)]
    assert len(pilot.workers_of(executor)) == 2


def test_without_a_limit_of_its_own_a_lost_worker_is_retried_like_any_failure(tmp_path):
    with pilot.kernel(tmp_path, retries=2, system_retries=0) as kernel:

        @python_app(data_flow_kernel=kernel)
        def twice_fatal(path):
            with open(path, "a") as file:
                file.write("x")
            if os.path.getsize(path) < 3:
                os._exit(1)
            return os.path.getsize(path)

        assert twice_fatal(str(tmp_path / "tries")).result(pilot.SOON) == 3


def test_what_a_lost_worker_had_started_ends_with_it(dfk, executor, tmp_path):
    @bash_app(data_flow_kernel=dfk)
    def sleep(path):
        return f"echo $PPID $$ > {path}.new; mv {path}.new {path}; sleep 600 & sleep 600 & wait"

    files = [tmp_path / "first", tmp_path / "second"]
    futures = [sleep(f) for f in files]
    pilot.wait_for(lambda: all(f.exists() for f in files))
    pids = [[psutil.Process(int(n)) for n in f.read_text().split()] for f in files]
    commands = [pilot.wait_for(lambda shell=shell: shell.children()) for _, shell in pids]
    files[0].unlink()
    pids[0][0].kill()
    # It is run again once nothing of the first try is left.
    pilot.wait_for(files[0].exists)
    assert not pilot.still_there([*pids[0], *commands[0]], 5)
    # Nothing of the other one's.
    assert all(p.is_running() for p in [*pids[1], *commands[1]])
    assert not any(f.done() for f in futures)


def test_a_worker_killed_while_it_waits_takes_no_task_along(dfk, executor):
    me = python_app(os.getpid, data_flow_kernel=dfk)
    assert me().result(pilot.SOON)
    old = pilot.workers_of(executor)
    for worker in old:
        worker.kill()
    assert not pilot.still_there(old, pilot.SOON)
    results = {f.result(pilot.SOON) for f in [me() for _ in range(20)]}
    assert results.isdisjoint(w.pid for w in old)


# -- managers ----------------------------------------------------------------------------------------------------------


def test_a_killed_manager_takes_its_workers_and_tasks_along_and_no_others(dfk, executor, held):
    manager, workers = pilot.manager_of(executor), pilot.workers_of(executor)
    pilot.kill(manager)
    assert not pilot.still_there(workers, 5)
    for future in held[:2]:
        error = future.exception(pilot.SOON)
        assert isinstance(error, ManagerLost)
        assert error.hostname == socket.gethostname()
        assert error.manager_id in str(error)
        (note,) = error.__notes__
        assert f"task {future.tid} " in note
        assert "block 0" in note
    assert pilot.wait_for(lambda: executor.connected_managers() == [])
    assert executor.connected_blocks() == ["0"], "blocks that have connected are told for good"
    # What was queued waits for the next block.
    assert not held[2].done()
    assert executor.scale_out_facade(1) == ["1"]
    pilot.wait_for(executor.connected_managers)
    assert not held[2].done()


def test_a_frozen_manager_loses_its_tasks_after_the_threshold_and_ends_when_it_wakes(dfk, executor, held):
    manager, workers = pilot.manager_of(executor), pilot.workers_of(executor)
    began = time.monotonic()
    pilot.kill(manager, signal.SIGSTOP)
    try:
        error = held[0].exception(pilot.SOON)
        assert isinstance(error, ManagerLost)
        assert "not heard of" in str(error)
        assert 1 < time.monotonic() - began < 10
        assert isinstance(held[1].exception(pilot.SOON), ManagerLost)
    finally:
        pilot.kill(manager, signal.SIGCONT)
    # It is no longer known, so it must not go on.
    assert not pilot.still_there([manager, *workers], pilot.SOON)


def test_a_manager_told_to_end_says_goodbye(tmp_path, gate):
    with pilot.kernel(tmp_path, pilot.htex(block_error_handler=False)) as kernel:
        executor = kernel.executors["htex"]
        futures = [python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        manager, workers = pilot.manager_of(executor), pilot.workers_of(executor)
        # As a scheduler does; the heartbeat threshold is two minutes here.
        pilot.kill(manager, signal.SIGTERM)
        error = futures[0].exception(pilot.SOON)
        assert isinstance(error, ManagerLost)
        assert "SIGTERM" in str(error)
        assert not pilot.still_there([manager, *workers], 5)


def test_cancelling_a_busy_block_fails_its_tasks_at_once(dfk, executor, held):
    manager = pilot.manager_of(executor)
    assert executor.cancel_blocks(["0"]) == ["0"]
    assert isinstance(held[0].exception(pilot.SOON), ManagerLost)
    assert executor.status()["0"].status_name == "SCALED_IN"
    assert not pilot.still_there([manager], pilot.SOON)


# -- the interchange ---------------------------------------------------------------------------------------------------


def test_without_an_interchange_the_executor_fails_all_tasks_within_seconds(dfk, executor, held):
    manager, workers = pilot.manager_of(executor), pilot.workers_of(executor)
    direct = executor.submit(int, {})
    began = time.monotonic()
    executor._client._keeper.process._command = [sys.executable, "-c", "raise SystemExit('out of memory, perhaps')"]
    pilot.kill(pilot.interchange_of(executor))
    for future in [*held, direct]:
        error = future.exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert isinstance(error.__cause__, InterchangeLost)
        assert "SIGKILL" in str(error)
        assert "out of memory, perhaps" in str(error)
    assert time.monotonic() - began < 10
    assert executor.bad_state_is_set
    assert isinstance(executor.executor_exception, InterchangeLost)
    assert isinstance(python_app(int, data_flow_kernel=dfk)().exception(pilot.SOON), BadStateException)
    with pytest.raises(BadStateException):
        executor.submit(int, {})
    with pytest.raises(CommandClientBadError):
        executor.connected_managers()
    # They look for another one for a while, and end when the script does.
    assert manager.is_running()
    dfk.cleanup()
    assert not pilot.still_there([manager, *workers], 5)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_cleanup_ends_everything_while_tasks_run(tmp_path, gate):
    kernel = pilot.kernel(tmp_path)
    executor = kernel.executors["htex"]

    @bash_app(data_flow_kernel=kernel)
    def sleep(path):
        return f"sleep 600 & echo $! > {path}; wait"

    futures = [python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path), sleep(tmp_path / "pid")]
    futures += [python_app(int, data_flow_kernel=kernel)() for _ in range(3)]
    # The free one of the two workers may do some of the last; the first two are there for good.
    pilot.wait_for(lambda: os.path.exists(tmp_path / "pid") and (tmp_path / "pid").read_text().strip())
    direct = executor.submit(pilot.wait_at, {}, gate.path)
    processes = [*pilot.everything_of(executor), psutil.Process(int((tmp_path / "pid").read_text()))]
    assert len(processes) >= 7
    store = executor._client.store.folder
    began = time.monotonic()
    kernel.cleanup()
    assert time.monotonic() - began < 5
    assert not wait(futures, timeout=pilot.SOON).not_done
    assert isinstance(futures[0].exception(), DataFlowException)
    assert isinstance(direct.exception(pilot.SOON), ExecutorShutDownError)
    assert not pilot.still_there(processes, 5)
    assert not os.path.exists(store)
    kernel.cleanup()


def test_cleanup_ends_what_is_frozen(tmp_path, gate):
    kernel = pilot.kernel(tmp_path, pilot.htex(provider=pilot.provider()))
    executor = kernel.executors["htex"]
    executor.provider.kill_grace = 0.2
    processes = pilot.everything_of(executor)
    pilot.kill(pilot.manager_of(executor), signal.SIGSTOP)
    kernel.cleanup()
    assert not pilot.still_there(processes, 5)
