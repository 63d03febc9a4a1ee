"""Runs with monitoring, and the rows that they leave: as many as there must be, and what they say."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import threading
import time

import pytest

from parsl.app.app import bash_app, join_app, python_app
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.monitoring import MonitoringHub
from parsl.monitoring.errors import MonitoringHubStartError, RadioRequiredError
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.udp import UDPRadio
from tests.live.pilot import htex, wait_for
from tests.monitoring.databases import SOON, counts, select


def kernel(tmp_path, executor=None, hub=None, **options):
    executors = [executor or ThreadPoolExecutor(label="threads", max_threads=2)]
    hub = hub or MonitoringHub(workflow_name="test", resource_monitoring_interval=0)
    config = Config(executors=executors, run_dir=str(tmp_path), strategy="none", monitoring=hub, **options)
    return DataFlowKernel(config)


def states(tmp_path, task):
    rows = select(
        tmp_path / "monitoring.db",
        f"SELECT task_status_name FROM status WHERE task_id = {task} ORDER BY timestamp, try_id",
    )
    return [row[0] for row in rows]


def test_threads_have_every_row_but_resources(tmp_path):
    with kernel(tmp_path) as made:
        app = python_app(lambda x: x, data_flow_kernel=made)
        assert [f.result() for f in [app(i) for i in range(10)]] == list(range(10))
    found = counts(tmp_path / "monitoring.db")
    assert (found["workflow"], found["task"], found["try"], found["resource"], found["node"]) == (1, 10, 10, 0, 0)
    assert states(tmp_path, 3) == ["pending", "launched", "exec_done"]
    name, began, completed, done = select(
        tmp_path / "monitoring.db",
        "SELECT workflow_name, time_began, time_completed, tasks_completed_count FROM workflow",
    )[0]
    assert (name, done) == ("test", 10)
    assert began < completed


def test_the_pilot_has_the_rows_of_the_released_package(tmp_path):
    with kernel(tmp_path, htex()) as made:
        python_app(lambda: None, data_flow_kernel=made)().result()
    found = counts(tmp_path / "monitoring.db")
    assert (found["workflow"], found["task"], found["try"], found["node"], found["resource"]) == (1, 1, 1, 4, 1)
    assert found["block"] >= 2
    assert states(tmp_path, 0) == ["pending", "launched", "running", "running_ended", "exec_done"]
    nodes = select(tmp_path / "monitoring.db", "SELECT active, block_id, cpu_count FROM node ORDER BY timestamp")
    assert nodes == [(1, "0", os.cpu_count())] * 2 + [(0, "0", os.cpu_count())] * 2
    with RunQueries(f"sqlite:///{tmp_path}/monitoring.db") as queries:
        assert [m["what"] for m in queries.managers(1)] == ["gone"]
        assert [b["status"] for b in queries.blocks(1)] == ["SCALED_IN"]
        assert [(n["hostname"], n["tries"]) for n in queries.resources_by_node(1)] == [(os.uname().nodename, 1)]
        assert [t.task for t in queries.slowest(1)] == [0]
    hosts = select(tmp_path / "monitoring.db", "SELECT hostname, block_id, task_executor FROM try")
    assert hosts == [(os.uname().nodename, "0", "htex")]


def test_without_resources_there_are_none(tmp_path):
    hub = MonitoringHub(resource_monitoring_enabled=False)
    with kernel(tmp_path, htex(), hub) as made:
        python_app(lambda: None, data_flow_kernel=made)().result()
    assert counts(tmp_path / "monitoring.db", ["resource", "task"]) == {"resource": 0, "task": 1}


def test_cpu_of_children_that_have_ended_counts(tmp_path):
    @python_app
    def burn_in_a_child():
        import subprocess
        import sys

        code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
        subprocess.run([sys.executable, "-c", code], check=True)

    with kernel(tmp_path, htex()) as made:
        burn_in_a_child._dfk = burn_in_a_child.data_flow_kernel = made
        burn_in_a_child().result()
    used = select(
        tmp_path / "monitoring.db",
        "SELECT max(psutil_process_time_user + psutil_process_time_system) FROM resource",
    )
    assert used[0][0] >= 0.3


def test_samples_come_while_a_task_runs_and_count_its_tree(tmp_path):
    def wait(path):
        import os
        import subprocess
        import time

        child = subprocess.Popen(["sleep", "600"])
        try:
            while not os.path.exists(path):
                time.sleep(0.05)
        finally:
            child.kill()
            child.wait()

    hub = MonitoringHub(resource_monitoring_interval=0.2)
    with kernel(tmp_path, htex(), hub) as made:
        future = python_app(wait, data_flow_kernel=made)(str(tmp_path / "go on"))
        database = tmp_path / "monitoring.db"
        end = time.monotonic() + SOON
        while not select(database, "SELECT 1 FROM resource WHERE psutil_process_children_count = 1"):
            assert time.monotonic() < end
            time.sleep(0.05)
        (tmp_path / "go on").touch()
        future.result()
    rows = select(database, "SELECT psutil_process_memory_resident, psutil_process_pid FROM resource")
    assert len(rows) >= 2
    assert all(resident > 10**6 for resident, _ in rows)
    assert len({pid for _, pid in rows}) == 1


def test_states_are_seen_while_the_run_goes_on(tmp_path):
    go_on = threading.Event()
    with kernel(tmp_path) as made:
        future = python_app(go_on.wait, data_flow_kernel=made)()
        end = time.monotonic() + SOON
        while states(tmp_path, 0) != ["pending", "launched"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        go_on.set()
        future.result()
    assert states(tmp_path, 0) == ["pending", "launched", "exec_done"]


def test_failures_and_retries_are_told_with_their_reasons(tmp_path):
    def fail(x):
        raise ValueError(f"no {x}")

    with kernel(tmp_path, retries=1) as made:
        app = python_app(fail, data_flow_kernel=made)
        futures = [app(1), app(1)]
        child = python_app(lambda x: x, data_flow_kernel=made)(futures[0])
        for future in [*futures, child]:
            assert future.exception() is not None
    assert states(tmp_path, 0) == ["pending", "launched", "fail_retryable", "pending", "launched", "failed"]
    assert states(tmp_path, 2) == ["pending", "dep_fail"]
    found = counts(tmp_path / "monitoring.db", ["task", "try"])
    assert found == {"task": 3, "try": 4}
    with RunQueries(f"sqlite:///{tmp_path}/monitoring.db") as queries:
        groups = queries.failures(1)
        assert [(g["kind"], g["count"]) for g in groups] == [("ValueError", 2), ("DependencyError", 1)]
        assert "in fail" in groups[0]["traceback"]
        assert len(queries.task(1, 0)["failure"]) == 2


def test_joins_files_and_inputs_are_told(tmp_path):
    with kernel(tmp_path) as made:
        one = python_app(lambda: 1, data_flow_kernel=made)

        def join():
            return one()

        join_app(join, data_flow_kernel=made)().result()
        source = tmp_path / "in.txt"
        source.write_text("x")

        def copy(inputs=(), outputs=(), stdout=None):
            return f"cp {inputs[1]} {outputs[0]}; echo {inputs[0]}"

        future = bash_app(copy, data_flow_kernel=made)(
            inputs=[one(), File(str(source))], outputs=[File(str(tmp_path / "out.txt"))], stdout=str(tmp_path / "o")
        )
        future.result()
    database = tmp_path / "monitoring.db"
    assert states(tmp_path, 0) == ["pending", "launched", "joining", "exec_done"]
    inputs, stdout, depends = select(
        database, f"SELECT task_inputs, task_stdout, task_depends FROM task WHERE task_id = {future.tid}"
    )[0]
    assert inputs.startswith("[1, ")  # values, not futures
    assert stdout == str(tmp_path / "o")
    assert depends == str(future.tid - 1)
    assert select(database, "SELECT task_joins FROM try WHERE task_id = 0") == [("1",)]
    assert select(database, "SELECT file_name FROM input_file") == [("in.txt",)]
    assert select(database, "SELECT file_name FROM output_file") == [("out.txt",)]


class Alien(ParslExecutor):
    """An executor from elsewhere, which has only `submit` and measures nothing by itself."""

    def __init__(self, radio=None):
        super().__init__()
        self.label = "alien"
        self.remote_monitoring_radio = radio

    def start(self):
        self._pool = concurrent.futures.ThreadPoolExecutor(1)

    def submit(self, func, resource_specification, *args, **kwargs):
        # As one that sends calls to other processes does.
        func = pickle.loads(pickle.dumps(func))
        return self._pool.submit(func, *args, **kwargs)

    def shutdown(self):
        if hasattr(self, "_pool"):
            self._pool.shutdown()


def nap():
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(1000))
    return "done"


@pytest.mark.parametrize("radio", [lambda: UDPRadio(address="127.0.0.1"), FilesystemRadio], ids=["udp", "files"])
def test_other_executors_are_sampled_by_a_wrapper(tmp_path, radio):
    with kernel(tmp_path, Alien(radio()), MonitoringHub(resource_monitoring_interval=0.05)) as made:
        assert python_app(nap, data_flow_kernel=made)().result() == "done"
    database = tmp_path / "monitoring.db"
    assert counts(database, ["resource"])["resource"] >= 2
    assert states(tmp_path, 0) == ["pending", "launched", "running", "running_ended", "exec_done"]


def test_one_without_a_radio_is_refused(tmp_path):
    with pytest.raises(RadioRequiredError, match="alien"):
        kernel(tmp_path, Alien())


def test_a_task_of_the_pilot_may_send_messages_of_its_own(tmp_path):
    def send():
        from parsl.monitoring.message_type import MessageType
        from parsl.monitoring.radios.htex import HTEXRadio

        sender = HTEXRadio().create_sender()
        sender.send((MessageType.RESOURCE_INFO, {"task_id": 0, "psutil_process_memory_resident": 4711}))

    with kernel(tmp_path, htex(remote_monitoring_radio=HTEXRadio())) as made:
        python_app(send, data_flow_kernel=made)().result()
    rows = select(tmp_path / "monitoring.db", "SELECT psutil_process_memory_resident FROM resource")
    assert (4711,) in rows
    assert len(rows) == 2


def test_a_hub_serves_one_kernel_at_a_time_and_may_serve_another_after(tmp_path):
    hub = MonitoringHub()
    first = kernel(tmp_path, hub=hub)
    with pytest.raises(MonitoringHubStartError, match="in use"):
        kernel(tmp_path, hub=hub)
    first.cleanup()
    kernel(tmp_path, hub=hub).cleanup()
    assert counts(tmp_path / "monitoring.db", ["workflow"]) == {"workflow": 2}


def test_a_killed_database_stops_no_task(tmp_path):
    with kernel(tmp_path) as made:
        app = python_app(lambda x: x, data_flow_kernel=made)
        killed = 0
        for round_ in range(3):
            wait_for(lambda killed=killed: made.monitoring._database.pid != killed)
            killed = made.monitoring._database.pid
            os.kill(killed, 9)
            assert [f.result() for f in [app(i) for i in range(100)]] == list(range(100)), round_
    assert counts(tmp_path / "monitoring.db", ["task", "try", "status"]) == {"task": 300, "try": 300, "status": 900}


def test_remembered_calls_are_told_as_such(tmp_path):
    with kernel(tmp_path) as made:
        app = python_app(lambda x: x, data_flow_kernel=made, cache=True)
        first = app(1)
        assert first.result() == 1
        hashsum = first.task_record["hashsum"]
        assert app(1).result() == 1
    assert states(tmp_path, 0) == ["pending", "launched", "exec_done"]
    assert states(tmp_path, 1) == ["pending", "memo_done"]
    assert counts(tmp_path / "monitoring.db", ["task", "try"]) == {"task": 2, "try": 1}
    rows = select(tmp_path / "monitoring.db", "SELECT task_memoize, task_hashsum FROM task")
    assert rows == [(1, hashsum)] * 2
