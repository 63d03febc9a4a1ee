"""A pytest plug-in: a test that leaves something running or open behind it fails, and the message names what.

Watched are threads, processes (children, their children, orphans, zombies), file descriptors, shared-memory files
`/dev/shm/parsl-*` and temporary folders `parsl-*`. Each test is compared with the moment before it, each module
with the moment before its own fixtures; so what a module-scoped fixture starts is the module's to end.

What is still ending gets `leak_grace` seconds (ini option). A test that cannot do otherwise says why:
`@pytest.mark.leaks_ok("reason")`.

Two things make the comparison exact while other programs run on the same machine. Temporary files of the session go
to a folder of its own. Processes inherit a mark in their environment, so one that lost its parent is still ours.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import multiprocessing.util
import os
import re
import select
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import psutil
import pytest
import zmq

MARK_VARIABLE = "PARSL_TEST_SESSIONS"
SHARED_MEMORY = "/dev/shm"
PREFIX = "parsl-"
LOOK_AGAIN_S = 0.02

_session_mark = pytest.StashKey[str]()
_environment_before = pytest.StashKey[dict[str, str | None]]()
_failed = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Leak:
    """One thing that was not there before.

    Attributes:
        text: how the message names it.
        wait: wait for its end, at most the given number of seconds.
        end: make an end of it, where that is possible without harm to the session.
    """

    text: str
    wait: Callable[[float], None]
    end: Callable[[], None] = lambda: None


@dataclass
class Snapshot:
    """What there was at one moment; `leaks` finds what is there now and was not then."""

    mark: str
    known: set[object] = field(default_factory=set)

    @classmethod
    def take(cls, mark: str) -> Snapshot:
        """Note what there is now."""
        return cls(mark, {*threading.enumerate(), *psutil.pids(), *open_descriptors(), *parsl_files()})

    def leaks(self) -> list[Leak]:
        """Look at all kinds once, threads first: what a thread holds goes when it ends."""
        return [*self._threads(), *self._processes(), *self._descriptors(), *self._files()]

    def settled(self, grace: float) -> list[Leak]:
        """Give what is still ending up to `grace` seconds; return what remains."""
        deadline = time.monotonic() + grace
        leaks = self.leaks()
        if leaks:
            gc.collect()
            leaks = self.leaks()
        while leaks and (left := deadline - time.monotonic()) > 0:
            leaks[0].wait(left)
            leaks = self.leaks()
        return leaks

    def _threads(self) -> Iterator[Leak]:
        for thread in threading.enumerate():
            # A dummy stands for a thread that Python did not start; nothing tells when that one ends.
            if thread not in self.known and not isinstance(thread, threading._DummyThread):
                yield Leak(describe_thread(thread), thread.join)

    def _processes(self) -> Iterator[Leak]:
        for pid in psutil.pids():
            if pid in self.known:
                continue
            try:
                process = psutil.Process(pid)
                if is_ours(process, self.mark) and not is_stdlib_helper(process):
                    text = describe_process(process)
                    yield Leak(text, partial(await_exit, process), partial(end_process, process))
            except psutil.NoSuchProcess:
                continue

    def _descriptors(self) -> Iterator[Leak]:
        for number, target in open_descriptors() - self.known:
            yield Leak(f"file descriptor {number}: {target}{describe_socket(number)}", look_again)

    def _files(self) -> Iterator[Leak]:
        for path in parsl_files() - self.known:
            if not is_strangers(path, self.mark):
                kind = "shared memory" if os.path.dirname(path) == SHARED_MEMORY else "temporary file or folder"
                yield Leak(f"{kind} {path}", look_again)


def look_again(left: float) -> None:
    """Pause before a new look: nothing signals that a descriptor is closed, a file gone or a zombie collected."""
    threading.Event().wait(min(left, LOOK_AGAIN_S))


def await_exit(process: psutil.Process, left: float) -> None:
    """Wait for the end of a process without collecting it: a zombie that nobody collects is a leak as well."""
    if not hasattr(os, "pidfd_open") or process.status() == psutil.STATUS_ZOMBIE:
        look_again(left)
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        look_again(left)
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(left * 1000)
    finally:
        os.close(descriptor)


def end_process(process: psutil.Process) -> None:
    """Kill a process and collect it. One that is gone, or cannot be killed, is in the message all the same."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.kill()
        process.wait(timeout=5)


def is_ours(process: psutil.Process, mark: str) -> bool:
    """Tell whether a process descends from this one: it carries the mark, or its line of parents leads here."""
    try:
        if mark in process.environ().get(MARK_VARIABLE, ""):
            return True
    except (psutil.AccessDenied, psutil.ZombieProcess, OSError):
        pass  # Another user's, or a zombie, whose environment is gone: the parents decide.
    try:
        return any(parent.pid == os.getpid() for parent in process.parents())
    except psutil.AccessDenied:
        return False


def is_stdlib_helper(process: psutil.Process) -> bool:
    """Tell the two processes that `multiprocessing` starts once and keeps until this interpreter ends."""
    try:
        last = process.cmdline()[-1:]
    except (psutil.AccessDenied, psutil.ZombieProcess):
        return False
    helpers = ("from multiprocessing.resource_tracker import main", "from multiprocessing.forkserver import main")
    return bool(last) and last[0].startswith(helpers) and process.ppid() == os.getpid()


def stdlib_helper_descriptors() -> set[int | None]:
    """Return the pipe ends that belong to those two processes."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    forkserver = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    return {getattr(tracker, "_fd", None), getattr(forkserver, "_forkserver_alive_fd", None)}


def open_descriptors() -> set[tuple[int, str]]:
    """Return number and target of each open descriptor of this process; nothing where there is no /proc."""
    folder = f"/proc/{os.getpid()}/fd"
    if not os.path.isdir(folder):
        return set()
    helpers = stdlib_helper_descriptors()
    found = set()
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        if target != folder and int(name) not in helpers:
            found.add((int(name), target))
    return found


def parsl_files() -> set[str]:
    """Return the shared-memory files and the temporary files and folders with our prefix."""
    return {path for folder in (SHARED_MEMORY, tempfile.gettempdir()) for path in glob.glob(f"{folder}/{PREFIX}*")}


def is_strangers(path: str, mark: str) -> bool:
    """Tell whether a file named `parsl-<pid>-...` belongs to a process that runs and is not ours."""
    made_by = re.match(rf"{PREFIX}(\d+)-", os.path.basename(path))
    if made_by is None or int(made_by[1]) == os.getpid():
        return False
    try:
        return not is_ours(psutil.Process(int(made_by[1])), mark)
    except psutil.NoSuchProcess:
        return False


def describe_thread(thread: threading.Thread) -> str:
    """Name a thread and the line at which it stands."""
    frame = sys._current_frames().get(thread.ident or 0)
    where = f", in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})" if frame else ""
    return f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}{where}"


def describe_process(process: psutil.Process) -> str:
    """Name a process by its number, state and command."""
    with process.oneshot():
        status = process.status()
        if status == psutil.STATUS_ZOMBIE:
            return f"process {process.pid}: zombie ({process.name()}), ended but never waited for"
        command = " ".join(process.cmdline()) or process.name()
        return f"process {process.pid}: {status}, child of {process.ppid()}: {command[:160]}"


def describe_socket(number: int) -> str:
    """Return the addresses of a network or named socket, for a descriptor whose own name tells nothing."""
    for connection in psutil.Process().net_connections(kind="all"):
        if connection.fd == number and connection.laddr:
            return f" ({connection.type.name}, {connection.laddr}, {connection.status})"
    return ""


def judge(request: pytest.FixtureRequest, before: Snapshot, who: str) -> None:
    """Fail for what was not there `before`, having ended what can be ended.

    Nothing is said of a test that has failed already or that is allowed to leak.
    """
    if request.node.get_closest_marker("leaks_ok") is not None:
        return
    leaks = before.settled(float(request.config.getini("leak_grace")))
    for leak in leaks:
        leak.end()
    if leaks and not request.node.stash.get(_failed, False):
        hint = 'End it there, or say why not: @pytest.mark.leaks_ok("reason").'
        pytest.fail("\n".join([f"{who} left behind:", *(f"  {leak.text}" for leak in leaks), hint]), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def zero_copy_thread() -> None:
    """Start what pyzmq keeps for the whole process once a message was sent without a copy: a thread, sockets."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        left.bind("inproc://zero-copy")
        right.connect("inproc://zero-copy")
        tracker = left.send(bytes(1 << 20), copy=False, track=True)
        right.recv()
        tracker.wait(timeout=10)


@pytest.fixture(scope="module", autouse=True)
def module_ledger(request: pytest.FixtureRequest, zero_copy_thread: None) -> Iterator[Snapshot]:
    """Fail a module whose fixtures leave something behind. What its tests left is theirs and not told again."""
    before = Snapshot.take(request.config.stash[_session_mark])
    yield before
    judge(request, before, "the fixtures of this module")


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, module_ledger: Snapshot) -> Iterator[None]:
    """Fail a test that leaves something behind."""
    before = Snapshot.take(request.config.stash[_session_mark])
    yield
    try:
        judge(request, before, "this test")
    finally:
        module_ledger.known |= Snapshot.take(before.mark).known - before.known


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test has failed: what it then left behind follows from that, and is not worth a second error."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("leak_grace", "seconds that threads, processes and files may take to go after a test", default="5")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; mark the processes to come; give the session its own temporary folder."""
    config.addinivalue_line("markers", "leaks_ok(reason): this test may leave threads, processes or files behind")
    config.stash[_session_mark] = uuid.uuid4().hex
    folder = tempfile.mkdtemp(prefix="pt-")
    # Last of all finalizers: multiprocessing may have a folder of its own in it. What a leaked process still writes
    # there has been reported and must not break the end of the session.
    multiprocessing.util.Finalize(None, shutil.rmtree, [folder], {"ignore_errors": True}, exitpriority=-1000)
    changes = {
        MARK_VARIABLE: ":".join(filter(None, [os.environ.get(MARK_VARIABLE), config.stash[_session_mark]])),
        # pytest's own tmp_path folders stay where they are looked for after a failure.
        "PYTEST_DEBUG_TEMPROOT": os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir(),
        "TMPDIR": folder,
    }
    config.stash[_environment_before] = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    tempfile.tempdir = None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Put the environment back."""
    for name, value in config.stash.get(_environment_before, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    tempfile.tempdir = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a `leaks_ok` that gives no reason."""
    for item in items:
        for marker in item.iter_markers("leaks_ok"):
            if len(marker.args) != 1 or not isinstance(marker.args[0], str) or not marker.args[0].strip():
                message = f'{item.nodeid}: leaks_ok takes one argument, the reason: leaks_ok("...")'
                raise pytest.UsageError(message)
