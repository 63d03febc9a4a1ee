"""What chaos tests share: processes that can be waited for, and moments that several processes agree on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.live import pilot


class Started:
    """A pipe through which what a task starts tells its process id, before it goes on.

    Args:
        folder: where the pipe is made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "started")
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def processes(self, number: int) -> list[psutil.Process]:
        """Wait until so many have told."""
        found: list[psutil.Process] = []
        with open(self._fd, encoding="ascii", closefd=False) as file:
            while len(found) < number:
                found.append(psutil.Process(int(file.readline())))
        return found

    def close(self) -> None:
        """Close the test's end."""
        os.close(self._fd)


def tell(path: str) -> None:
    """Tell a `Started` of this process; what tasks run."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


def gone(processes: list[psutil.Process]) -> bool:
    """Wait until processes have ended; return whether they have, soon."""
    return not pilot.still_there(processes, pilot.SOON)


def moment(path: str) -> None:
    """Take down that now is the moment of the fault; what tasks run just before they come to harm."""
    with open(path, "w", encoding="ascii") as file:
        file.write(repr(time.monotonic()))


def since(path: Path) -> float:
    """Return the seconds since that moment: the clock is the same for all processes of a machine."""
    return time.monotonic() - float(path.read_text())


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[str | None]:
    """Make a control group with so many bytes of memory; yield its folder, or None where that cannot be done."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    version_1 = (first / "memory.limit_in_bytes").exists()
    folder = (first if version_1 else second) / f"parsl-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
    except OSError:
        yield None
        return
    try:
        yield str(folder)
    finally:
        pilot.wait_for(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def daemonised(path: str) -> str:
    """Return a command that leaves a daemon: in a session of its own, its parents gone, nothing of it in a terminal."""
    return f"(setsid bash -c 'echo $$ > {path}; exec sleep 1000' </dev/null >/dev/null 2>&1 &)"


def start_daemon(path: str) -> None:
    """Leave a daemon; what tasks run."""
    subprocess.run(daemonised(path), shell=True, check=True)


def block_alarm() -> None:
    """Have this process not get SIGALRM; what tasks run."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
