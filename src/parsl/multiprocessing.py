"""Start methods of the standard library's multiprocessing, by name, and a sure way to be rid of a process.

Nothing in this package needs the contexts; they are here for code that is built on it. They are made at first use, so
where a start method doesn't exist (fork on Windows) only its own names are missing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing import get_context
    from multiprocessing.process import BaseProcess

    ForkContext = get_context("fork")
    SpawnContext = get_context("spawn")
    ForkProcess = ForkContext.Process
    SpawnProcess = SpawnContext.Process
    SpawnEvent = SpawnContext.Event
    SpawnQueue = SpawnContext.Queue

__all__ = [
    "ForkContext",
    "ForkProcess",
    "SpawnContext",
    "SpawnEvent",
    "SpawnProcess",
    "SpawnQueue",
    "join_terminate_close_proc",
]

logger = logging.getLogger(__name__)

_MADE_FROM = {
    "ForkContext": ("fork", None),
    "ForkProcess": ("fork", "Process"),
    "SpawnContext": ("spawn", None),
    "SpawnProcess": ("spawn", "Process"),
    "SpawnEvent": ("spawn", "Event"),
    "SpawnQueue": ("spawn", "Queue"),
}


def __getattr__(name: str) -> Any:
    if name not in _MADE_FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import multiprocessing

    method, member = _MADE_FROM[name]
    try:
        context = multiprocessing.get_context(method)
    except ValueError as error:
        raise AttributeError(f"{__name__}.{name}: {error}") from error
    found = globals()[name] = context if member is None else getattr(context, member)
    return found


def join_terminate_close_proc(process: BaseProcess, *, timeout: float = 30) -> None:
    """Wait for a process to end, make it end if it doesn't, and free what it held.

    Args:
        process: A started process; afterwards the object can't be used any more.
        timeout: Seconds to wait for it to end by itself, and again after asking it to, before it is killed.
    """
    process.join(timeout)
    if process.is_alive():
        logger.warning("Process %s did not end within %s s; terminating it", process.name, timeout)
        process.terminate()
        process.join(timeout)
    if process.is_alive():
        logger.warning("Process %s did not end %s s after SIGTERM; killing it", process.name, timeout)
        process.kill()
        process.join()
    process.close()
