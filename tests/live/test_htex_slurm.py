"""Elastic blocks on a real Slurm, of which some are cancelled from outside."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from parsl.app.app import python_app
from parsl.jobs.states import JobState
from parsl.providers import SlurmProvider
from tests.cloud_services import service
from tests.live import pilot

pytestmark = [pytest.mark.services, pytest.mark.slow]

SOURCE = Path(__file__).parent.parent.parent / "src"


@pytest.fixture(scope="module", autouse=True)
def slurm():
    with service("slurm"):
        yield


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def provider(worker_init="", **options):
    options = {"partition": "debug", "walltime": "00:05:00", "exclusive": False, **options}
    return SlurmProvider(worker_init=f"export PYTHONPATH={SOURCE}\n{worker_init}", **options)


def jobs_in_slurm(executor):
    """Return those of the executor's jobs that Slurm still lists, without those that are just ending."""
    listed = run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
    states = dict(line.split() for line in listed)
    return [job for job in executor.provider.resources if states.get(job, "COMPLETING") != "COMPLETING"]


def square(number, seconds):
    import time

    time.sleep(seconds)
    return number * number


def test_the_first_result_comes_soon_after_slurm_has_started_the_block(tmp_path, capsys):
    begun = tmp_path / "begun"
    executor = pilot.htex(provider=provider(f"date +%s.%N > {begun}", init_blocks=1, max_blocks=1))
    with pilot.kernel(tmp_path, executor, strategy="simple") as kernel:
        assert python_app(square, data_flow_kernel=kernel)(7, 0).result(60) == 49
        seconds = time.time() - float(begun.read_text())
        with capsys.disabled():
            print(f"\nfirst result {seconds:.2f} s after the block's begin")
        # 1.5 s is the aim on a machine of one's own; here others work too.
        assert seconds < 5
    pilot.wait_for(lambda: not jobs_in_slurm(executor))


def test_no_task_is_lost_on_elastic_blocks_that_are_cancelled_at_random(tmp_path):
    elastic = provider(init_blocks=1, min_blocks=0, max_blocks=4, parallelism=1.0)
    executor = pilot.htex(provider=elastic, block_error_handler=False)
    options = {"strategy": "htex_auto_scale", "strategy_period": 0.5, "max_idletime": 1.0, "retries": 50}
    most, done, cancelled = 0, threading.Event(), []
    choose = random.Random(3)

    def cancel_some():
        nonlocal most
        while not done.wait(2):
            running = [
                j for j in jobs_in_slurm(executor) if executor.job_ids_to_block.get(j) in executor.connected_blocks()
            ]
            most = max(most, sum(executor.block_census()))
            if running:
                cancelled.append(choose.choice(running))
                run("scancel", cancelled[-1])

    with pilot.kernel(tmp_path, executor, **options) as kernel:
        thread = threading.Thread(target=cancel_some)
        thread.start()
        try:
            app = python_app(square, data_flow_kernel=kernel)
            futures = [app(n, 0.1) for n in range(500)]
            assert [future.result(200) for future in futures] == [n * n for n in range(500)]
        finally:
            done.set()
            thread.join()
        assert cancelled
        assert 1 < most <= 4
        # Without work all are given back, and Slurm has none of ours before the kernel ends.
        pilot.wait_for(lambda: executor.block_census() == (0, 0), 60)
        pilot.wait_for(lambda: not jobs_in_slurm(executor))
    assert {s.state for s in executor.status().values()} <= {JobState.SCALED_IN, JobState.CANCELLED, JobState.MISSING}


def test_the_end_leaves_nothing_in_slurm_whatever_is_on_its_way(tmp_path):
    executor = pilot.htex(provider=provider(init_blocks=2, max_blocks=8, parallelism=1.0))
    with pilot.kernel(tmp_path, executor, strategy="simple") as kernel:
        app = python_app(square, data_flow_kernel=kernel)
        # More blocks than nodes: some wait, some are being submitted, when it ends.
        for n in range(40):
            app(n, 60)
        pilot.wait_for(lambda: sum(executor.block_census()) == 8)
    pilot.wait_for(lambda: not jobs_in_slurm(executor), 60)
