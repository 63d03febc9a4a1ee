"""Ending programs with all that they have started, however far it has run away.

A process is found by its parents while these live. One whose parents have ended, or that leads a session of its own, is
found by a variable of its environment, which every process inherits and few ever remove.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

logger = logging.getLogger(__name__)

# How often what keeps starting further processes is looked for, and how long killed ones may take to end.
_ROUNDS = 5
_KILL_SECONDS = 1.0


def kill_processes(victims: Iterable[psutil.Process], number: int = signal.SIGKILL) -> bool:
    """Kill processes, or send them another signal, without waiting for their ends; return whether there were any."""
    import psutil

    found = False
    for victim in victims:
        try:
            victim.send_signal(number)
            found = True
        except psutil.NoSuchProcess:
            logger.debug("process %d has ended by itself", victim.pid)
    return found


def marked(processes: Iterable[psutil.Process], environment: Mapping[str, str]) -> list[psutil.Process]:
    """Return those of some processes whose environment has these variables, with these values."""
    import psutil

    found = []
    for process in processes:
        try:
            theirs = process.environ()
        except (psutil.Error, OSError) as e:
            logger.debug("process %d is not looked at: %s", process.pid, e)
            continue
        if all(theirs.get(name) == value for name, value in environment.items()):
            found.append(process)
    return found


def kill_marked(environment: Mapping[str, str]) -> None:
    """Kill all processes of this user that have these variables, until none starts another.

    Args:
        environment: what tells them from others, at least one variable; this very process is never among them.

    Raises:
        ValueError: when it is empty, which would mean all of the user's processes.
    """
    if not environment:
        raise ValueError("What is to be killed has to be marked by at least one variable")
    import psutil

    own = psutil.Process().pid
    for _ in range(_ROUNDS):
        victims = marked((p for p in psutil.process_iter() if p.pid != own), environment)
        if not kill_processes(victims):
            return
        psutil.wait_procs(victims, timeout=_KILL_SECONDS)
    logger.warning("Some processes marked %s start others faster than they can be killed", dict(environment))
