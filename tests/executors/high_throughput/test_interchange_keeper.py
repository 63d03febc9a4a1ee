"""The keeper of a real interchange; its death under work is in tests/chaos."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput import interchange_keeper
from parsl.executors.high_throughput.errors import InterchangeLost
from tests.live import pilot


@pytest.fixture
def executor(tmp_path):
    executor = pilot.htex(provider=pilot.provider(init_blocks=0))
    executor.run_dir = str(tmp_path)
    executor.start()
    yield executor
    executor.shutdown()


def test_the_next_interchange_has_the_same_port(executor):
    old, port = executor._client.process, executor._port
    old.kill()
    pilot.wait_for(lambda: executor._client.process is not old and executor.connected_managers() == [])
    assert executor._client._keeper.process.port == port
    with socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_port_that_somebody_else_has_taken_is_told(executor):
    process, taken = executor._client._keeper.process, []
    start = process.start

    def start_late():
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", executor._port)))
        return start()

    process.start = start_late
    future = executor.submit(int, {})
    process.kill()
    error = future.exception(pilot.SOON)
    taken[0].close()
    assert isinstance(error, BadStateException)
    assert isinstance(error.__cause__, InterchangeLost)
    assert "SIGKILL" in str(error)
    assert f"worker_port {executor._port} cannot be listened on" in str(error)


def test_a_start_that_fails_is_tried_again(executor):
    process, failed = executor._client._keeper.process, []
    command = process._command
    start = process.start

    def start_badly():
        process._command = command if failed else ["/no/such/program"]
        failed.append(True)
        return start()

    process.start = start_badly
    old = process.process
    process.kill()
    pilot.wait_for(lambda: process.process is not old and executor.connected_managers() == [])
    assert len(failed) == 2
    assert not executor.bad_state_is_set


def test_a_shutdown_while_the_next_one_starts_leaves_nothing(executor):
    process = executor._client._keeper.process
    old = process.process
    began = time.monotonic()
    process.kill()
    pilot.wait_for(lambda: process.process is not old)
    executor.shutdown()
    assert process.process.poll() is not None
    assert time.monotonic() - began < 5


def test_one_that_is_busy_is_left_alone(executor, monkeypatch):
    """As under a load that keeps it from answering: it uses the processor."""
    keeper, looks = executor._client._keeper, []

    def processor_seconds():
        looks.append(time.monotonic())
        return float(len(looks))

    monkeypatch.setattr(keeper.process, "processor_seconds", processor_seconds)
    old = keeper.process.process
    old.send_signal(signal.SIGSTOP)
    # What tells of it is asked only when there was no answer.
    pilot.wait_for(lambda: len(looks) >= 4)
    assert keeper.process.process is old
    assert old.poll() is None
    old.send_signal(signal.SIGCONT)
    assert executor.connected_managers() == []
    assert executor._client.process is old


def test_the_limits_leave_room_for_three_seconds():
    assert interchange_keeper.SILENCE_SECONDS + 2 * interchange_keeper.BEAT_SECONDS <= 3
