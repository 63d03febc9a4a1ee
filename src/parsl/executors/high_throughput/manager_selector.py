"""In which order managers are offered tasks."""

from __future__ import annotations

import random
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping

from parsl.executors.high_throughput.manager_record import ManagerRecord


class ManagerSelector(metaclass=ABCMeta):
    """Orders the managers that could take tasks; users may write their own. It runs in the interchange process.

    One of your own is asked at each turn about all managers that want tasks. With thousands of them that takes its
    time; the selectors of the package are asked for those few that get some.
    """

    @abstractmethod
    def sort_managers(self, ready_managers: Mapping[bytes, ManagerRecord], manager_list: set[bytes]) -> list[bytes]:
        """Return the managers in the order in which they are to be offered tasks.

        Args:
            ready_managers: all registered managers by identity.
            manager_list: identities of those that want tasks now.

        Returns:
            The identities of `manager_list`, first to be served first.
        """


class RandomManagerSelector(ManagerSelector):
    """A random order, which spreads tasks evenly: the default."""

    def sort_managers(self, ready_managers: Mapping[bytes, ManagerRecord], manager_list: set[bytes]) -> list[bytes]:
        """Return `manager_list` shuffled."""
        order = list(manager_list)
        random.shuffle(order)
        return order


class BlockIdManagerSelector(ManagerSelector):
    """Managers of the lowest block first, which lets later blocks fall idle and be scaled in."""

    def sort_managers(self, ready_managers: Mapping[bytes, ManagerRecord], manager_list: set[bytes]) -> list[bytes]:
        """Return `manager_list` by block number."""
        return sorted(manager_list, key=lambda manager: block_number(str(ready_managers[manager]["block_id"])))


def block_number(block: str) -> tuple[int, str]:
    """Return what blocks are ordered by: their number; those that are named otherwise come first."""
    return (int(block) if block.isdecimal() else -1, block)
