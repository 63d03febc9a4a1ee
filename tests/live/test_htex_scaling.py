"""Blocks that are given back, cancelled, killed and frozen under real tasks; providers that hang."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from parsl.app.app import python_app
from parsl.executors import block_scaling
from parsl.executors.high_throughput.errors import ManagerLost
from parsl.jobs import block_keeper, job_status_poller
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LocalProvider
from tests.live import pilot


@pytest.fixture(params=["file system", "TCP"])
def way(request):
    """How managers connect, as options of the executor."""
    return {} if request.param == "file system" else {"launch_cmd": pilot.OVER_TCP}


def state_of(executor, block_id):
    return executor.status()[block_id].state


def processes_of(executor):
    """Return the scripts of the executor's blocks and all that runs below them."""
    scripts = [psutil.Process(int(job)) for job in executor.blocks_to_job_id.values() if psutil.pid_exists(int(job))]
    return [*scripts, *(p for script in scripts for p in script.children(recursive=True))]


def block_after(seconds):
    import os
    import time

    time.sleep(seconds)
    return os.environ["PARSL_WORKER_BLOCK_ID"]


# -- giving back -------------------------------------------------------------------------------------------------------


def test_a_block_with_a_running_task_is_given_back_when_that_has_ended(tmp_path, gate, way, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0.1)
    executor = pilot.htex(**way)
    with pilot.kernel(tmp_path, executor) as kernel:
        running = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        block = processes_of(executor)
        assert executor.scale_in(1) == ["0"]
        later = python_app(block_after, data_flow_kernel=kernel)(0)
        assert [(m["active"], m["draining"], m["tasks"]) for m in executor.connected_managers()] == [(False, True, 1)]
        assert state_of(executor, "0") is JobState.RUNNING
        assert executor.scale_in(1) == [], "it is on its way out already"
        gate.let(1)
        assert running.result(pilot.SOON)
        pilot.wait_for(lambda: state_of(executor, "0") is JobState.SCALED_IN)
        assert pilot.still_there(block, pilot.SOON) == []
        assert not later.done(), "it was not to be taken any more"
        executor.scale_out_facade(1)
        assert later.result(pilot.SOON) == "1"


def test_idle_blocks_are_cancelled_when_a_user_gives_them_back(tmp_path, way):
    executor = pilot.htex(provider=pilot.provider(init_blocks=2, max_blocks=2), **way)
    with pilot.kernel(tmp_path, executor):
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        assert sorted(executor.scale_in(2)) == ["0", "1"]
        assert {s.state for s in executor.status().values()} == {JobState.SCALED_IN}
        assert executor.connected_managers() == []


def test_no_task_is_lost_while_blocks_come_and_go(tmp_path):
    """No retries: a task that is killed with its block would be seen."""
    provider = pilot.provider(init_blocks=2, max_blocks=3, min_blocks=1)
    executor = pilot.htex(provider=provider, max_workers_per_node=1)
    options = {"strategy": "htex_auto_scale", "strategy_period": 0.1, "max_idletime": 0.2, "retries": 0}
    with pilot.kernel(tmp_path, executor, **options) as kernel:
        app = python_app(block_after, data_flow_kernel=kernel)
        futures, given_back = [], []

        def nearly_done():
            return sum(f.done() for f in futures) > len(futures) - 25

        for _ in range(6):
            futures += [app(0.02) for _ in range(40)]
            pilot.wait_for(nearly_done)
            given_back += executor.scale_in(1)
        assert len({f.result(pilot.SOON) for f in futures}) > 1
        assert len(given_back) >= 3
        pilot.wait_for(lambda: all(state_of(executor, b) is JobState.SCALED_IN for b in given_back))
        assert executor.block_census().serving <= 3
        pilot.wait_for(lambda: executor.block_census() == (1, 0))
    assert {s.state for s in executor.status().values()} == {JobState.SCALED_IN}


def test_a_frozen_manager_that_is_drained_is_given_up_like_any(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0)
    executor = pilot.htex(heartbeat_period=1, heartbeat_threshold=2, block_error_handler=False)
    executor.provider.kill_grace = 0.2
    with pilot.kernel(tmp_path, executor) as kernel:
        running = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        block = processes_of(executor)
        pilot.kill(pilot.manager_of(executor), signal.SIGSTOP)
        executor.scale_in(1)
        assert isinstance(running.exception(pilot.SOON), ManagerLost)
        pilot.wait_for(lambda: state_of(executor, "0") is JobState.SCALED_IN)
        assert pilot.still_there(block, pilot.SOON) == []


def test_the_end_does_not_wait_for_blocks_that_are_being_emptied(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0)
    executor = pilot.htex()
    with pilot.kernel(tmp_path, executor) as kernel:
        python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        block = processes_of(executor)
        executor.scale_in(1)
        began = time.monotonic()
    assert time.monotonic() - began < block_scaling.SHUTDOWN_SECONDS
    assert pilot.still_there(block, pilot.SOON) == []
    assert state_of(executor, "0") is JobState.SCALED_IN


def test_an_executor_without_a_kernel_gives_back_a_block_when_it_is_empty(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0)
    executor = pilot.htex(provider=pilot.provider(init_blocks=0))
    executor.run_dir = str(tmp_path)
    with executor:
        executor.start()
        executor.scale_out_facade(1)
        running = executor.submit(pilot.wait_at, {}, gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        assert executor.scale_in(1) == ["0"]
        gate.let(1)
        assert running.result(pilot.SOON)
        pilot.wait_for(lambda: state_of(executor, "0") is JobState.SCALED_IN)


# -- blocks that end otherwise -----------------------------------------------------------------------------------------


class Rare(LocalProvider):
    """A provider that is asked by itself once an hour."""

    status_polling_interval = 3600


@pytest.fixture
def rarely(monkeypatch):
    """Providers are asked when there is a reason to."""
    monkeypatch.setattr(block_keeper, "FIRST_LOOK", 3600)


def test_that_all_managers_of_a_block_are_gone_is_reason_to_ask(tmp_path, rarely):
    executor = pilot.htex(provider=Rare(init_blocks=1, max_blocks=1), block_error_handler=False)
    with pilot.kernel(tmp_path, executor):
        pilot.wait_for(executor.connected_managers)
        block = processes_of(executor)
        pilot.kill(pilot.manager_of(executor))
        assert pilot.still_there(block, pilot.SOON) == []
        # The script may end after its manager's connection did; the next reason is then a look of our own.
        pilot.wait_for(lambda: state_of(executor, "0").name == "FAILED" or executor.blocks_changed(True))
        assert executor.status()["0"].exit_code == 128 + signal.SIGKILL


class Lying(LocalProvider):
    """A provider whose batch system says that all is over."""

    def status(self, job_ids):
        return [JobStatus(JobState.COMPLETED, "not found") for _ in job_ids]


def test_a_block_that_is_heard_of_is_not_replaced_whatever_the_provider_says(tmp_path, gate, rarely):
    executor = pilot.htex(provider=Lying(init_blocks=1, max_blocks=3))
    with pilot.kernel(tmp_path, executor, strategy="simple", strategy_period=0.05) as kernel:
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        for _ in range(5):
            kernel.job_status_poller.poll()
        status = executor.status()
        assert list(status) == ["0"]
        assert status["0"].state is JobState.RUNNING
        assert "the provider says COMPLETED, but its managers are connected: not found" in status["0"].message
        gate.let(1)
        assert future.result(pilot.SOON)
        pilot.kill(pilot.manager_of(executor))
        pilot.wait_for(lambda: state_of(executor, "0") is JobState.COMPLETED)
        # What has really ended is to be cleared away too.
        jobs = list(executor.provider.resources)
        pilot.wait_for(lambda: LocalProvider.status(executor.provider, jobs)[0].terminal)


def test_a_block_that_somebody_else_cancels_is_replaced_and_its_tasks_run_again(tmp_path, gate):
    executor = pilot.htex(provider=pilot.provider(max_blocks=1), block_error_handler=False)
    options = {"strategy": "simple", "strategy_period": 0.2, "retries": 1}
    with pilot.kernel(tmp_path, executor, **options) as kernel:
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        executor.provider.cancel([executor.blocks_to_job_id["0"]])
        pilot.wait_for(lambda: state_of(executor, "0") is JobState.CANCELLED)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        assert executor.connected_managers()[0]["block_id"] == "1"
        gate.let(1)
        assert future.result(pilot.SOON)


def test_a_bad_worker_init_is_not_tried_in_a_tight_loop(tmp_path):
    provider = pilot.provider(init_blocks=0, max_blocks=1, worker_init="exit 9")
    executor = pilot.htex(provider=provider, block_error_handler=False)
    with pilot.kernel(tmp_path, executor, strategy="simple", strategy_period=0.05) as kernel:
        kernel.submit(int, ())
        pilot.wait_for(lambda: len(executor.status()) == 3)
        asked = [block.since for block in executor._blocks.values()]
        assert asked[1] - asked[0] >= 1
        assert asked[2] - asked[1] >= 2
        assert executor.status()["0"].exit_code == 9


# -- providers that hang -----------------------------------------------------------------------------------------------


class Hanging(LocalProvider):
    """A provider whose `what` does not return until it is let go."""

    def __init__(self, what, **options):
        super().__init__(**options)
        self.what = what
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def _maybe_hang(self, what):
        if what == self.what:
            self.hangs.set()
            assert self.go_on.wait(60)

    def submit(self, *args, **kwargs):
        self._maybe_hang("submit")
        return super().submit(*args, **kwargs)

    def status(self, job_ids):
        self._maybe_hang("status")
        return super().status(job_ids)


@pytest.mark.parametrize("what", ["submit", "status"])
def test_a_provider_that_hangs_keeps_neither_another_executor_nor_the_end_waiting(tmp_path, monkeypatch, what, caplog):
    monkeypatch.setattr(job_status_poller, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(job_status_poller, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(block_scaling, "SHUTDOWN_SECONDS", 1.0)
    hanging = Hanging(what, init_blocks=1, max_blocks=1)
    bad, good = pilot.htex(label="bad", provider=hanging), pilot.htex(label="good")
    with caplog.at_level(logging.WARNING), pilot.kernel(tmp_path, bad, good) as kernel:
        assert hanging.hangs.wait(pilot.SOON)
        app = python_app(block_after, data_flow_kernel=kernel, executors=["good"])
        assert app(0).result(pilot.SOON) == "0"
        assert good.scale_in(1) == ["0"]
        good.scale_out_facade(1)
        assert app(0).result(pilot.SOON) == "1"
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert "The provider of executor bad has not answered" in caplog.text
    late = [t for t in threading.enumerate() if t.name == "parsl-blocks-bad"]
    hanging.go_on.set()
    for thread in late:
        thread.join(pilot.SOON)
    assert {s.state for s in bad.status().values()} == {JobState.SCALED_IN}
    scripts = [psutil.Process(int(job)) for job in hanging.resources if psutil.pid_exists(int(job))]
    assert pilot.still_there(scripts, pilot.SOON) == []


def test_the_log_of_a_run_tells_what_became_of_its_blocks(tmp_path):
    executor = pilot.htex()
    with pilot.kernel(tmp_path, executor) as kernel:
        assert kernel.submit(os.getpid, ()).result(pilot.SOON)
        executor.scale_in(1)
    text = (Path(kernel.run_dir) / "parsl.log").read_text()
    for words in (
        "Scaling out blocks of executor htex: 0",
        "RUNNING after PENDING",
        "Block 0 of executor htex is being",
    ):
        assert words in text
