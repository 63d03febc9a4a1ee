"""Crashes and ends of time, in processes that are there for nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl import watchdog
from parsl.watchdog import GRACE_SECONDS, frames, open_words, read_words, timed_out

SOON = 20
SOURCE = str(Path(watchdog.__file__).parents[1])


@pytest.fixture
def words() -> Iterator[int]:
    fd = open_words()
    yield fd
    os.close(fd)


def run(words: int, script: str) -> int:
    """Run a script in a process that is watched; return its exit code."""
    head = f"""
import ctypes, itertools, os, resource, time
from parsl import watchdog
watchdog.GRACE_SECONDS = 0.2
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
watchdog.install({words})
"""
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", head + script]
    return subprocess.run(command, pass_fds=[words], env=environment, timeout=SOON, check=False).returncode


def test_where_a_crash_was_is_told(words: int) -> None:
    code = run(words, "def culprit():\n    ctypes.string_at(1)\nculprit()")
    assert code == -signal.SIGSEGV
    said = read_words(words)
    assert timed_out(said) is None
    assert frames(said, "none.py", "none.py").splitlines()[1].endswith("in culprit")


@pytest.mark.parametrize("hang", ["time.sleep(100)", "sum(itertools.repeat(1))", "ctypes.PyDLL(None).pause()"])
def test_what_does_not_end_in_time_is_ended_and_what_it_was_at_is_told(words: int, hang: str) -> None:
    code = run(words, f"watchdog.arm(0.1, 'too slow')\ndef culprit():\n    {hang}\nculprit()")
    assert code == 1
    assert timed_out(read_words(words)) == "too slow"
    assert "in culprit" in frames(read_words(words), "none.py", "none.py")


def test_what_ends_in_time_has_said_nothing(words: int) -> None:
    assert run(words, "watchdog.arm(0.1, 'too slow')\nwatchdog.disarm()\ntime.sleep(0.5)") == 0
    assert read_words(words) == ""


def test_later_words_take_the_place_of_earlier_ones(words: int) -> None:
    assert run(words, "watchdog.say('a long story')\nwatchdog.say('short')") == 0
    assert read_words(words) == "short"


def test_a_forked_child_is_not_watched(words: int) -> None:
    script = """
if os.fork() == 0:
    watchdog.say("from the child")
    os._exit(watchdog.installed())
os._exit(os.waitstatus_to_exitcode(os.wait()[1]) + 2 * watchdog.installed())
"""
    assert run(words, script) == 2
    assert read_words(words) == ""


def test_this_process_is_not_watched() -> None:
    assert not watchdog.installed()
    watchdog.say("to nobody")
    assert GRACE_SECONDS > 0


def test_without_memory_files_a_file_without_a_name_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    fd = open_words()
    try:
        os.write(fd, b"said \xff")
        assert read_words(fd) == "said \ufffd"
        assert os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)


THREADS = """too slow
Timeout (0:00:02.500000)!
Thread 0x1 (most recent call first):
  File "/lib/threading.py", line 1 in wait

Thread 0x2 (most recent call first):
  File "/home/me/app.py", line 9 in inner
  File "/home/me/app.py", line 3 in app
  File "/parsl/limits.py", line 97 in limited
  File "/parsl/worker.py", line 134 in _serve
  File "<frozen runpy>", line 88 in _run_code

Extension modules: numpy (total: 1)
"""


def test_of_the_stack_what_is_the_tasks_is_shown() -> None:
    assert frames(THREADS, "/parsl/worker.py", "/parsl/limits.py").splitlines() == [
        '  File "/home/me/app.py", line 9 in inner',
        '  File "/home/me/app.py", line 3 in app',
    ]
    assert timed_out(THREADS) == "too slow"
    assert frames("", "a", "b") == ""
    assert timed_out("") is None
