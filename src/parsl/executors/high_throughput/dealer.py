"""Which manager gets which queued task: a part of the `Broker`, as plain as that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.executors.high_throughput.room import Room, order_of

if TYPE_CHECKING:
    from parsl.executors.high_throughput.manager_record import ManagerRecord
    from parsl.executors.high_throughput.manager_selector import ManagerSelector
    from parsl.executors.high_throughput.messages import Task
    from parsl.executors.high_throughput.task_queue import TaskQueue


class Dealer:
    """Deals the tasks of a queue to the managers that want some, which wait in one of two rooms.

    What a task costs does not depend on how many managers there are.

    Args:
        queue: the tasks that nobody has.
        selector: in which order managers are offered tasks.
        known: all registered managers, for a selector that asks for them.
    """

    def __init__(self, queue: TaskQueue, selector: ManagerSelector, known: Mapping[bytes, ManagerRecord]) -> None:
        self._queue = queue
        # Managers with workers that have nothing to do, and those that want no more than a stock.
        self._idle = Room(order_of(selector, known), 1)
        self._stock = Room(order_of(selector, known), 2)

    def place(self, manager: ManagerRecord) -> None:
        """Put a manager into the room where it belongs; to be called whenever what it has or wants has changed."""
        count = len(manager.tasks)
        room = None
        if manager.active and count < manager.credit:
            room = self._idle if count < manager.workers else self._stock
        if room is manager.room:
            return
        if manager.room is not None:
            manager.room.discard(manager)
        if room is not None:
            room.add(manager)

    def deal(self, now: float) -> dict[ManagerRecord, list[Task]]:
        """Take tasks off the queue for managers that want some, and whose blocks last long enough.

        First every manager gets what its workers can run at once, then an equal share of the rest, as far as it wants
        some in stock: so no node hoards what another could start now.

        Args:
            now: the time.

        Returns:
            What each manager is to be sent; the tasks are on its list already.
        """
        batches: dict[ManagerRecord, list[Task]] = {}
        queue, stock = self._queue, self._stock
        if len(queue) and len(self._idle):
            self._serve(self._idle, now, batches)
        if len(queue) and len(stock):
            if stock.serves_all and self._placeable(stock, now) <= len(stock):
                self._serve(stock, now, batches)
            else:
                self._share(now, batches)
        return batches

    def _placeable(self, room: Room, now: float) -> int:
        """Return how many tasks, at most, could go to managers of a room."""
        queue = self._queue
        latest = room.latest() if queue.timed else None
        fits = latest is None or queue.shortest <= latest.ends_at - now
        return len(queue) if fits else queue.plain

    def _serve(self, room: Room, now: float, batches: dict[ManagerRecord, list[Task]]) -> None:
        """Serve managers in the selector's order: each takes something, so that this is no more work than tasks."""
        queue = self._queue
        for manager in room.first(self._placeable(room, now)):
            if not len(queue):
                return
            if not self._take(manager, self._turn(manager), now, batches) and room.serves_all:
                break
        # Nothing that is left fits that manager. Those whose blocks last longest come next: what does not fit the
        # first of them fits none.
        while len(queue):
            latest = room.latest()
            if latest is None or not self._take(latest, self._turn(latest), now, batches):
                return

    @staticmethod
    def _turn(manager: ManagerRecord) -> int:
        """Return how many tasks a manager is given at its turn: one for each idle worker, or one for the stock."""
        return min(manager.free, max(1, manager.workers - len(manager.tasks)))

    def _share(self, now: float, batches: dict[ManagerRecord, list[Task]]) -> None:
        """Fill stocks in equal shares; there are more tasks than managers with room for some."""
        # Those that want least come first: what they leave of their share is shared by the rest.
        order = sorted(self._stock.first(len(self._stock)), key=lambda m: m.free)
        while order and len(self._queue):
            fed = []
            for served, manager in enumerate(order):
                share = -(-len(self._queue) // (len(order) - served))
                if self._take(manager, min(manager.free, share), now, batches):
                    fed.append(manager)
            # What did not fit the others is shared by those that it fits.
            order = [manager for manager in fed if manager.free]

    def _take(self, manager: ManagerRecord, room: int, now: float, batches: dict[ManagerRecord, list[Task]]) -> bool:
        """Give a manager up to `room` tasks that fit; return whether there were any."""
        tasks = self._queue.take(room, manager.ends_at - now)
        if not tasks:
            return False
        manager.tasks.update([task.id for task in tasks])
        self.place(manager)
        batch = batches.setdefault(manager, tasks)
        if batch is not tasks:
            batch += tasks
        return True
