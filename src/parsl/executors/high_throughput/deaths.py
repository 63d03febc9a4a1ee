"""How a worker came to its end: what it said itself, and whether memory was the reason."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from parsl import watchdog
from parsl.app import limits
from parsl.executors.high_throughput import worker
from parsl.executors.high_throughput.pool import Death
from parsl.executors.high_throughput.worker_processes import cause_of_death

logger = logging.getLogger(__name__)

_CGROUPS = "/sys/fs/cgroup"

# What ends Python from within, as the worker writes it.
_WISH = "SystemExit("
_ENDS = (_WISH, "Terminated(", "KeyboardInterrupt(")

# A group without a limit names a number near the largest there is.
_NO_LIMIT = 2**60


def death_of(returncode: int, words: str, memory: str | None, peak: int) -> Death:
    """Judge the end of a worker.

    Args:
        returncode: of its process, as `subprocess` has it.
        words: what it wrote at its end, see `watchdog`.
        memory: what `MemoryWatch.look` said of the time of its death.
        peak: bytes of memory that it had at most; 0 where that is not known.
    """
    stack = watchdog.frames(words, worker.__file__, limits.__file__)
    overdue = watchdog.timed_out(words)
    if overdue is not None:
        return Death("its time was over", stack, overdue)
    cause = cause_of_death(returncode)
    if words.startswith(_ENDS):
        cause += f" by {words.partition(watchdog.STACK)[0]}"
    if returncode == -signal.SIGKILL and memory:
        had = f"; the worker had {_amount(peak)}" if peak else ""
        return Death(f"{cause}: out of memory: {memory}{had}", stack)
    return Death(cause, stack, asked_for=words.startswith(_WISH))


class _Counter(NamedTuple):
    """Where the system counts the processes that it has killed for want of memory."""

    path: str
    limit: str | None

    def read(self) -> int:
        with open(self.path, encoding="ascii") as file:
            for line in file:
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
        return 0

    def words(self) -> str:
        if self.limit is None:
            return "at that time, the system killed processes as the node had no memory left"
        with open(self.limit, encoding="ascii") as file:
            text = file.read().strip()
        most = f" of {_amount(int(text))}" if text.isdigit() and int(text) < _NO_LIMIT else ""
        return f"the system killed it as the job's control group had used up its memory{most}"


class MemoryWatch:
    """Knows whether the system has killed something for want of memory since it was last asked.

    The counter of this process's control group tells of the job alone; that of the node, which comes second, of
    everybody's processes. Where neither can be read, nothing is known.

    Args:
        counters: what to read, surest first; those of this process by default.
    """

    def __init__(self, counters: Iterable[_Counter] | None = None) -> None:
        self._seen: dict[_Counter, int] = {}
        for counter in _counters() if counters is None else counters:
            try:
                self._seen[counter] = counter.read()
            except (OSError, ValueError) as e:
                logger.debug("%s does not tell of memory: %s", counter.path, e)

    def look(self) -> str | None:
        """Return what was killed for want of memory since the last look, in words; None when nothing was."""
        said = None
        for counter, before in self._seen.items():
            try:
                now = self._seen[counter] = counter.read()
                if now > before and said is None:
                    said = counter.words()
            except (OSError, ValueError) as e:
                logger.debug("%s does not tell of memory any more: %s", counter.path, e)
        return said


def _counters() -> list[_Counter]:
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return []  # no Linux
    return [*group_counters(lines, _CGROUPS), _Counter("/proc/vmstat", None)]


def group_counters(lines: Iterable[str], root: str) -> list[_Counter]:
    """Find the counters of control groups.

    Args:
        lines: those of /proc/self/cgroup: `number:controllers:path`.
        root: where control groups are mounted.
    """
    counters = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder = f"{root}{path}".rstrip("/")
            counters.append(_Counter(f"{folder}/memory.events", f"{folder}/memory.max"))
        elif "memory" in controllers.split(","):
            folder = f"{root}/memory{path}".rstrip("/")
            counters.append(_Counter(f"{folder}/memory.oom_control", f"{folder}/memory.limit_in_bytes"))
    return counters


_UNITS: Mapping[str, int] = {"GB": 10**9, "MB": 10**6, "kB": 10**3}


def _amount(size: int) -> str:
    for unit, factor in _UNITS.items():
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
