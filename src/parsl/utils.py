"""Small tools used all over the package, and by packages built on it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from parsl.errors import BadStdStreamFile
from parsl.representation import RepresentationMixin
from parsl.timers import AutoCancelTimer, Timer
from parsl.version import VERSION

if TYPE_CHECKING:
    import subprocess

__all__ = [
    "AtomicIDCounter",
    "AutoCancelTimer",
    "RepresentationMixin",
    "Timer",
    "execute_wait",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "get_std_fname_mode",
    "get_version",
    "sanitize_dns_label_rfc1123",
    "sanitize_dns_subdomain_rfc1123",
    "setproctitle",
    "time_limited_open",
    "wait_for_file",
    "wtime_to_minutes",
]

logger = logging.getLogger(__name__)

_MODE_LETTERS = frozenset("rwxabt+")
_WRITING_LETTERS = frozenset("wxa+")


class AtomicIDCounter:
    """Hands out 0, 1, 2 and so on; no two callers, on whichever threads, get the same number."""

    def __init__(self) -> None:
        self._next = 0
        self._lock = threading.Lock()

    def get_id(self) -> int:
        """Take the next number."""
        with self._lock:
            number = self._next
            self._next += 1
            return number

    @property
    def count(self) -> int:
        """How many numbers have been handed out."""
        return self._next


def get_version() -> str:
    """Tell the version of this package, dotted integers."""
    return VERSION


def setproctitle(title: str) -> None:
    """Set the title that process listings show for this process, if the `setproctitle` package is installed.

    Args:
        title: The new title.
    """
    import importlib

    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle").setproctitle(title)


def execute_wait(cmd: str, walltime: float | None = None) -> tuple[int, str, str]:
    """Run a command in a shell, in a session and process group of its own, and wait for its end.

    Its standard input is empty. When the time is up, or the wait is interrupted, the whole group is killed, so nothing
    that the command started in the foreground or background lives on.

    Args:
        cmd: Command line for `/bin/sh` (for the system's shell on Windows).
        walltime: How many seconds it may take; None for no limit.

    Returns:
        Its exit code (-n after signal n), standard output and standard error; bytes that aren't UTF-8 are replaced.

    Raises:
        subprocess.TimeoutExpired: It took longer and was killed.
    """
    import subprocess

    with subprocess.Popen(  # noqa: S602 - a command line for a shell is what the caller has
        cmd,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=walltime)
        except BaseException:
            _kill_group(process)
            raise
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a session leader and its group; the leader must not have been reaped yet, so its id is still its own."""
    if os.name == "nt":
        process.kill()
        return
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def wait_for_file(path: str | os.PathLike[str], seconds: float = 10) -> Iterator[None]:
    """Wait, on entry, until a file exists; go on all the same when it doesn't come.

    Files on shared file systems appear late on other hosts and announce themselves to nobody, so this looks again and
    again, at growing intervals of up to 50 ms.

    Args:
        path: The file or folder to wait for.
        seconds: How long to wait at most.
    """
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not os.path.exists(path) and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.05)
    yield


@contextlib.contextmanager
def time_limited_open(path: str | os.PathLike[str], mode: str, seconds: float = 1) -> Iterator[IO[Any]]:
    """Open a file that another process is about to make.

    Args:
        path: The file.
        mode: Mode as for `open`.
        seconds: How long to wait at most for the file to exist.

    Returns:
        A context manager that gives the open file and closes it.

    Raises:
        FileNotFoundError: The file did not come in time (and the mode doesn't create it).
    """
    with wait_for_file(path, seconds), open(path, mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


def _run_folders(rundir: str | os.PathLike[str]) -> list[str]:
    """List the names of numbered run folders, by number."""
    try:
        names = os.listdir(rundir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((name for name in names if name.isascii() and name.isdigit()), key=lambda name: (int(name), name))


def get_all_checkpoints(rundir: str | os.PathLike[str] = "runinfo") -> Sequence[str]:
    """Find the checkpoints of all runs so far.

    Args:
        rundir: Folder that holds the numbered run folders; it need not exist.

    Returns:
        Absolute paths of the checkpoint folders `<rundir>/<NNN>/checkpoint` that exist, oldest run first.
    """
    root = os.path.abspath(rundir)
    folders = [os.path.join(root, name, "checkpoint") for name in _run_folders(root)]
    return [folder for folder in folders if os.path.isdir(folder)]


def get_last_checkpoint(rundir: str | os.PathLike[str] = "runinfo") -> Sequence[str]:
    """Find the checkpoint of the newest run that has one.

    Args:
        rundir: Folder that holds the numbered run folders; it need not exist.

    Returns:
        A list with the absolute path of that checkpoint folder, or an empty list.
    """
    return get_all_checkpoints(rundir)[-1:]


def get_std_fname_mode(fdname: str, stdfspec: str | os.PathLike[Any] | tuple[Any, str]) -> tuple[str, str]:
    """Read what an app got as its `stdout` or `stderr`.

    Args:
        fdname: "stdout" or "stderr", for the error message.
        stdfspec: A path, or a tuple of a path and a mode for `open`; a path object may stand for text or bytes.

    Returns:
        Path and mode; without a mode "a+": append.

    Raises:
        BadStdStreamFile: It has another form, or the mode doesn't write.
    """
    path, mode = stdfspec, "a+"
    if isinstance(stdfspec, tuple):
        if len(stdfspec) != 2:
            raise BadStdStreamFile(f"{fdname} takes (path, mode), but got {len(stdfspec)} items: {stdfspec!r}")
        path, mode = stdfspec
        if not isinstance(mode, str) or not (_MODE_LETTERS.issuperset(mode) and _WRITING_LETTERS.intersection(mode)):
            raise BadStdStreamFile(f"{fdname} takes a mode that writes, such as 'w' or 'a+', but got {mode!r}")
    if not isinstance(path, (str, os.PathLike)):
        raise BadStdStreamFile(f"{fdname} takes a path or (path, mode), but got {type(path).__name__}: {path!r}")
    return os.fsdecode(path), mode


def sanitize_dns_label_rfc1123(raw_string: str) -> str:
    """Turn a text into a DNS label after RFC 1123: at most 63 of a-z, 0-9 and '-', no '-' at either end.

    Args:
        raw_string: Any text. What a label can't hold becomes '-', once for each run of such characters.

    Returns:
        The label.

    Raises:
        ValueError: Nothing usable is left.
    """
    label = re.sub(r"[^a-z0-9]+", "-", raw_string.lower()).strip("-")[:63].rstrip("-")
    if not label:
        raise ValueError(f"No DNS label (RFC 1123) can be made of {raw_string!r}")
    return label


def sanitize_dns_subdomain_rfc1123(raw_string: str) -> str:
    """Turn a text into a DNS subdomain name after RFC 1123: labels joined by dots, at most 253 characters.

    Args:
        raw_string: Any text; each part between dots is made a label, and parts of which nothing is left are dropped.

    Returns:
        The name.

    Raises:
        ValueError: Nothing usable is left.
    """
    parts = [part for part in raw_string.split(".") if re.search(r"[a-z0-9]", part.lower())]
    name = ".".join(sanitize_dns_label_rfc1123(part) for part in parts)[:253].rstrip("-.")
    if not name:
        raise ValueError(f"No DNS subdomain name (RFC 1123) can be made of {raw_string!r}")
    return name


def wtime_to_minutes(time_string: str) -> int:
    """Convert a wall time to whole minutes; seconds beyond them are dropped.

    Args:
        time_string: 'HH:MM:SS', any number of digits each.

    Returns:
        Minutes, 0 or more.

    Raises:
        ValueError: It has another form.
    """
    match = re.fullmatch(r"(\d+):(\d+):(\d+)", time_string, re.ASCII)
    if match is None:
        raise ValueError(f"A wall time has the form HH:MM:SS, but got {time_string!r}")
    hours, minutes, seconds = map(int, match.groups())
    total = (hours * 3600 + minutes * 60 + seconds) // 60
    if total < 1:
        logger.warning("Wall time %r is less than one minute: %d minutes", time_string, total)
    return total
