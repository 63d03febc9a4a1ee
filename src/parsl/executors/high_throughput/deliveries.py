"""Which results of managers have reached the client: a part of the `Broker`, as plain as that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl.executors.high_throughput.manager_record import ManagerRecord


class Deliveries:
    """From which managers results have come, been passed on, and been said to be."""

    def __init__(self) -> None:
        self._to_pass_on: set[ManagerRecord] = set()
        self._to_thank: set[ManagerRecord] = set()

    def came(self, manager: ManagerRecord, number: int) -> None:
        """Results have come from a manager, in a message of this number."""
        manager.received = number
        self._to_pass_on.add(manager)

    @property
    def waiting(self) -> bool:
        """Whether there are results that have not been passed on."""
        return bool(self._to_pass_on)

    def passed_on(self) -> None:
        """All that has come is with the client now."""
        for manager in self._to_pass_on:
            manager.delivered = manager.received
        self._to_thank |= self._to_pass_on
        self._to_pass_on.clear()

    @property
    def owed(self) -> bool:
        """Whether there are, or will be, managers to be told that their results have been passed on."""
        return bool(self._to_thank or self._to_pass_on)

    def thanked(self, manager: ManagerRecord) -> None:
        """Note that a manager has been told, by a message that was due anyway."""
        self._to_thank.discard(manager)

    def take_unthanked(self) -> set[ManagerRecord]:
        """Return the managers that are to be told now."""
        thank, self._to_thank = self._to_thank, set()
        return thank
