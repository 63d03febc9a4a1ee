"""The worker processes of a manager: their sockets, their mailbox, their deaths."""

from __future__ import annotations

import logging
import mmap
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.messages import Setup, Task, to_manager
from parsl.executors.high_throughput.streams import Stream
from parsl.executors.high_throughput.worker import CLAIM, CLAIMS, LARGEST_LETTER
from parsl.monitoring.usage import BASELINE
from parsl.process_trees import kill_processes, marked
from parsl.watchdog import open_words

if TYPE_CHECKING:
    import psutil

logger = logging.getLogger(__name__)

# Message boundaries and, with SEQPACKET, an end of file when the manager is gone. Where there is none (macOS),
# datagrams have the boundaries, and workers notice the end at their own stream.
MAILBOX = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM

_MAILBOX_BYTES = 4 * 1024 * 1024

_PR_SET_CHILD_SUBREAPER = 36

# How often what keeps starting further processes is killed, and how long a killed one may take to end.
_ROUNDS = 5
_KILL_SECONDS = 1.0


class WorkerProcess:
    """One worker process and the manager's end of its stream.

    Attributes:
        slot: its number on the node.
        process: the process.
        connection: the manager's end of the socket; `stream` is what reads and writes it.
        words: descriptor of the file for its last words.
        peak: bytes of memory that it had at most, once it has ended; 0 where that is not known.
    """

    __slots__ = ("connection", "peak", "process", "slot", "stream", "words")

    stream: Stream

    def __init__(self, slot: int, process: subprocess.Popen[bytes], connection: socket.socket, words: int) -> None:
        self.slot = slot
        self.process = process
        self.connection = connection
        self.words = words
        self.peak = 0

    def ended(self) -> bool:
        """Tell whether the process has ended, and if so collect it."""
        process = self.process
        if process.returncode is None:
            try:
                # Unlike `poll`, this tells what the process has used.
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            except ChildProcessError:
                return process.poll() is not None
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                self.peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return process.returncode is not None

    def close(self) -> None:
        """Close what is open; what it said and the manager has not read is lost."""
        self.stream.close()
        os.close(self.words)


class WorkerProcesses:
    """All workers of a node.

    Args:
        setup: makes the first message to the worker of a slot.
        environment: the environment of the worker of a slot.
        claims: path of a file of one number for each slot, which this object makes.
        slots: how many slots.
        adopts: whether this process has called `adopt_orphans`; then all its children count as the workers' business.
    """

    def __init__(
        self,
        setup: Callable[[int, str], Setup],
        environment: Callable[[int], Mapping[str, str]],
        claims: str,
        slots: int,
        adopts: bool = False,
    ) -> None:
        self._adopts = adopts
        self._setup = setup
        self._environment = environment
        self._codec = to_manager()
        self._claims_path = claims
        with open(claims, "wb") as file:
            # Behind the claims, what monitoring shows of each worker's call.
            file.write(bytes((CLAIMS.size + BASELINE.size) * slots))
        with open(claims, "r+b") as file:
            self._claims = mmap.mmap(file.fileno(), 0)
        self._mail, self._mailbox = socket.socketpair(socket.AF_UNIX, MAILBOX)
        self._mail.setblocking(False)
        self._mail.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAILBOX_BYTES)
        self._baselines_at = CLAIMS.size * slots
        self.by_slot: dict[int, WorkerProcess] = {}

    @property
    def mail(self) -> socket.socket:
        """The socket to be watched for room when `give` has returned False."""
        return self._mail

    def start(self, slot: int) -> WorkerProcess:
        """Start the process of a slot; it does nothing before `introduce`.

        Raises:
            OSError: when no process can be started.
        """
        CLAIMS.pack_into(self._claims, slot * CLAIMS.size, 0, 0)
        words = open_words()
        ours, theirs = socket.socketpair()
        fds = (self._mailbox.fileno(), theirs.fileno(), words)
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", "parsl.executors.high_throughput.worker", *map(str, (*fds, os.getpid()))],
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **self._environment(slot)},
                )
            except OSError:
                ours.close()
                os.close(words)
                raise
        worker = self.by_slot[slot] = WorkerProcess(slot, process, ours, words)
        return worker

    def introduce(self, worker: WorkerProcess) -> None:
        """Send a worker its setup, after which it takes tasks."""
        worker.stream.send([self._codec.encode(self._setup(worker.slot, self._claims_path))])

    def give(self, task: Task) -> bool:
        """Put a task into the mailbox; False when there is no room."""
        try:
            self._mail.send(self._codec.encode(task))
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def take_back(self) -> list[Any]:
        """Empty the mailbox and return the raw tasks that no worker had taken."""
        letters = []
        try:
            while True:
                # Not by setblocking: that flag belongs to the description that the workers share, and block on.
                letters.append(self._mailbox.recv(LARGEST_LETTER, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return letters

    def claims(self) -> dict[int, int]:
        """Return for each live worker's slot the number of the task that it took last (0: none yet)."""
        return {slot: self.claim(slot) for slot in self.by_slot}

    def claim(self, slot: int) -> int:
        """Return the number of the task that the worker of a slot took last."""
        return int(CLAIM.unpack_from(self._claims, slot * CLAIMS.size)[0])

    def stop(self, slot: int, task_id: int) -> bool:
        """Kill the worker of a slot if it is at a task, and do no harm to another task.

        Returns:
            Whether it will be dead soon. If it has claimed another task by then, it has not begun that.
        """
        worker = self.by_slot.get(slot)
        if worker is None:
            return False
        # In this order, while a worker claims a task before it looks here: either it sees this, or this sees its claim.
        CLAIM.pack_into(self._claims, slot * CLAIMS.size + CLAIM.size, task_id)
        if self.claim(slot) != task_id:
            CLAIM.pack_into(self._claims, slot * CLAIMS.size + CLAIM.size, 0)
            return False
        worker.process.kill()
        return True

    def baseline(self, slot: int) -> tuple[float, float, float]:
        """Return when the worker of a slot began its call, and its CPU times (user, system) then."""
        return BASELINE.unpack_from(self._claims, self._baselines_at + slot * BASELINE.size)

    def dead(self) -> list[WorkerProcess]:
        """Return the workers whose processes have ended, no longer counted among the live ones."""
        ended = [w for w in self.by_slot.values() if w.ended()]
        for worker in ended:
            del self.by_slot[worker.slot]
        if self._adopts:
            collect_adopted({w.process.pid for w in self.by_slot.values()})
        return ended

    def close(self) -> None:
        """Kill all workers with all their descendants, and close what is open."""
        import psutil

        # Listed before the workers die: where nobody adopts their children, these can't be found any more after that.
        victims = self._descendants()
        for worker in self.by_slot.values():
            worker.process.kill()
        for worker in self.by_slot.values():
            worker.process.wait()
            worker.close()
        self.by_slot.clear()
        for _ in range(_ROUNDS):
            if not kill_processes(victims):
                break
            # Those that are children when their own parents have gone, and what was started meanwhile.
            if self._adopts:
                psutil.wait_procs(psutil.Process().children(), timeout=_KILL_SECONDS)
            victims = self._descendants()
        self._mail.close()
        self._mailbox.close()
        self._claims.close()
        # The client may have removed the whole folder.
        pathlib.Path(self._claims_path).unlink(missing_ok=True)

    def _descendants(self) -> list[psutil.Process]:
        import psutil

        if self._adopts:
            return psutil.Process().children(recursive=True)
        found: list[psutil.Process] = []
        for worker in self.by_slot.values():
            try:
                found += psutil.Process(worker.process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                logger.debug("worker %d has ended by itself", worker.slot)
        return found


def adopt_orphans() -> None:
    """Become the parent of all that workers have started and left behind, where the system can do that (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def collect_adopted(own: set[int]) -> None:
    """Collect the adopted processes that have ended, which otherwise stay as zombies.

    Args:
        own: ids of processes that are collected elsewhere.
    """
    if sys.platform != "linux":
        return
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in own:
            # Of several that have ended the system names one again and again; an own one is told of by a signal too.
            return
        os.waitpid(found.si_pid, 0)


def orphans(environment: Mapping[str, str]) -> list[psutil.Process]:
    """Return what a worker that is gone has left behind: its task may be run again, and must not run twice at once.

    Args:
        environment: variables that tell the worker's processes from others.
    """
    import psutil

    found: list[psutil.Process] = []
    try:
        children = psutil.Process().children()
    except OSError as e:
        logger.warning("What a worker may have left behind cannot be looked for: %s", e)
        return found
    for process in marked(children, environment):
        try:
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            logger.debug("process %d has ended by itself", process.pid)
    return found


def cause_of_death(returncode: int) -> str:
    """Say in words how a process ended."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"
