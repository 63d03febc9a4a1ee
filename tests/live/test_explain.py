"""Why a task of the pilot waits, asked of real processes, and of the database that another process would read."""

from __future__ import annotations

import sys
import threading

from parsl.app.app import python_app
from parsl.dataflow import waiting_reports
from parsl.dataflow.explanations import Reason
from parsl.executors import MPIExecutor
from parsl.launchers import SimpleLauncher
from parsl.monitoring import MonitoringHub
from parsl.monitoring.queries.opening import open_run
from parsl.monitoring.queries.waiting import why_waiting
from parsl.providers import LocalProvider
from tests.live.pilot import htex, kernel, provider, wait_for


def until_file(path):
    """Run until a file is there."""
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.02)


def test_running_and_queued(tmp_path):
    leave = tmp_path / "leave"
    with kernel(tmp_path, htex(max_workers_per_node=1)) as made:
        app = python_app(until_file, data_flow_kernel=made)
        futures = [app(str(leave)) for _ in range(3)]
        first = wait_for(lambda: made.explain(futures[0]).reason is Reason.RUNNING and made.explain(futures[0]))
        third = made.explain(futures[2])
        status = made.status()
        leave.touch()
        for future in futures:
            future.result()
    assert "in block 0 of executor htex" in str(first)
    assert (third.reason, third.blocker.cause.facts["position"], third.blocker.cause.facts["workers"]) == (
        Reason.QUEUED, 2, 1,
    )  # fmt: skip
    assert "Block 0 (job" in str(third)
    assert (status.executors["htex"].outstanding, status.executors["htex"].workers) == (3, 1)
    assert sum(status.executors["htex"].blocks.values()) == 1


def test_without_blocks(tmp_path):
    with kernel(tmp_path, htex(provider=provider(init_blocks=0))) as made:
        future = python_app(until_file, data_flow_kernel=made)(str(tmp_path))
        made.loop.call(lambda: None)
        found = made.explain(future)
        assert found.reason is Reason.NO_WORKERS
        assert "It has no block now, and may have 1 of LocalProvider." in str(found)
        made.executors["htex"].scale_out_facade(1)
        future.result()


def test_a_block_that_fails_is_told_in_the_providers_words(tmp_path):
    broken = LocalProvider(init_blocks=1, max_blocks=1, worker_init="echo no such module >&2; exit 7")
    with kernel(tmp_path, htex(provider=broken, block_error_handler=False)) as made:
        future = python_app(until_file, data_flow_kernel=made)(str(tmp_path))
        text = wait_for(lambda: "The last block to fail was" in (text := str(made.explain(future))) and text)
        future.cancel()
    assert "is 1st of 1 in the queue of executor htex, and no worker is connected" in text
    assert "MISSING" in text


def test_a_task_that_no_block_lasts_long_enough_for(tmp_path):
    long = f"export PARSL_BLOCK_ENDS=$({sys.executable} -c 'import time; print(int(time.time()) + 600)')"
    with kernel(tmp_path, htex(provider=provider(worker_init=long))) as made:
        app = python_app(until_file, data_flow_kernel=made)
        app(str(tmp_path)).result()  # it is connected
        future = app(str(tmp_path), parsl_resource_specification={"walltime": 3000})
        made.loop.call(lambda: None)
        found = made.explain(future)
        future.cancel()
    assert found.reason is Reason.NO_ROOM
    assert "it declares 50 min, and no block that is there lasts longer than" in str(found)


def test_the_same_from_the_database(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting_reports, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(waiting_reports, "LONG_SECONDS", 0.1)
    leave = tmp_path / "leave"
    with kernel(tmp_path, htex(max_workers_per_node=1), monitoring=MonitoringHub()) as made:
        app = python_app(until_file, data_flow_kernel=made)
        futures = [app(str(leave)) for _ in range(3)]
        last = python_app(lambda *_: None, data_flow_kernel=made)(futures[2], futures[1])

        def said():
            # The run is in the database once its first batch is.
            try:
                queries, run = open_run(made.run_dir)
            except ValueError:
                return None
            with queries:
                found = why_waiting(queries, run.run, last.tid)
            # What was said before the first of them ran is said anew soon.
            return found if "2nd of 2 in the queue of executor htex; workers" in str(found) else None

        found = wait_for(said)
        leave.touch()
        last.result()
    assert [(step.task, step.cause.reason) for step in found.steps][:2] == [
        (3, Reason.DEPENDENCY), (2, Reason.QUEUED),
    ]  # fmt: skip
    assert "So said the kernel" in str(found)


def test_an_explanation_from_another_thread(tmp_path):
    with kernel(tmp_path, htex()) as made:
        future = python_app(abs, data_flow_kernel=made)(-1)
        found = []
        thread = threading.Thread(target=lambda: found.append(made.explain(future)))
        thread.start()
        thread.join()
        assert future.result() == 1
    assert found[0].task == 0


def test_a_task_of_mpi_tells_which_nodes_are_missing(tmp_path):
    leave = tmp_path / "leave"
    block = provider(worker_init="export SLURM_JOB_NODELIST=node-[1-3]", launcher=SimpleLauncher())
    executor = MPIExecutor(
        label="mpi", mpi_launcher="srun", provider=block, max_workers_per_block=3, encrypted=False, address="127.0.0.1"
    )
    with kernel(tmp_path, executor) as made:
        app = python_app(until_file, data_flow_kernel=made)
        asked = [
            app(str(leave), parsl_resource_specification={"num_nodes": number, "ranks_per_node": 1})
            for number in (2, 3, 2)
        ]
        wait_for(lambda: "on 2 nodes: node-1, node-2" in str(made.explain(asked[0])))
        wait_for(lambda: all(made.explain(one).reason is Reason.QUEUED for one in asked[1:]))
        wait_for(lambda: "for 3 nodes" in str(made.explain(asked[2])))
        second, third = map(str, map(made.explain, asked[1:]))
        leave.touch()
        for future in asked:
            future.result()
    assert "waits for 3 nodes with the manager on" in second
    assert "1 of 3 is free, and it is the next" in second
    assert "1 of 3 is free, and 1 task is ahead of it, for 3 nodes" in third
