"""What a try has used, measured by the worker that runs it: cheap enough for tasks that do nothing.

No thread and no process: the system keeps the books, and a look at them is one call. The books of one try begin where
those of the one before ended. CPU of children counts once they have ended and have been waited for; what they use while
they live is seen by the manager's samples (see `sampler`).
"""

from __future__ import annotations

import os
import resource
import struct
import sys
import time
from typing import Any

from parsl.monitoring.records import Usage, WorkerFacts, encode, encode_short, encode_usage

# What a worker shows its manager of the try that it runs: when it began, and its CPU times until then.
BASELINE = struct.Struct("<ddd")

_STARTED = struct.Struct("<d")

# A shorter try has hardly had the time to start a process and see it end, and its memory is that of those before.
SHORT_SECONDS = 0.005

# Where all tries are short, the full books are looked at so often.
_BOOK_SECONDS = 0.1

_PAGE = resource.getpagesize()
_BLOCK_BYTES = 512
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
_STATM = "/proc/self/statm"


class UsageMeter:
    """The books of one worker.

    A short try is told by its CPU seconds alone, which the system tells in one quick call; the full books are looked
    at after each longer one, and at times.

    Args:
        block: number of its block.
        hostname: its node.
        shown: memory in which the manager reads the beginning of the current try, from byte `at` on.
        at: see there.
    """

    def __init__(self, block: str | None, hostname: str, shown: Any, at: int) -> None:
        self._block = block
        self._hostname = hostname
        self._shown = shown
        self._at = at
        self._pid = os.getpid()
        self._total_memory = os.sysconf("SC_PHYS_PAGES") * _PAGE
        self._started = self._booked = 0.0
        self._cpu = time.process_time()
        self._own = self._children = resource.getrusage(resource.RUSAGE_SELF)
        self._resident = self._virtual = 0
        self._facts = b""
        self._look(time.time())

    def begin(self) -> None:
        """A try begins."""
        self._started = started = time.time()
        _STARTED.pack_into(self._shown, self._at, started)

    def end(self) -> bytes:
        """The try has ended; return what it has used, packed."""
        ended = time.time()
        cpu = time.process_time()
        used, self._cpu = cpu - self._cpu, cpu
        if ended - self._started < SHORT_SECONDS:
            usage = encode_short(self._started, ended, used, self._facts)
            if ended - self._booked > _BOOK_SECONDS:
                self._look(ended)
            return usage
        own, children = self._own, self._children
        self._look(ended)
        spent = [now - then for now, then in zip(self._own, own, strict=True)]
        of_children = [now - then for now, then in zip(self._children, children, strict=True)]
        resident = self._resident
        if of_children[0] or of_children[1]:
            # The largest child there was: more the system does not tell of those that have ended.
            resident += self._children[2] * _PEAK_UNIT
        # The books are those since the last look, and short tries may have come in between; CPU is known better.
        system = min(spent[1], used)
        return encode_usage(
            Usage(
                at=ended,
                started=self._started,
                ended=ended,
                block=self._block,
                hostname=self._hostname,
                pid=self._pid,
                user=used - system + of_children[0],
                system=system + of_children[1],
                resident=resident,
                virtual=self._virtual,
                memory_percent=100 * resident / self._total_memory,
                read=int(spent[9] + of_children[9]) * _BLOCK_BYTES,
                written=int(spent[10] + of_children[10]) * _BLOCK_BYTES,
                voluntary=int(spent[14] + of_children[14]),
                involuntary=int(spent[15] + of_children[15]),
            )
        )

    def _look(self, now: float) -> None:
        """Look at the full books, and show the manager where the next try begins."""
        self._booked = now
        self._own, self._children = (
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
        self._resident, self._virtual = _memory(self._own)
        percent = round(100 * self._resident / self._total_memory, 3)
        self._facts = encode(
            WorkerFacts(self._block, self._hostname, self._pid, self._resident, self._virtual, percent)
        )  # fmt: skip
        user, system = self._own[0] + self._children[0], self._own[1] + self._children[1]
        BASELINE.pack_into(self._shown, self._at, self._started, user, system)


def _memory(own: Any) -> tuple[int, int]:
    """Return the bytes of memory that this process has in use, and of its address space."""
    try:
        with open(_STATM, "rb") as file:
            virtual, resident = file.read().split()[:2]
    except OSError:
        # Not Linux: the most that it ever had.
        return own[2] * _PEAK_UNIT, 0
    return int(resident) * _PAGE, int(virtual) * _PAGE
