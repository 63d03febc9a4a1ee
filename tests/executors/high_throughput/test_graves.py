"""What dead workers leave: killed at once, or, where it may end ranks on other nodes, told first."""

from __future__ import annotations

import os
import subprocess

import pytest

from parsl.executors.high_throughput import graves
from parsl.executors.high_throughput.graves import Graves


class HandTurnedLoop:
    """Keeps what is to be called later until a test calls it."""

    def __init__(self):
        self.later = []

    def call_later(self, seconds, function, *args):
        assert seconds == graves._LAUNCHER_SECONDS
        self.later.append(lambda: function(*args))


@pytest.fixture
def orphan(tmp_path):
    """Start a process with a mark, which is a child as an adopted one is."""
    started = []

    def start(trap, mark):
        script = f"trap '{trap}' TERM; echo up; while :; do read -t 600 < {tmp_path}/never; done"
        process = subprocess.Popen(
            ["/bin/bash", "-c", script], stdout=subprocess.PIPE, env={**os.environ, "MARK": mark}
        )
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    os.mkfifo(tmp_path / "never")
    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def closed():
    return []


def test_what_is_left_is_killed_at_once(orphan, closed):
    process, other = orphan("", "1"), orphan("", "2")
    loop = HandTurnedLoop()
    Graves(loop, None, patient=False).dig(3, {"MARK": "1"}, lambda: closed.append(3))
    assert closed == [3]
    assert process.wait() == -9
    assert other.poll() is None
    assert loop.later == []


@pytest.mark.parametrize("patient", [True, False])
def test_where_nothing_is_left_the_pool_is_told_at_once(patient, closed):
    loop = HandTurnedLoop()
    Graves(loop, None, patient).dig(3, {"MARK": "nobody's"}, lambda: closed.append(3))
    assert (closed, loop.later) == ([3], [])


def test_a_launcher_is_told_and_its_end_is_waited_for(orphan, closed):
    process = orphan("exit 5", "1")
    loop = HandTurnedLoop()
    book = Graves(loop, None, patient=True)
    book.dig(3, {"MARK": "1"}, lambda: closed.append(3))
    assert closed == []
    assert process.wait() == 5
    book.look()
    assert closed == [3]
    # The time limit comes when all is over.
    loop.later.pop()()
    assert closed == [3]


def test_one_that_does_not_heed_is_killed_in_the_end(orphan, closed):
    process = orphan("true", "1")
    loop = HandTurnedLoop()
    book = Graves(loop, None, patient=True)
    book.dig(3, {"MARK": "1"}, lambda: closed.append(3))
    book.look()
    assert closed == []
    loop.later.pop()()
    assert closed == [3]
    assert process.wait() == -9


def test_a_time_limit_is_of_one_death_alone(orphan, closed):
    first = orphan("exit 5", "1")
    loop = HandTurnedLoop()
    book = Graves(loop, None, patient=True)
    book.dig(3, {"MARK": "1"}, lambda: closed.append("first"))
    assert first.wait() == 5
    book.look()
    second = orphan("true", "1")
    book.dig(3, {"MARK": "1"}, lambda: closed.append("second"))
    loop.later.pop(0)()
    assert closed == ["first"]
    assert second.poll() is None
    loop.later.pop(0)()
    assert closed == ["first", "second"]
