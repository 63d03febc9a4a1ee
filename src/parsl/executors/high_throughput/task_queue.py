"""The queue of the interchange: which task is next for a manager whose block ends in so many seconds.

Tasks that declare no time go into lanes, one for each priority: taking the next one is a look at the first lane. Tasks
that declare one go into a tree that finds the first that fits in a number of steps that grows with the logarithm of
their number, so that tasks that fit nowhere are passed over and not looked at again and again.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import deque
from typing import Any, NamedTuple

from parsl.executors.high_throughput.messages import Task

# Where a task stands in the queue: its priority, then its number.
Rank = tuple[float, int]

_LAST = math.inf


class Place(NamedTuple):
    """Where a task stands in the queue.

    Attributes:
        position: 1 for the next one.
        seconds: what it declares to take; None when it declares nothing.
        resources: its resource specification, or None.
    """

    position: int
    seconds: float | None
    resources: dict[str, Any] | None


class TaskQueue:
    """Tasks by priority (lowest number first, none last), first in first out among equals.

    Attributes:
        plain: how many tasks declare no time.
    """

    def __init__(self) -> None:
        self.plain = 0
        self._lanes: dict[float, deque[Task]] = {}
        self._order: list[float] = []
        self._timed = TimedTasks()
        # With each waiting task its rank if it declares a time.
        self._waiting: dict[int, Rank | None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def timed(self) -> int:
        """How many tasks declare a time."""
        return len(self._waiting) - self.plain

    @property
    def shortest(self) -> float:
        """Seconds that the shortest of the tasks that declare a time takes; infinite when there is none."""
        return self._timed.shortest

    def push(self, task: Task) -> None:
        """Queue a task."""
        priority = _LAST
        if task.resources is not None:
            priority = _number(task.resources, "priority", _LAST)
            seconds = _number(task.resources, "walltime", 0)
            if seconds > 0:
                rank = self._waiting[task.id] = (priority, task.id)
                self._timed.add(rank, seconds, task)
                return
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            bisect.insort(self._order, priority)
        lane.append(task)
        self._waiting[task.id] = None
        self.plain += 1

    def take(self, count: int, seconds: float = math.inf) -> list[Task]:
        """Take the next tasks that fit, `count` at most; see `pop`."""
        tasks: list[Task] = []
        waiting = self._waiting
        while len(tasks) < count and len(waiting) > self.plain:
            task = self.pop(seconds)
            if task is None:
                return tasks
            tasks.append(task)
        # None declares a time.
        while len(tasks) < count and self.plain:
            lane = self._first_lane()
            before = len(tasks)
            while lane and len(tasks) < count:
                task = lane.popleft()
                if task.id in waiting:
                    del waiting[task.id]
                    tasks.append(task)
            self.plain -= len(tasks) - before
        return tasks

    def pop(self, seconds: float = math.inf) -> Task | None:
        """Take the next task that fits.

        Args:
            seconds: how long a task may take that declares its time.

        Returns:
            The task, or None when there is none that fits.
        """
        lane = self._first_lane() if self.plain else None
        if len(self._waiting) > self.plain:
            rank = self._timed.first(seconds)
            if rank is not None and (lane is None or rank < (self._order[0], lane[0].id)):
                del self._waiting[rank[1]]
                return self._timed.remove(rank)
        if lane is None:
            return None
        task = lane.popleft()
        del self._waiting[task.id]
        self.plain -= 1
        return task

    def place(self, task_id: int) -> Place | None:
        """Find a task by number; None when it is not there. Takes longer the further back it stands."""
        rank = self._waiting.get(task_id, ())
        if rank == ():
            return None
        if rank:
            seconds, task, before = self._timed.find(rank)
            others = sum(self._before(p, rank[1] if p == rank[0] else None) for p in self._order if p <= rank[0])
            return Place(before + others + 1, seconds, task.resources)
        before = 0
        for priority in self._order:
            found = next((t for t in self._lanes[priority] if t.id == task_id), None)
            if found is not None:
                before += self._before(priority, task_id) + self._timed.count_before((priority, task_id))
                return Place(before + 1, None, found.resources)
            before += self._before(priority, None)
        raise LookupError(f"task {task_id} is in no lane")

    def _before(self, priority: float, task_id: int | None) -> int:
        """Count the tasks of a lane that wait, up to one of them."""
        count = 0
        for task in self._lanes[priority]:
            if task_id is not None and task.id >= task_id:
                break
            count += task.id in self._waiting
        return count

    def _first_lane(self) -> deque[Task]:
        """Return the lane whose first task is next, of those that declare no time; there must be one."""
        while True:
            lane = self._lanes[self._order[0]]
            while lane:
                if lane[0].id in self._waiting:
                    return lane
                lane.popleft()
            del self._lanes[self._order.pop(0)]

    def drop(self, task_id: int) -> bool:
        """Take a task out by number; return whether it was there."""
        if task_id not in self._waiting:
            return False
        rank = self._waiting.pop(task_id)
        if rank is None:
            self.plain -= 1
        else:
            self._timed.remove(rank)
        return True


def _number(resources: dict[str, Any], name: str, default: float) -> float:
    """Return a number of a specification; what cannot be compared (text, not a number) counts as not given."""
    value = resources.get(name)
    # What is not equal to itself is not a number.
    return value if isinstance(value, (int, float)) and value == value else default  # noqa: PLR0124 - see above


class _Node:
    """A task in the tree: `least` is the shortest time in the part of the tree that hangs below it, itself included."""

    __slots__ = ("least", "left", "rank", "right", "seconds", "task", "weight")

    def __init__(self, rank: Rank, seconds: float, task: Task) -> None:
        self.rank = rank
        self.seconds = self.least = seconds
        self.task = task
        self.weight = random.random()  # noqa: S311 - no secret is made of it
        self.left: _Node | None = None
        self.right: _Node | None = None

    def update(self) -> _Node:
        """Find `least` anew after a change below."""
        least = self.seconds
        if self.left is not None and self.left.least < least:
            least = self.left.least
        if self.right is not None and self.right.least < least:
            least = self.right.least
        self.least = least
        return self


class TimedTasks:
    """Tasks with the time that each declares, in the order of their ranks.

    A treap: a search tree by rank, and a heap by random weights, which keeps it as flat as its size allows (Seidel and
    Aragon, Randomized search trees, 1996).
    """

    def __init__(self) -> None:
        self._root: _Node | None = None

    @property
    def shortest(self) -> float:
        """Seconds that the shortest task takes; infinite when there is none."""
        return math.inf if self._root is None else self._root.least

    def add(self, rank: Rank, seconds: float, task: Task) -> None:
        """Put in a task."""
        self._root = _insert(self._root, _Node(rank, seconds, task))

    def first(self, seconds: float) -> Rank | None:
        """Return the lowest rank of a task that takes no longer than `seconds`, or None when there is none."""
        node = self._root if self.shortest <= seconds else None
        while node is not None:
            if node.left is not None and node.left.least <= seconds:
                node = node.left
            elif node.seconds <= seconds:
                return node.rank
            else:
                node = node.right
        return None

    def find(self, rank: Rank) -> tuple[float, Task, int]:
        """Return what the task of a rank, which must be there, declares; the task; and how many come before it."""
        stack: list[_Node] = []
        node, before = self._root, 0
        while stack or node is not None:
            if node is not None:
                stack.append(node)
                node = node.left
                continue
            node = stack.pop()
            if node.rank == rank:
                return node.seconds, node.task, before
            before, node = before + 1, node.right
        raise LookupError(f"no task of rank {rank}")

    def count_before(self, rank: Rank) -> int:
        """Count the tasks that come before a rank."""
        count, left = 0, [self._root]
        while left:
            node = left.pop()
            if node is None:
                continue
            left.append(node.left)
            if node.rank < rank:
                count += 1
                left.append(node.right)
        return count

    def remove(self, rank: Rank) -> Task:
        """Take out the task of a rank, which must be there."""
        self._root, node = _remove(self._root, rank)
        return node.task


def _insert(root: _Node | None, node: _Node) -> _Node:
    if root is None:
        return node
    if node.weight < root.weight:
        node.left, node.right = _split(root, node.rank)
        return node.update()
    if node.rank < root.rank:
        root.left = _insert(root.left, node)
    else:
        root.right = _insert(root.right, node)
    return root.update()


def _split(root: _Node | None, rank: Rank) -> tuple[_Node | None, _Node | None]:
    """Part a tree into what comes before a rank and what comes after."""
    if root is None:
        return None, None
    if root.rank < rank:
        root.right, after = _split(root.right, rank)
        return root.update(), after
    before, root.left = _split(root.left, rank)
    return before, root.update()


def _join(before: _Node | None, after: _Node | None) -> _Node | None:
    """Make one tree of two, all of one before all of the other."""
    if before is None or after is None:
        return before or after
    if before.weight < after.weight:
        before.right = _join(before.right, after)
        return before.update()
    after.left = _join(before, after.left)
    return after.update()


def _remove(root: _Node | None, rank: Rank) -> tuple[_Node | None, _Node]:
    if root is None:
        raise LookupError(f"no task of rank {rank}")
    if rank == root.rank:
        return _join(root.left, root.right), root
    if rank < root.rank:
        root.left, node = _remove(root.left, rank)
    else:
        root.right, node = _remove(root.right, rank)
    return root.update(), node
