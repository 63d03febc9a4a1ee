"""The end of workers: how each died, what it has left behind, and when the pool is told of it."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from parsl.executors.high_throughput.deaths import MemoryWatch, death_of
from parsl.executors.high_throughput.pool import Death
from parsl.executors.high_throughput.worker import where_is
from parsl.executors.high_throughput.worker_environment import WorkerEnvironment
from parsl.executors.high_throughput.worker_processes import WorkerProcess, orphans
from parsl.loop import Loop
from parsl.process_trees import kill_processes
from parsl.watchdog import read_words

logger = logging.getLogger(__name__)

# How long a launcher of MPI ranks may take to end them.
_LAUNCHER_SECONDS = 5.0


class _Grave(NamedTuple):
    marks: Mapping[str, str]
    closed: Callable[[], object]


class Graves:
    """Sees to it that nothing of a lost task still runs when the pool is told of the loss.

    Args:
        loop: the manager's loop.
        environment: makes the environments of workers, by which what they have left is known.
        patient: whether what is left is first told to end, and only then killed: of MPI tasks, since a launcher alone
            can end the ranks on other nodes, which are not free before.

    Attributes:
        memory: knows what the system kills for want of memory; to be asked now and then, so that such a kill is not
            taken for the reason of a death that comes long after.
    """

    def __init__(self, loop: Loop, environment: WorkerEnvironment, patient: bool) -> None:
        self._loop = loop
        self._environment = environment
        self._patient = patient
        self._open: dict[int, _Grave] = {}
        self.memory = MemoryWatch()

    def bury(self, worker: WorkerProcess, gone: Callable[[int, Death, str], object]) -> Death:
        """Hear the last words of a worker that has ended, and end what it has left.

        Args:
            worker: the worker.
            gone: called with its slot, how it died and where it ran, once nothing of it is left.

        Returns:
            How it died.
        """
        # What it said before it died still counts.
        worker.stream.drain()
        death = death_of(worker.process.returncode, read_words(worker.words), self.memory.look(), worker.peak)
        worker.close()
        slot = worker.slot
        logger.warning("Worker %d (process %d) has ended: %s", slot, worker.process.pid, death.cause)
        where = where_is(socket.gethostname(), self._environment(slot), worker.process.pid)
        self.dig(slot, self._environment.marks(slot), lambda: gone(slot, death, where))
        return death

    def dig(self, slot: int, marks: Mapping[str, str], closed: Callable[[], object]) -> None:
        """End what a worker has left, and say so.

        Args:
            slot: the worker's number.
            marks: variables that tell its processes from others.
            closed: called once nothing is left.
        """
        grave = self._open[slot] = _Grave(marks, closed)
        if self._patient and kill_processes(orphans(marks), signal.SIGTERM):
            self._loop.call_later(_LAUNCHER_SECONDS, self._close, slot, grave)
        else:
            self._close(slot, grave)

    def look(self) -> None:
        """Close the graves of which nothing is left; called when a child of this process has ended."""
        for slot, grave in list(self._open.items()):
            if not orphans(grave.marks):
                self._close(slot, grave)

    def _close(self, slot: int, grave: _Grave) -> None:
        # The slot may have had another worker since, and that one's death has a time limit of its own.
        if self._open.get(slot) is grave:
            del self._open[slot]
            kill_processes(orphans(grave.marks))
            grave.closed()
