"""How many files a process may have open (`RLIMIT_NOFILE`, `ulimit -n`): each connection of a manager is one."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

# What an interchange has open beside the connections of its managers: log, sockets, descriptors of zmq and of the loop.
OTHER_FILES = 24

# As many as a manager and its workers may need. Not whatever the system allows: workers inherit it, and programs that
# close "all" descriptors before they start another would go through a thousand millions of them.
MANAGER_FILES = 65536


def raise_file_limit(most: int | None = None) -> int:
    """Raise the soft limit of this process as far as the hard one allows.

    Args:
        most: how far at most; None for as far as it goes. A limit that is higher already stays.

    Returns:
        The limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if most is None or hard == resource.RLIM_INFINITY else min(hard, most)
    if wanted == resource.RLIM_INFINITY:
        wanted = most or 2**20
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as e:
        # Some systems say that there is no limit, and refuse such a number all the same.
        logger.warning("The limit of open files stays at %d, since it cannot be raised to %d: %s", soft, wanted, e)
        return soft
    return wanted


class FileBudget:
    """Tells when the managers of an interchange become too many for the files that it may open.

    Args:
        limit: files that the process may have open.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._most = max(1, limit - OTHER_FILES)
        self._told = 0

    def problem(self, managers: int) -> str | None:
        """Say what is wrong with this many managers; once when nine tenths are there, and once when all are.

        Args:
            managers: how many are connected.
        """
        level = 2 if managers >= self._most else 1 if managers * 10 >= self._most * 9 else 0
        if level <= self._told:
            return None
        self._told = level
        full = "no more managers can connect" if level == 2 else "only a few more can connect"
        return (
            f"{managers} managers are connected to the interchange and {full}: it may have {self._limit} files open, "
            f"which allows {self._most}. Have the hard limit of open files raised on this host (ulimit -Hn, or "
            "LimitNOFILE of the service that it runs in), or spread the nodes over several executors"
        )
