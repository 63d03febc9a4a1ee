"""What the two engines have in common in the process that holds the manager."""

from __future__ import annotations

import logging
import secrets
import sys
from abc import abstractmethod
from collections.abc import Mapping

from parsl.executors.cctools_command import command_line
from parsl.executors.cctools_manager import NeverWaits

logger = logging.getLogger(__name__)

# A bound for one call of `wait`, which returns before when it has nothing more to do; in seconds.
_WAIT = 5

# The same where the library cannot be told not to wait.
_SHORTEST_WAIT = 1


class CctoolsEngine:
    """Base of what drives a manager, see `cctools_manager.Engine`.

    A subclass makes the library's manager, sets `port`, calls `_wait_no_longer`, and hands tasks over.

    Args:
        max_retries: how often a task is tried.
        init_command: shell command before each task.
        env: environment variables of tasks.
        packed: whether tasks come with a packed Python environment.
        measured: whether the engine measures what tasks use.
    """

    port: int

    def __init__(
        self, *, max_retries: int, init_command: str, env: Mapping[str, str] | None, packed: bool, measured: bool
    ) -> None:
        self._max_retries = max_retries
        self._env = env or {}
        # What is measured has to be a child of the task itself.
        warm = "" if measured else secrets.token_hex(8)
        self._command = command_line(init_command, packed=packed, warm=warm)
        self._measured = measured
        self._categories: set[str] = set()
        self._wait = _WAIT

    def _wait_no_longer(self, modules: tuple[str, ...], enable: str, manager: object, handle: str) -> None:
        """Make the library's `wait` return as soon as it can.

        Args:
            modules: the names that its extension module has in one release or another.
            enable: see `NeverWaits`.
            manager: the library's manager.
            handle: name of the attribute in which that has the library's own object.
        """
        found = next((sys.modules[name] for name in modules if name in sys.modules), None)
        try:
            NeverWaits(str(getattr(found, "__file__", "")), enable, getattr(manager, handle))
        except AttributeError as e:
            logger.warning("This library cannot be told not to wait, so tasks may wait for a second: %s", e)
            self._wait = _SHORTEST_WAIT

    def _learn(self, category: str) -> None:
        """See to it that what tasks of a category need is learnt, if the engine measures that."""
        if self._measured and category not in self._categories:
            self._categories.add(category)
            self._begin_to_learn(category)

    @abstractmethod
    def _begin_to_learn(self, category: str) -> None:
        """Tell the library to learn what tasks of a category need."""
