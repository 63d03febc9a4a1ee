"""Blocks that come, go and fail; executors side by side, one after another, and without a kernel."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import wait

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.errors import BadStateException, ExecutorShutDownError
from parsl.executors.high_throughput.errors import ManagerLost
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LocalProvider
from tests.live import pilot


def block_of_worker() -> str:
    return os.environ["PARSL_WORKER_BLOCK_ID"]


# -- blocks that fail --------------------------------------------------------------------------------------------------

BAD = {
    "worker_init": (
        {"provider": lambda: pilot.provider(worker_init="echo no module named spam >&2\nexit 3")},
        ["MISSING", "EXIT CODE: 3", "no module named spam"],
    ),
    "a good end too early": ({"provider": lambda: pilot.provider(worker_init="exit 0")}, ["MISSING", "EXIT CODE: 0"]),
    "several blocks": (
        {"provider": lambda: pilot.provider(worker_init="exit 4", init_blocks=2, max_blocks=2)},
        ["2 blocks failed", "Block 0", "Block 1", "EXIT CODE: 4"],
    ),
    "interpreter": (
        {"launch_cmd": "/no/such/python -m parsl.executors.high_throughput.process_worker_pool"},
        ["EXIT CODE: 127", "/no/such/python"],
    ),
    "option": ({"launch_cmd": f"{pilot.OVER_TCP} --no-such-option"}, ["EXIT CODE: 2", "--no-such-option"]),
    "affinity": ({"cpu_affinity": "list:0:9999"}, ["EXIT CODE: 1", "9999", "may not use"]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_block_that_cannot_start_fails_all_tasks_in_seconds_with_its_own_words(tmp_path, what):
    options, expected = BAD[what]
    options = {k: v() if callable(v) else v for k, v in options.items()}
    with pilot.kernel(tmp_path, pilot.htex(**options)) as kernel:
        executor = kernel.executors["htex"]
        began = time.monotonic()
        futures = [kernel.submit(int, ()) for _ in range(3)]
        for future in futures:
            error = future.exception(pilot.SOON)
            assert isinstance(error, BadStateException)
            assert isinstance(error.__cause__, TooManyJobFailuresError)
            for part in expected:
                assert part in str(error)
        assert time.monotonic() - began < 10
        assert executor.status()["0"].state is JobState.MISSING
        assert executor.outstanding() == 0
        assert isinstance(kernel.submit(int, ()).exception(pilot.SOON), BadStateException)


def test_a_node_whose_workers_do_not_start_gives_up(tmp_path):
    # Only a worker heeds this; the manager gets on.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'parsl.executors.high_throughput.worker' in sys.orig_argv: __import__('os')._exit(9)\n"
    )
    command = f"export PYTHONPATH=$PYTHONPATH:{tmp_path}; {pilot.OVER_TCP}"
    with pilot.kernel(tmp_path, pilot.htex(launch_cmd=command)) as kernel:
        executor = kernel.executors["htex"]
        error = kernel.submit(int, ()).exception(pilot.SOON)
        assert isinstance(error, ManagerLost)
        assert "workers do not start: exit code 9" in str(error)
        pilot.wait_for(lambda: executor.bad_state_is_set)
        assert "workers do not start" in str(executor.executor_exception)
        assert executor.status()["0"].state is JobState.FAILED


class Refusing(LocalProvider):
    """A provider whose batch system takes no jobs."""

    def submit(self, command, tasks_per_node, job_name="parsl.auto"):
        raise RuntimeError("the queue is closed")


def test_a_block_that_cannot_be_submitted_fails_all_tasks(tmp_path):
    with pilot.kernel(tmp_path, pilot.htex(provider=Refusing(init_blocks=1))) as kernel:
        error = kernel.submit(int, ()).exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert "the queue is closed" in str(error)
        assert kernel.executors["htex"].status()["0"].state is JobState.MISSING


def test_without_a_handler_tasks_wait_for_a_better_block(tmp_path):
    flag = tmp_path / "good"
    provider = pilot.provider(worker_init=f"test -e {flag} || exit 5")
    with pilot.kernel(tmp_path, pilot.htex(provider=provider, block_error_handler=False)) as kernel:
        executor = kernel.executors["htex"]
        future = python_app(block_of_worker, data_flow_kernel=kernel)()
        pilot.wait_for(lambda: executor.status()["0"].state is JobState.MISSING)
        assert not executor.bad_state_is_set
        assert not future.done()
        flag.touch()
        executor.scale_out_facade(1)
        assert future.result(pilot.SOON) == "1"
        # Giving back one that has never connected, or has ended, is no error.
        assert executor.scale_in(2) == ["1"]


def test_a_handler_of_the_users_own_decides(tmp_path):
    seen = []

    def handler(executor, status: dict[str, JobStatus]) -> None:
        seen.append({b: s.state for b, s in status.items()})
        if any(s.exit_code == 6 for s in status.values()):
            executor.set_bad_state_and_fail_all(LookupError("I have seen a 6"))

    provider = pilot.provider(worker_init="exit 6")
    with pilot.kernel(tmp_path, pilot.htex(provider=provider, block_error_handler=handler)) as kernel:
        error = kernel.submit(int, ()).exception(pilot.SOON)
        assert isinstance(error.__cause__, LookupError)
        assert "I have seen a 6" in str(error)
    assert seen[-1] == {"0": JobState.MISSING}


def test_a_window_of_failures_is_enough_for_the_windowed_handler(tmp_path):
    flag = tmp_path / "bad"
    provider = pilot.provider(worker_init=f"test ! -e {flag} || exit 5", max_blocks=10)
    with pilot.kernel(tmp_path, pilot.htex(provider=provider, block_error_handler=windowed_error_handler)) as kernel:
        executor = kernel.executors["htex"]
        assert kernel.submit(int, ()).result(pilot.SOON) == 0
        flag.touch()
        assert executor.scale_in(1) == ["0"]
        executor.scale_out_facade(3)
        assert isinstance(kernel.submit(int, ()).exception(pilot.SOON), BadStateException)
        assert executor.status()["0"].state is JobState.SCALED_IN


# -- blocks that come and go -------------------------------------------------------------------------------------------


def test_blocks_follow_the_work(tmp_path, gate):
    provider = pilot.provider(init_blocks=0, max_blocks=3)
    executor = pilot.htex(provider=provider)
    with pilot.kernel(tmp_path, executor, strategy="simple", strategy_period=0.1, max_idletime=0.5) as kernel:
        wait_at = python_app(pilot.wait_at, data_flow_kernel=kernel)
        assert executor.status() == {}
        futures = [wait_at(gate.path)]
        pilot.wait_for(lambda: pilot.running(executor, 1))
        assert list(executor.status()) == ["0"]
        futures += [wait_at(gate.path) for _ in range(3)]
        pilot.wait_for(lambda: pilot.running(executor, 4))
        assert list(executor.status()) == ["0", "1"]
        futures += [wait_at(gate.path) for _ in range(20)]
        pilot.wait_for(lambda: pilot.running(executor, 6))
        assert list(executor.status()) == ["0", "1", "2"]
        gate.let(len(futures))
        assert all(f.result(pilot.SOON) for f in futures)
        pilot.wait_for(lambda: {s.state for s in executor.status().values()} == {JobState.SCALED_IN})
        assert kernel.submit(block_of_worker, ()).result(pilot.SOON) == "3"


class Slow(LocalProvider):
    """A provider whose batch system says for long that jobs are still waiting."""

    def status(self, job_ids):
        return [JobStatus(JobState.PENDING) for _ in job_ids]


@pytest.mark.parametrize("parallelism", [0, 1])
def test_one_task_makes_one_block_however_stale_the_status_is(tmp_path, gate, parallelism):
    executor = pilot.htex(provider=Slow(init_blocks=0, max_blocks=5, parallelism=parallelism))
    with pilot.kernel(tmp_path, executor, strategy="simple", strategy_period=0.05) as kernel:
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        # Several rounds of the strategy.
        looked = threading.Event()
        rounds = iter(range(6))
        strategize = kernel.job_status_poller._strategy.strategize
        kernel.job_status_poller._strategy.strategize = lambda e: (
            strategize(e),
            next(rounds, None) is None and looked.set(),
        )
        assert looked.wait(pilot.SOON)
        assert list(executor.status()) == ["0"]
        gate.let(1)
        assert future.result(pilot.SOON)


def test_the_end_cancels_each_block(tmp_path):
    cancelled = []

    class Watching(LocalProvider):
        def cancel(self, job_ids):
            cancelled.extend(job_ids)
            return super().cancel(job_ids)

    executor = pilot.htex(provider=Watching(init_blocks=2, max_blocks=2))
    with pilot.kernel(tmp_path, executor) as kernel:
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        jobs = kernel.executors["htex"].blocks_to_job_id
    assert sorted(cancelled) == sorted(jobs.values())
    assert len(jobs) == 2


def test_a_block_that_never_connects_can_be_given_back(tmp_path):
    executor = pilot.htex(provider=pilot.provider(worker_init="sleep 60"))
    executor.provider.kill_grace = 0.2
    with pilot.kernel(tmp_path, executor):
        assert list(executor.status()) == ["0"]
        assert executor.scale_in(1) == ["0"]
        assert executor.status()["0"].state is JobState.SCALED_IN
        assert executor.connected_blocks() == []
        assert not executor.bad_state_is_set


def test_idle_blocks_are_given_back_before_busy_ones(tmp_path, gate):
    executor = pilot.htex(provider=pilot.provider(init_blocks=2, max_blocks=2), max_workers_per_node=1)
    with pilot.kernel(tmp_path, executor) as kernel:
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        busy = pilot.wait_for(lambda: [m["block_id"] for m in executor.connected_managers() if m["tasks"]])
        assert executor.scale_in(2, max_idletime=0.0) == [b for b in ("0", "1") if b not in busy]
        gate.let(1)
        assert future.result(pilot.SOON)


def test_after_its_drain_period_a_block_ends_well_and_with_its_tasks_done(tmp_path, gate):
    executor = pilot.htex(drain_period=1, block_error_handler=False)
    with pilot.kernel(tmp_path, executor) as kernel:
        wait_at = python_app(pilot.wait_at, data_flow_kernel=kernel)
        futures = [wait_at(gate.path) for _ in range(3)]
        pilot.wait_for(lambda: [m["draining"] for m in executor.connected_managers()] == [True])
        assert [m["active"] for m in executor.connected_managers()] == [False]
        gate.let(3)
        assert futures[0].result(pilot.SOON)
        assert futures[1].result(pilot.SOON)
        pilot.wait_for(lambda: executor.status()["0"].state is JobState.COMPLETED)
        assert executor.status()["0"].exit_code == 0
        assert not futures[2].done(), "it was not to be taken any more"
        executor.scale_out_facade(1)
        assert futures[2].result(pilot.SOON)


def test_a_held_manager_gets_no_further_task(tmp_path, gate):
    executor = pilot.htex(provider=pilot.provider(max_blocks=2))
    with pilot.kernel(tmp_path, executor) as kernel:
        running = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
        pilot.wait_for(lambda: pilot.running(executor, 1))
        executor.hold_worker(executor.connected_managers()[0]["manager"])
        assert executor.connected_managers()[0]["active"] is False
        later = python_app(block_of_worker, data_flow_kernel=kernel)()
        gate.let(1)
        assert running.result(pilot.SOON)
        assert not later.done()
        executor.scale_out_facade(1)
        assert later.result(pilot.SOON) == "1"


# -- several executors, and none but one -------------------------------------------------------------------------------


def test_two_executors_and_two_kernels_do_not_meet(tmp_path):
    first = pilot.kernel(tmp_path, pilot.htex(label="a", max_workers_per_node=1), pilot.htex(label="b"))
    second = pilot.kernel(tmp_path, pilot.htex(label="a", max_workers_per_node=1))
    with first, second:
        pids = {}
        for name, kernel, label in (("1a", first, "a"), ("1b", first, "b"), ("2a", second, "a")):
            app = python_app(os.getppid, data_flow_kernel=kernel, executors=[label])
            futures = [app() for _ in range(20)]
            (pids[name],) = {f.result(pilot.SOON) for f in futures}
            assert pids[name] == pilot.manager_of(kernel.executors[label]).pid
        assert len(set(pids.values())) == 3
        assert first.run_dir != second.run_dir
        first.cleanup()
        assert python_app(os.getppid, data_flow_kernel=second)().result(pilot.SOON) == pids["2a"]


def test_an_executor_can_be_added_to_a_running_kernel(tmp_path):
    with pilot.kernel(tmp_path) as kernel:
        kernel.add_executors([pilot.htex(label="late")])
        assert python_app(os.getppid, data_flow_kernel=kernel, executors=["late"])().result(pilot.SOON) > 0


def test_the_same_configuration_can_be_loaded_again_and_the_first_folder_be_gone(tmp_path):
    config = Config(executors=[pilot.htex()], strategy="none", run_dir=str(tmp_path / "runs"))
    for _ in range(2):
        with DataFlowKernel(config) as kernel:
            assert python_app(os.getppid, data_flow_kernel=kernel)().result(pilot.SOON) > 0
            assert list(kernel.executors["htex"].blocks_to_job_id) != []
        shutil.rmtree(kernel.run_dir)


def test_an_executor_works_without_a_kernel(tmp_path):
    executor = pilot.htex(provider=pilot.provider(init_blocks=0))
    executor.run_dir = str(tmp_path)
    for round_ in range(2):
        with executor:
            executor.start()
            future = executor.submit(pow, {}, 2, 5)
            assert executor.scale_out_facade(1) == [str(round_)]
            assert future.result(pilot.SOON) == 32
            assert executor.connected_managers()[0]["block_id"] == str(round_)
            pids = [executor.submit(os.getpid, {"priority": 1}) for _ in range(50)]
            assert not wait(pids, timeout=pilot.SOON).not_done
            open_call = executor.submit(time.sleep, {}, 600)
        assert isinstance(open_call.exception(pilot.SOON), ExecutorShutDownError)
        assert executor.connected_managers() == []
        with pytest.raises(ExecutorShutDownError):
            executor.submit(pow, {}, 2, 5)
        executor.shutdown()
    assert os.path.getsize(tmp_path / "htex" / "interchange.log") > 0


def test_logs_of_nodes_go_to_a_folder_of_their_own(tmp_path):
    executor = pilot.htex(worker_logdir_root=str(tmp_path / "elsewhere"), worker_debug=True)
    with pilot.kernel(tmp_path, executor) as kernel:
        assert kernel.submit(int, ()).result(pilot.SOON) == 0
        folder = tmp_path / "elsewhere" / "htex" / "block-0" / executor.connected_managers()[0]["manager"]
        pilot.wait_for(lambda: {"manager.log", "worker_0.log", "worker_1.log"} <= {p.name for p in folder.iterdir()})
    assert "Call 1 begins" in "".join(p.read_text() for p in folder.glob("worker_*.log"))
    assert not os.path.exists(os.path.join(kernel.run_dir, "htex", "block-0"))
