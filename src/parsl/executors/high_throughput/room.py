"""The managers that want tasks, kept up to date one change at a time, so that nobody looks at all of them."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Mapping
from typing import Protocol

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
    ManagerSelector,
    RandomManagerSelector,
    block_number,
)

logger = logging.getLogger(__name__)


class Order(Protocol):
    """Managers in the order in which a selector has them served.

    Attributes:
        serves_all: whether each manager comes at some time; a user's selector may leave some out for good.
    """

    serves_all: bool

    def __len__(self) -> int:
        """How many there are."""

    def add(self, manager: ManagerRecord) -> None:
        """Put in a manager that is not there."""

    def discard(self, manager: ManagerRecord) -> None:
        """Take out a manager that is there."""

    def first(self, count: int) -> list[ManagerRecord]:
        """Return the managers that come first: `count`, or as many as there are; more if that is less work."""


class RandomOrder:
    """A new random order each time; the first few cost as many steps as they are."""

    serves_all = True

    def __init__(self) -> None:
        # Each has its index here as its `place`.
        self._managers: list[ManagerRecord] = []

    def __len__(self) -> int:
        return len(self._managers)

    def add(self, manager: ManagerRecord) -> None:
        """Put in a manager that is not there."""
        manager.place = len(self._managers)
        self._managers.append(manager)

    def discard(self, manager: ManagerRecord) -> None:
        """Take out a manager that is there: the last one gets its place."""
        last = self._managers.pop()
        if last is not manager:
            self._managers[manager.place] = last
            last.place = manager.place

    def first(self, count: int) -> list[ManagerRecord]:
        """Return `count` managers drawn at random, or all in random order if there are no more."""
        managers = self._managers
        size = len(managers)
        if count == 1 and size:
            return [managers[int(random.random() * size)]]  # noqa: S311 - no secret is made of it
        count = min(count, size)
        for place in range(count):
            other = place + int(random.random() * (size - place))  # noqa: S311 - no secret is made of it
            if other != place:
                drawn, moved = managers[other], managers[place]
                managers[place], managers[other] = drawn, moved
                drawn.place, moved.place = place, other
        return managers[:count]


class BlockOrder:
    """Those of the lowest block first; each costs as many steps as the logarithm of the number of blocks."""

    serves_all = True

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, str], dict[bytes, ManagerRecord]] = {}
        self._numbers: list[tuple[int, str]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, manager: ManagerRecord) -> None:
        """Put in a manager that is not there."""
        number = block_number(manager.block_id)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = {}
            heapq.heappush(self._numbers, number)
        block[manager.identity] = manager
        self._size += 1

    def discard(self, manager: ManagerRecord) -> None:
        """Take out a manager that is there; an empty block stays until it comes first."""
        del self._blocks[block_number(manager.block_id)][manager.identity]
        self._size -= 1

    def first(self, count: int) -> list[ManagerRecord]:
        """Return up to `count` managers of the lowest blocks."""
        chosen: list[ManagerRecord] = []
        looked_at = []
        while self._numbers and len(chosen) < count:
            number = heapq.heappop(self._numbers)
            block = self._blocks[number]
            if block:
                looked_at.append(number)
                chosen += itertools.islice(block.values(), count - len(chosen))
            else:
                del self._blocks[number]
        for number in looked_at:
            heapq.heappush(self._numbers, number)
        return chosen


class UserOrder:
    """The order of a user's selector, which is asked each time and shown all that want tasks.

    Args:
        selector: what orders them.
        known: all registered managers.
    """

    serves_all = False

    def __init__(self, selector: ManagerSelector, known: Mapping[bytes, ManagerRecord]) -> None:
        self._selector = selector
        self._known = known
        self._managers: dict[bytes, ManagerRecord] = {}

    def __len__(self) -> int:
        return len(self._managers)

    def add(self, manager: ManagerRecord) -> None:
        """Put in a manager that is not there."""
        self._managers[manager.identity] = manager

    def discard(self, manager: ManagerRecord) -> None:
        """Take out a manager that is there."""
        del self._managers[manager.identity]

    def first(self, count: int) -> list[ManagerRecord]:
        """Return all managers that the selector names, each once: which of them a task fits is not known here."""
        del count
        managers = self._managers
        if len(managers) < 2:
            return list(managers.values())
        try:
            names = [i for i in self._selector.sort_managers(self._known, set(managers)) if i in managers]
        except Exception:
            # The selector may be a user's, and tasks must not wait for ever because of it.
            logger.exception("The manager selector failed; managers are served in no special order")
            names = list(managers)
        return [managers[name] for name in dict.fromkeys(names)]


def order_of(selector: ManagerSelector, known: Mapping[bytes, ManagerRecord]) -> Order:
    """Make the order that a selector stands for: those of the package cost the same for any number of managers."""
    # The very classes: a subclass may sort in a way of its own.
    if type(selector) is RandomManagerSelector:
        return RandomOrder()
    if type(selector) is BlockIdManagerSelector:
        return BlockOrder()
    return UserOrder(selector, known)


class Room:
    """Managers that want tasks for the same purpose, in the selector's order and by the end of their blocks.

    Args:
        order: in which order they are served.
        mark: a power of two that is this room's own, by which managers know in whose lists they are.
    """

    def __init__(self, order: Order, mark: int) -> None:
        self._order = order
        self._mark = mark
        # Latest end first. A manager stays here when it leaves the room, and most often is back before it is met.
        self._ends: list[tuple[float, int, ManagerRecord]] = []
        self._counter = itertools.count()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def serves_all(self) -> bool:
        """Whether each manager is served at some time, see `Order`."""
        return self._order.serves_all

    def add(self, manager: ManagerRecord) -> None:
        """Take in a manager that is in no room."""
        manager.room = self
        self._order.add(manager)
        if not manager.listed & self._mark:
            if len(self._ends) > 2 * len(self._order) + 64:
                self._strike_out()
            manager.listed |= self._mark
            heapq.heappush(self._ends, (-manager.ends_at, next(self._counter), manager))

    def discard(self, manager: ManagerRecord) -> None:
        """Let go a manager that is in this room."""
        manager.room = None
        self._order.discard(manager)

    def first(self, count: int) -> list[ManagerRecord]:
        """Return the managers to be served first, see `Order.first`."""
        return self._order.first(count)

    def latest(self) -> ManagerRecord | None:
        """Return the manager whose block ends last, or None when the room is empty or not all are to be served."""
        if not self.serves_all:
            return None
        while self._ends:
            manager = self._ends[0][2]
            if manager.room is self:
                return manager
            heapq.heappop(self._ends)
            manager.listed &= ~self._mark
        return None

    def _strike_out(self) -> None:
        """Forget those that are not here: some have left for ever."""
        for _, _, manager in self._ends:
            if manager.room is not self:
                manager.listed &= ~self._mark
        self._ends = [entry for entry in self._ends if entry[2].room is self]
        heapq.heapify(self._ends)
