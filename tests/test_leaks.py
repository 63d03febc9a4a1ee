"""The leak plug-in itself: a leaking test fails for each kind of leak, a clean one passes."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and /dev/shm")

ROOT = Path(__file__).parent.parent
GRACE = "leak_grace=0.3"

LEAKY = """
import os, socket, subprocess, sys, tempfile, threading

kept = []
SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]

def stand_still():
    threading.Event().wait(60)

def test_thread():
    threading.Thread(target=stand_still, name="left", daemon=True).start()

def test_child():
    kept.append(subprocess.Popen(SLEEP))

def test_orphan():
    start = f"import subprocess; print(subprocess.Popen({SLEEP!r}, stdout=subprocess.DEVNULL).pid)"
    subprocess.run([sys.executable, "-c", start], check=True, stdout=subprocess.DEVNULL)

def test_zombie():
    kept.append(subprocess.Popen([sys.executable, "-c", ""]))
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)

def test_file(tmp_path):
    kept.append(open(tmp_path / "forgotten.txt", "w"))

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_folder():
    tempfile.mkdtemp(prefix="parsl-")

def test_shared_memory():
    open("/dev/shm/parsl-SESSION", "w").close()
"""

CLEAN = """
import os, subprocess, sys, tempfile, threading

def test_all_kinds(tmp_path):
    thread = threading.Thread(target=str)
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", ""], check=True)
    with open(tmp_path / "file.txt", "w"), tempfile.TemporaryDirectory(prefix="parsl-"):
        pass
    open("/dev/shm/parsl-SESSION", "w").close()
    os.unlink("/dev/shm/parsl-SESSION")

def test_thread_that_is_just_ending():
    threading.Timer(0.05, str).start()

def test_child_that_is_just_ending():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    threading.Thread(target=child.communicate).start()

def test_file_in_a_circle_of_garbage(tmp_path):
    read, write = os.pipe()
    class Holder:
        def __init__(self):
            self.me = self
        def __del__(self):
            os.close(read)
            os.close(write)
    Holder()

def test_resource_tracker():
    from multiprocessing import resource_tracker
    resource_tracker.ensure_running()
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Return a function that runs a test file under the plug-in, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shared = f"parsl-of-{os.getpid()}-{pytester.path.name}"

    def start(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(source.replace("parsl-SESSION", shared))
        return pytester.runpytest_subprocess("-p", "tests.leaks", "-o", GRACE, *options)

    yield start
    Path("/dev/shm", shared).unlink(missing_ok=True)


def test_each_kind_fails_its_test(run, pytester):
    result = run(LEAKY)
    # The body of each test passes; its teardown is the error.
    result.assert_outcomes(passed=8, errors=8)
    expected = {
        "thread": "thread 'left' (daemon), in *",
        "child": "process *: sleeping, child of *: *signal.pause()",
        "orphan": "process *: sleeping, child of *: *signal.pause()",
        "zombie": "process *: zombie (*), ended but never waited for",
        "file": "file descriptor *: */forgotten.txt",
        "socket": "file descriptor *: socket:* (SOCK_STREAM, *127.0.0.1*, LISTEN)",
        "folder": "temporary file or folder */parsl-*",
        "shared_memory": "shared memory /dev/shm/parsl-*",
    }
    for kind, line in expected.items():
        result.stdout.fnmatch_lines([f"*ERROR at teardown of test_{kind} *", "this test left behind:", f"  {line}"])
    result.stdout.fnmatch_lines(['End it there, or say why not: @pytest.mark.leaks_ok("reason").'])


def test_leaked_processes_are_ended(run):
    result = run(LEAKY, "-k", "child or orphan")
    # A set, since pytest tells them once more in its summary where CI is set.
    pids = {int(line.split()[1].rstrip(":")) for line in result.outlines if line.startswith("  process ")}
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_clean_tests_pass(run):
    run(CLEAN, "-W", "error").assert_outcomes(passed=5)


def test_failure_is_told_once(run):
    result = run("""
        import threading
        def test_fails():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            assert not "left alone"
    """)
    result.assert_outcomes(failed=1)


def test_reason_allows_a_leak(run):
    result = run("""
        import pytest, threading
        @pytest.mark.leaks_ok("the thread ends with the process")
        def test_leaks():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    """)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("arguments", ["", "''", "'one', 'two'", "3"])
def test_leak_without_a_reason_is_refused(run, arguments):
    result = run(f"""
        import pytest
        @pytest.mark.leaks_ok({arguments})
        def test_nothing():
            pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *::test_nothing: leaks_ok takes one argument, the reason*"])


def test_fixture_of_a_module_is_judged_at_the_modules_end(run):
    result = run("""
        import pytest, threading
        @pytest.fixture(scope="module")
        def shared():
            threading.Thread(target=threading.Event().wait, name="shared", daemon=True).start()
        def test_one(shared):
            pass
        def test_two(shared):
            pass
    """)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_two *", "the fixtures of this module left behind:", "  thread 'shared'*"]
    )


def test_temporary_files_go_with_the_session(run):
    result = run(
        """
        import tempfile
        def test_folder():
            print("made", tempfile.mkdtemp(prefix="other-"))
    """,
        "-s",
    )
    result.assert_outcomes(passed=1)
    (made,) = (line.split()[-1] for line in result.outlines if "made " in line)
    assert Path(made).name.startswith("other-")
    assert not Path(made).parent.exists()
    assert not glob.glob(f"{made}*")


def test_shared_memory_of_a_stranger_is_no_leak(run):
    # A process that neither descends from the inner session nor carries its mark: this one.
    folder = Path("/dev/shm", f"parsl-{os.getpid()}-stranger")
    result = run(f"""
        import pathlib
        def test_stranger_makes_a_folder():
            pathlib.Path({str(folder)!r}).mkdir()
    """)
    folder.rmdir()
    result.assert_outcomes(passed=1)
