"""What Python cannot do for itself: say where a process crashed, and end one that does not come back to Python.

Signals reach Python code between two of its steps, so a call of C code that never returns, or that keeps the
interpreter's lock, is never interrupted. Python's fault handler needs neither: it has a thread in C, and handlers in C.
Both write into a file that another process reads when this one has ended.
"""

from __future__ import annotations

import faulthandler
import os

# How long what was interrupted may take to come to its end before the process is ended.
GRACE_SECONDS = 2.0

# What the fault handler writes above a stack.
STACK = " (most recent call first):"

# What the fault handler writes when it ends the process. The line in front of it is what `arm` was given.
_TIMEOUT = "\nTimeout ("

# Of what a process has written.
_MOST_BYTES = 64 * 1024

_file: int | None = None
_owner = 0


def install(file: int) -> None:
    """Have crashes of this process told in a file, and make `arm` work.

    Args:
        file: a descriptor, open for writing for as long as the process lives.
    """
    global _file, _owner
    faulthandler.enable(file, all_threads=False)
    _file, _owner = file, os.getpid()


def installed() -> bool:
    """Tell whether this very process is watched; a forked child is not."""
    return _file is not None and os.getpid() == _owner


def arm(seconds: float, text: str) -> None:
    """End this process in some seconds, and a grace, unless `disarm` is called before; only where it is installed.

    Args:
        seconds: how long what follows may take.
        text: what the reader of the file is to know, in one line.
    """
    assert _file is not None
    say(f"{text}\n")
    faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=_file)


def disarm() -> None:
    """Undo `arm`."""
    faulthandler.cancel_dump_traceback_later()
    say("")


def say(text: str) -> None:
    """Put a text into the file in place of what is there; nothing where none is installed."""
    if _file is not None and installed():
        os.ftruncate(_file, 0)
        os.lseek(_file, 0, os.SEEK_SET)
        os.write(_file, text.encode(errors="replace"))


def open_words() -> int:
    """Return the descriptor of a new file for the last words of a process; it has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("parsl-last-words")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def read_words(file: int) -> str:
    """Return what a process wrote at its end."""
    return os.pread(file, _MOST_BYTES, 0).decode(errors="replace")


def timed_out(words: str) -> str | None:
    """Return what `arm` was given in the process that wrote these words, if the watchdog has ended it."""
    text, found, _ = words.partition(_TIMEOUT)
    return text if found else None


def frames(words: str, bottom: str, hidden: str) -> str:
    """Return where the process was, innermost call first.

    Args:
        words: what the fault handler wrote.
        bottom: path of the module below which all calls are of the process itself.
        hidden: path of a module in between, whose calls tell nothing either.
    """
    # Of several threads the last is the main one.
    stack: list[str] = []
    for line in words.rpartition(STACK)[2].lstrip("\n").splitlines():
        if not line.startswith("  File ") or f'"{bottom}"' in line:
            break
        if f'"{hidden}"' not in line:
            stack.append(line)
    return "\n".join(stack)
