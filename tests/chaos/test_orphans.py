"""The script is killed or interrupted: nothing of it stays behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.chaos.report import ROOT, chaos_report
from tests.live import pilot


class Script:
    """A script of its own session, with tasks that run and a block that waits."""

    def __init__(self, tmp_path):
        self.queue = tmp_path / "queue"
        os.mkfifo(self.queue)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.submitter", str(tmp_path), str(self.queue)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=pilot.script_environment(),
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.others = [psutil.Process(pid) for pid in json.loads(line)]

    def let_go(self):
        """Let the block begin that waits in its queue, if it has not ended."""
        try:
            os.close(os.open(self.queue, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise

    def close(self):
        self.let_go()
        self.process.kill()
        self.process.communicate()
        for process in self.others:
            if process.is_running():
                process.kill()


@pytest.fixture
def script(tmp_path):
    script = Script(tmp_path)
    yield script
    script.close()


def test_a_killed_script_leaves_nothing_behind(script):
    began = time.monotonic()
    script.process.kill()
    # The block that waits in the queue cannot be told. Once it begins it finds no interchange, and ends by itself.
    script.let_go()
    assert not pilot.still_there(script.others, 10)
    chaos_report("script killed by kill -9", "interchange, managers, workers gone", time.monotonic() - began)


def test_a_killed_script_and_interchange_leave_nothing_behind(script):
    began = time.monotonic()
    interchange = next(p for p in script.others if "interchange" in " ".join(p.cmdline()))
    script.process.kill()
    interchange.kill()
    script.let_go()
    assert not pilot.still_there(script.others, 10)
    chaos_report("script and interchange killed at once", "managers, workers gone", time.monotonic() - began)


def interrupt(script):
    """Do as a terminal does: the signal goes to the whole group."""
    os.killpg(script.process.pid, signal.SIGINT)


def test_ctrl_c_ends_all_cleanly(script):
    began = time.monotonic()
    interrupt(script)
    _, errors = script.process.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    assert not pilot.still_there(script.others, 5 - (time.monotonic() - began))
    chaos_report("ctrl-C", "the script ends, and all that it had started", time.monotonic() - began)


def test_ctrl_c_twice_ends_all_at_once(script):
    began = time.monotonic()
    # Something that would keep a clean end waiting.
    frozen = [p for p in script.others if "process_worker_pool" in " ".join(p.cmdline())]
    for process in frozen:
        process.suspend()
    interrupt(script)
    interrupt(script)
    try:
        script.process.wait(10)
        seconds = time.monotonic() - began
    finally:
        # The block that waits in the queue may not have been told; once it begins it ends by itself.
        script.let_go()
        for process in frozen:
            if process.is_running():
                process.resume()
    assert not pilot.still_there(script.others, 10)
    chaos_report("ctrl-C twice, with a frozen manager", "the script ends at once", seconds)
