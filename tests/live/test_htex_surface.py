"""The half-public surface: what libraries and monitors read of a running executor, its processes and its logs."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from parsl.app.app import python_app
from parsl.errors import ConfigurationError
from tests.live import pilot


@pytest.fixture(scope="module")
def dfk(tmp_path_factory):
    with pilot.kernel(tmp_path_factory.mktemp("surface")) as kernel:
        pilot.ready(kernel.executors["htex"])
        yield kernel


@pytest.fixture(scope="module")
def executor(dfk):
    return dfk.executors["htex"]


def test_what_libraries_read_of_the_executor(dfk, executor):
    number = executor._task_counter
    future = executor.submit(divmod, {}, 7, 2)
    assert future.parsl_executor_task_id == executor._task_counter == number + 1
    assert future.result(pilot.SOON) == (3, 1)
    (manager,) = executor.connected_managers()
    assert {
        "manager": str,
        "block_id": str,
        "worker_count": int,
        "tasks": int,
        "idle_duration": float,
        "active": bool,
        "draining": bool,
        "parsl_version": str,
        "python_version": str,
    }.items() <= {k: type(v) for k, v in manager.items()}.items()
    assert manager["active"] is True
    assert manager["draining"] is False
    assert manager["worker_count"] == 2
    assert executor.connected_blocks() == ["0"]
    assert executor.connected_workers == 2
    assert executor.workers_per_node == 2
    assert list(executor.status()) == ["0"]
    assert executor.blocks_to_job_id == {"0": next(iter(executor.job_ids_to_block))}
    assert executor.connected_managers_packages()[manager["manager"]]["parsl"]


def test_tasks_holds_the_futures_of_open_calls(dfk, executor, gate):
    held = [python_app(pilot.wait_at, data_flow_kernel=dfk)(gate.path) for _ in range(2)]
    pilot.wait_for(lambda: executor.outstanding() == 2)
    assert list(executor.tasks.values()) == held
    direct = executor.submit(pilot.wait_at, {}, gate.path)
    assert executor.tasks[executor._task_counter] is direct
    gate.let(3)
    assert all(f.result(pilot.SOON) for f in [*held, direct])
    assert executor.outstanding() == 0
    assert not executor.tasks


def test_a_call_packed_by_the_caller_runs(executor):
    from parsl.serialize import pack_apply_message

    buffer = pack_apply_message(divmod, (7,), {})
    small = executor.submit_payload({}, pack_apply_message(divmod, (7, 2), {}))
    large = executor.submit_payload({"resource_spec": {"priority": 1}}, pack_apply_message(len, (b"x" * 10**6,), {}))
    assert small.result(pilot.SOON) == (3, 1)
    assert large.result(pilot.SOON) == 10**6
    assert large.parsl_executor_task_id == small.parsl_executor_task_id + 1
    assert isinstance(executor.submit_payload({}, buffer).exception(pilot.SOON), TypeError)
    assert executor.submit_payload({}, b"garbage").exception(pilot.SOON) is not None


def test_workers_are_children_of_the_manager_in_its_process_group(executor):
    manager, workers = pilot.manager_of(executor), pilot.workers_of(executor)
    assert len(workers) == 2
    assert {os.getpgid(w.pid) for w in workers} == {os.getpgid(manager.pid)}
    assert os.getpgid(manager.pid) != os.getpgid(os.getpid())


def test_the_logs_are_where_they_are_looked_for(dfk, executor):
    uid = executor.connected_managers()[0]["manager"]
    folder = os.path.join(dfk.run_dir, "htex")
    node = os.path.join(folder, "block-0", uid)
    for path in (f"{folder}/interchange.log", f"{node}/manager.log", f"{node}/worker_0.log", f"{node}/worker_1.log"):
        # A worker may still be starting.
        pilot.wait_for(lambda path=path: os.path.exists(path) and os.path.getsize(path))


def test_one_record_a_task_binds_it_to_its_number_in_the_executor(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, "parsl"), pilot.kernel(tmp_path) as kernel:
        futures = [kernel.submit(int, ()) for _ in range(3)]
        assert [f.result(pilot.SOON) for f in futures] == [0, 0, 0]
    bound = [vars(r) for r in caplog.records if "parsl.executor_task" in vars(r)]
    assert [(r["parsl.task"], r["parsl.executor"], r["parsl.executor_task"]) for r in bound] == [
        (0, "htex", 1),
        (1, "htex", 2),
        (2, "htex", 3),
    ]
    started = {
        vars(r)["parsl.executor.label"]: vars(r)["parsl.executor.type"]
        for r in caplog.records
        if vars(r).get("parsl.executor.label")
    }
    assert started["htex"] == "parsl.executors.high_throughput.executor.HighThroughputExecutor"


def test_signals_of_the_terminal_do_not_reach_the_node(executor):
    for process in (pilot.interchange_of(executor), pilot.manager_of(executor)):
        os.kill(process.pid, signal.SIGINT)
    assert executor.submit(int, {}).result(pilot.SOON) == 0


def test_an_executor_in_use_is_refused_to_another_kernel(dfk, executor, tmp_path):
    with pytest.raises(ConfigurationError, match="'htex' is in use by another kernel"):
        pilot.kernel(tmp_path, executor)
    assert executor.submit(divmod, {}, 7, 2).result(pilot.SOON) == (3, 1)
    assert executor.run_dir == dfk.run_dir
