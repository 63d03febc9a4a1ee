"""Workers and managers are killed, frozen, or lose a task for good, while real work runs."""

from __future__ import annotations

import os
import signal
import time

import pytest

from parsl.app.app import python_app
from parsl.executors.high_throughput.errors import ManagerLost, PoisonTask, WorkerLost
from tests.chaos.report import chaos_report
from tests.live import pilot


def die(path, times):
    """End the worker without a word, the first few times."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.path.getsize(path)


def two_blocks(**options):
    return pilot.htex(provider=pilot.provider(init_blocks=2, max_blocks=2), max_workers_per_node=1, **options)


def never(exception, task):
    raise AssertionError(f"the retry handler is not to be asked about {exception!r}")


def test_a_killed_worker_does_not_burn_retries(tmp_path):
    with pilot.kernel(tmp_path, retries=0, retry_handler=never) as kernel:
        app = python_app(die, data_flow_kernel=kernel)
        began = time.monotonic()
        future = app(str(tmp_path / "tries"), 2)
        assert future.result(pilot.SOON) == 3
        assert future.task_record["fail_cost"] == 0
        chaos_report("worker killed, twice under one task", "nothing: it is run again", time.monotonic() - began)


def test_a_task_that_kills_three_workers_is_poison(tmp_path):
    with pilot.kernel(tmp_path, retries=5, system_retries=9) as kernel:
        app = python_app(die, data_flow_kernel=kernel)
        began = time.monotonic()
        error = app(str(tmp_path / "tries"), 100).exception(pilot.SOON)
        chaos_report("worker killed by its task, always", "PoisonTask after three", time.monotonic() - began)
        assert isinstance(error, PoisonTask)
        assert isinstance(error, WorkerLost)
        assert error.times == 3
        assert "not given to another" in str(error)
        assert "SIGKILL" in str(error)
        assert os.path.getsize(tmp_path / "tries") == 3
        # The others go on.
        assert python_app(abs, data_flow_kernel=kernel)(-1).result(pilot.SOON) == 1


def test_the_limit_of_losses(tmp_path):
    with pilot.kernel(tmp_path, retries=5, system_retries=1) as kernel:
        error = python_app(die, data_flow_kernel=kernel)(str(tmp_path / "tries"), 100).exception(pilot.SOON)
        assert type(error) is WorkerLost
        assert os.path.getsize(tmp_path / "tries") == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_tasks_of_a_lost_manager_run_on_another(tmp_path, gate, how):
    executor = two_blocks(heartbeat_period=1, heartbeat_threshold=2)
    with pilot.kernel(tmp_path, executor, retry_handler=never) as kernel:
        app = python_app(pilot.wait_at, data_flow_kernel=kernel)
        futures = [app(gate.path) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        managers = {m["manager"]: m["process_id"] for m in executor.connected_managers()}
        lost, process_id = next(iter(managers.items()))
        began = time.monotonic()
        os.kill(process_id, how)
        try:
            pilot.wait_for(lambda: lost not in {m["manager"] for m in executor.connected_managers()})
            pilot.wait_for(lambda: pilot.running(executor, 1))
            # The worker of a frozen manager takes one more.
            gate.let(3)
            (worker,) = {f.result(pilot.SOON) for f in futures}
            assert worker, "both ran on the one that is left"
            word = "killed" if how == signal.SIGKILL else "frozen (threshold 2 s)"
            chaos_report(f"manager {word}, another is there", "nothing: its tasks run there", time.monotonic() - began)
        finally:
            if how == signal.SIGSTOP:
                os.kill(process_id, signal.SIGCONT)


def test_the_tasks_of_the_only_manager_run_in_the_block_that_comes_for_it(tmp_path, gate):
    # By the simple rule, an executor all whose blocks have failed is given up.
    executor = pilot.htex(block_error_handler=False)
    with pilot.kernel(tmp_path, executor, strategy="simple", retry_handler=never) as kernel:
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        old = pilot.manager_of(executor)
        began = time.monotonic()
        pilot.kill(old)
        gate.let(1)
        assert future.result(60)
        chaos_report("only manager killed, blocks follow the work", "nothing: runs anew", time.monotonic() - began)


def test_where_nothing_else_is_or_comes_a_lost_manager_is_told(tmp_path, gate):
    executor = pilot.htex(heartbeat_period=1, heartbeat_threshold=2)
    with pilot.kernel(tmp_path, executor) as kernel:
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        manager = pilot.manager_of(executor)
        began = time.monotonic()
        pilot.kill(manager, signal.SIGSTOP)
        try:
            assert isinstance(future.exception(pilot.SOON), ManagerLost)
            chaos_report("only manager frozen (threshold 2 s)", "ManagerLost", time.monotonic() - began)
        finally:
            pilot.kill(manager, signal.SIGCONT)
