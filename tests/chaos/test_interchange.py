"""The interchange is killed, frozen, or cannot be started again, while real work runs."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from parsl.app.app import python_app
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import InterchangeLost
from tests.chaos.report import chaos_report
from tests.live import pilot


def note(path, number):
    """Leave a trace of each run of a task."""
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number


def runs(path):
    return [int(line) for line in path.read_text().split()]


def note_at_gate(gate, path, number):
    pilot.wait_at(gate)
    return note(path, number)


@pytest.fixture(params=["streams", "tcp"])
def options(request):
    if request.param == "streams":
        return {}
    return {"launch_cmd": pilot.OVER_TCP, "address": "127.0.0.1"}


def new_interchange(executor, old):
    def other():
        process = executor._client.process
        return process is not None and process.pid != old.pid and process.poll() is None

    return pilot.wait_for(other)


def test_a_killed_interchange_costs_no_task_and_no_worker(tmp_path, gate, options):
    with pilot.kernel(tmp_path, pilot.htex(**options)) as kernel:
        executor = kernel.executors["htex"]
        trace = tmp_path / "trace"
        app = python_app(note_at_gate, data_flow_kernel=kernel)
        quick = python_app(note, data_flow_kernel=kernel)
        assert quick(str(trace), -1).result(pilot.SOON) == -1
        futures = [app(gate.path, str(trace), i) for i in range(50)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        workers, old = pilot.workers_of(executor), pilot.interchange_of(executor)
        began = time.monotonic()
        pilot.kill(old)
        pilot.wait_for(lambda: not old.is_running() or executor._client.process.pid != old.pid)
        # What ends while there is no interchange counts.
        gate.let(1)
        late = [quick(str(trace), 100 + i) for i in range(5)]
        pilot.wait_for(lambda: any(f.done() for f in futures))
        seconds = time.monotonic() - began
        gate.let(49)
        assert [f.result(pilot.SOON) for f in futures] == list(range(50))
        assert [f.result(pilot.SOON) for f in late] == [100 + i for i in range(5)]
        assert sorted(runs(trace)) == [-1, *range(50), *range(100, 105)], "each task ran once"
        assert {w.pid for w in pilot.workers_of(executor)} == {w.pid for w in workers}
        assert not executor.bad_state_is_set
        how = "streams" if not options else "TCP"
        chaos_report(f"interchange killed, managers by {how}", "nothing: results go on coming", seconds)


def test_a_frozen_interchange_is_noticed_within_3_s(tmp_path, gate):
    with pilot.kernel(tmp_path) as kernel:
        executor = kernel.executors["htex"]
        futures = [python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path) for _ in range(3)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        old = pilot.interchange_of(executor)
        began = time.monotonic()
        pilot.kill(old, signal.SIGSTOP)
        pilot.wait_for(lambda: executor._client.process.pid != old.pid)
        assert time.monotonic() - began < 3.5
        gate.let(3)
        for future in futures:
            assert future.result(pilot.SOON)
        chaos_report("interchange frozen", "nothing: results go on coming", time.monotonic() - began)


def test_an_interchange_out_of_memory_is_started_again(tmp_path):
    with pilot.kernel(tmp_path) as kernel:
        executor = kernel.executors["htex"]
        square = python_app(abs, data_flow_kernel=kernel)
        assert square(-1).result(pilot.SOON) == 1
        old = pilot.interchange_of(executor)
        # Room for next to nothing from now on: it dies at the next message of some size.
        old.rlimit(9, (old.memory_info().vms, old.memory_info().vms))
        began = time.monotonic()
        futures = [python_app(len, data_flow_kernel=kernel)(bytes(30_000) + bytes([i % 256])) for i in range(3000)]
        assert [f.result(60) for f in futures] == [30_001] * 3000
        chaos_report("interchange out of memory", "nothing: results go on coming", time.monotonic() - began)


def test_an_interchange_that_dies_again_and_again_is_given_up(tmp_path):
    with pilot.kernel(tmp_path) as kernel:
        executor = kernel.executors["htex"]
        future = python_app(time.sleep, data_flow_kernel=kernel)(600)
        began = time.monotonic()
        while not executor.bad_state_is_set:
            old = executor._client.process
            old.kill()
            pilot.wait_for(lambda old=old: executor.bad_state_is_set or executor._client.process is not old)
        error = future.exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert isinstance(error.__cause__, InterchangeLost)
        assert "started again 5 times in a minute" in str(error)
        chaos_report("interchange killed six times", "BadStateException with its last words", time.monotonic() - began)


def test_an_interchange_that_cannot_be_started_again_says_why(tmp_path):
    wrapper = tmp_path / "frail.py"
    wrapper.write_text(
        "import os, sys\nfrom parsl.executors.high_throughput import interchange\n"
        f"if os.path.exists({str(tmp_path / 'began')!r}): sys.exit('no more memory, say')\n"
        f"open({str(tmp_path / 'began')!r}, 'w').close()\n"
        "interchange.main()\n"
    )
    with pilot.kernel(tmp_path, pilot.htex(interchange_launch_cmd=[sys.executable, str(wrapper)])) as kernel:
        future = kernel.submit(time.sleep, (600,))
        pilot.wait_for(lambda: pilot.running(kernel.executors["htex"], 1))
        began = time.monotonic()
        pilot.kill(pilot.interchange_of(kernel.executors["htex"]))
        error = future.exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert "SIGKILL" in str(error)
        assert str(error).count("no more memory, say") == 1
        chaos_report("interchange cannot start again", "BadStateException with its words", time.monotonic() - began)
    assert os.path.exists(tmp_path / "began")
