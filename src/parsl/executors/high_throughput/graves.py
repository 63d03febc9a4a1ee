"""What workers leave behind when they die, and when the pool is told of their deaths."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

from parsl.executors.high_throughput.worker_processes import orphans
from parsl.loop import Loop
from parsl.process_trees import kill_processes

# How long a launcher of MPI ranks may take to end them.
_LAUNCHER_SECONDS = 5.0


class _Grave(NamedTuple):
    marks: Mapping[str, str]
    closed: Callable[[], object]


class Graves:
    """Sees to it that nothing of a lost task still runs when the pool is told of the loss.

    Args:
        loop: the manager's loop.
        patient: whether what is left is first told to end, and only then killed: of MPI tasks, since a launcher alone
            can end the ranks on other nodes, which are not free before.
    """

    def __init__(self, loop: Loop, patient: bool) -> None:
        self._loop = loop
        self._patient = patient
        self._open: dict[int, _Grave] = {}

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
