"""The ends of log files of a run, where this machine sees them."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

# Of each file so many bytes from its end are shown, of each folder so many files.
TAIL_BYTES = 32_000
_MOST_FILES = 400
_ENDINGS = (".log", ".stderr", ".stdout", ".out", ".err")


class LogFile(NamedTuple):
    """A log file: its path within the run folder, its bytes, and when it was last written."""

    name: str
    size: int
    at: float


def find(folder: str | None) -> list[LogFile]:
    """Return the log files in a run folder, the last written first; none where it cannot be read."""
    if not folder:
        return []
    found: list[LogFile] = []
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(_ENDINGS):
                whole = os.path.join(path, name)
                try:
                    about = os.lstat(whole)
                except OSError:
                    continue  # it has gone meanwhile
                if stat.S_ISREG(about.st_mode):
                    found.append(LogFile(os.path.relpath(whole, folder), about.st_size, about.st_mtime))
        if len(found) >= _MOST_FILES:
            break
    # The kernel's own log is what one looks for first.
    return sorted(found[:_MOST_FILES], key=lambda f: (f.name != "parsl.log", f.size == 0, -f.at))


def tail(path: str, most: int = TAIL_BYTES) -> str | None:
    """Return the end of a file, from the begin of a line on; None where there is no such file to be read."""
    try:
        # Not to wait where it is a pipe; what is no file is refused below.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        start = max(about.st_size - most, 0)
        file.seek(start)
        text = file.read(most).decode(errors="replace")
    return text.partition("\n")[2] if start else text
