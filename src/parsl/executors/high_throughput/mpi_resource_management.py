"""The brain of the manager of a block of MPI tasks: which task gets which nodes of the block, and when.

The manager runs on the first node. A task has its nodes for itself. Tasks start in the order of their priorities, then
in that of their arrival; where the next one has to wait for nodes, later ones that fit may start before it, but only
so many: see `NodeLedger`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.high_throughput.messages import Payload, PlacedTask, Result, Task
from parsl.executors.high_throughput.mpi_prefix_composer import Ranks, read_specification, too_large
from parsl.executors.high_throughput.pool import Hands, Pool


class _Waiting:
    """A task that waits for nodes.

    Attributes:
        task: its number.
        size: nodes that it needs.
        order: its place in the queue.
        passed: nodes that later tasks have been given while it waited.
    """

    __slots__ = ("order", "passed", "size", "task")

    def __init__(self, task: int, size: int, order: tuple[float, int]) -> None:
        self.task = task
        self.size = size
        self.order = order
        self.passed = 0


class NodeLedger:
    """Which task has which nodes, and which waits for some.

    While a task waits, tasks behind it may start on nodes that it can't use yet, until they have been given as many
    nodes as the block has. After that nothing behind it starts: each node that gets free is kept for it. So small
    tasks fill gaps, and none of any size waits for ever.

    Args:
        nodes: names of the block's nodes, each once.
        most_tasks: how many tasks may have nodes at once.
    """

    def __init__(self, nodes: Sequence[str], most_tasks: int) -> None:
        self.nodes = tuple(nodes)
        self._most_tasks = most_tasks
        self._free = list(range(len(self.nodes)))
        self._held: dict[int, list[int]] = {}
        self._waiting: list[_Waiting] = []
        self._arrivals = 0
        # The size of the newest task that has started; the next is likely to be of the same.
        self._usual_size = 1

    def wait(self, task: int, size: int, priority: float = math.inf) -> None:
        """Queue a task.

        Args:
            task: its number.
            size: nodes that it needs, 1 to all.
            priority: the lowest goes first.
        """
        self._arrivals += 1
        waiting = _Waiting(task, size, (priority, self._arrivals))
        bisect.insort(self._waiting, waiting, key=lambda w: w.order)

    def assign(self) -> list[tuple[int, list[str]]]:
        """Give nodes to the tasks whose turn it is; return their numbers, each with the names of its nodes."""
        started: list[_Waiting] = []
        before: list[_Waiting] = []
        # So many nodes may be given without passing anybody over too often; the first in the queue passes nobody.
        allowed = len(self.nodes)
        for waiting in self._waiting:
            if not self._free or not allowed or len(self._held) >= self._most_tasks:
                break
            if waiting.size > min(len(self._free), allowed):
                before.append(waiting)
                allowed = min(allowed, len(self.nodes) - waiting.passed)
                continue
            self._held[waiting.task], self._free = self._free[: waiting.size], self._free[waiting.size :]
            self._usual_size = waiting.size
            started.append(waiting)
            for passed in before:
                passed.passed += waiting.size
            if before:
                allowed -= waiting.size
        self._waiting = [w for w in self._waiting if w.task not in self._held]
        return [(w.task, [self.nodes[n] for n in self._held[w.task]]) for w in started]

    def end(self, task: int) -> None:
        """Take back the nodes of a task that has ended; one that has none is not known any more either."""
        self._free = sorted(self._free + self._held.pop(task, []))
        self._waiting = [w for w in self._waiting if w.task != task]

    def account(self, task: int) -> dict[str, Any]:
        """Say what a task has, or waits for.

        Returns:
            Plain values. `nodes` of the block; how many are `free`; how many tasks are `running`, of `most` that may.
            Of one that runs: the names of the nodes that it has `got`. Of one that waits: how many it `needs`; how many
            tasks are `ahead` of it, which need `ahead_nodes` in all; how many nodes later tasks have been given while
            it waited (`passed`), and whether none behind a task is (`kept`), since that has been passed over by as many
            as the block has. Nothing for one that is not known.
        """
        facts = {
            "nodes": len(self.nodes), "free": len(self._free), "running": len(self._held), "most": self._most_tasks,
        }  # fmt: skip
        if task in self._held:
            return {**facts, "got": [self.nodes[n] for n in self._held[task]]}
        for place, waiting in enumerate(self._waiting):
            if waiting.task == task:
                ahead = self._waiting[:place]
                return {
                    **facts,
                    "needs": waiting.size,
                    "ahead": place,
                    "ahead_nodes": sum(w.size for w in ahead),
                    "passed": waiting.passed,
                    "kept": any(w.passed >= len(self.nodes) for w in ahead),
                }
        return {}

    @property
    def running(self) -> int:
        """How many tasks have nodes."""
        return len(self._held)

    @property
    def waiting(self) -> list[int]:
        """The tasks that have none yet, in their order."""
        return [w.task for w in self._waiting]

    @property
    def wanted(self) -> int:
        """How many further tasks could probably start at once."""
        room = min(self._most_tasks - len(self._held), len(self._free))
        if not self._waiting:
            return min(room, max(1, len(self._free) // self._usual_size)) if room > 0 else 0
        if any(w.passed >= len(self.nodes) for w in self._waiting):
            return 0
        # Those that fill gaps, less those that were asked for to this end and did not fit either.
        return max(0, room + 1 - len(self._waiting))


class MPIHands(Hands, Protocol):
    """What the pool of a block of MPI tasks asks of the manager."""

    def refuse(self, task_id: int, error: Exception) -> None:
        """Have a task end with an error, without having run."""


class MPIPool(Pool):
    """Workers, tasks and credit of one block of MPI tasks: a task lies in the mailbox only once it has its nodes.

    Args:
        hands: what carries out the pool's decisions.
        slots: numbers of the workers, each of which runs one task at a time.
        prefetch: calls that the block wants in stock beyond what can start.
        hostname: the manager's node, for errors.
        nodes: names of the block's nodes.
        environment: packs the variables for a task, made of what it asked for and the nodes that it got; may raise
            OSError.
    """

    tells_credit = True
    _hands: MPIHands

    def __init__(
        self,
        hands: MPIHands,
        slots: Iterable[int],
        prefetch: int,
        hostname: str,
        nodes: Sequence[str],
        environment: Callable[[Ranks, Sequence[str]], Payload],
    ) -> None:
        super().__init__(hands, slots, prefetch, hostname)
        self._environment = environment
        self._ledger = NodeLedger(nodes, len(self._slots))
        self._ranks: dict[int, Ranks] = {}

    def add(self, tasks: list[Task]) -> None:
        """Tasks came from the interchange; those that can never run here are refused."""
        for task in tasks:
            try:
                ranks = self._ranks[task.id] = self._fitting(task.resources)
            except InvalidResourceSpecification as e:
                self._hands.refuse(task.id, e)
                continue
            self._tasks[task.id] = task
            self._ledger.wait(task.id, ranks.nodes, (task.resources or {}).get("priority", math.inf))
        self.fill()

    def _fitting(self, specification: Mapping[str, Any] | None) -> Ranks:
        ranks = read_specification(specification)
        nodes = self._ledger.nodes
        if ranks.nodes > len(nodes):
            have = f"{len(nodes)}: {', '.join(nodes[:4])}" + (", ..." if len(nodes) > 4 else "")
            raise too_large(ranks, have)
        return ranks

    def fill(self) -> None:
        """Give nodes to tasks, and put those that have some into the mailbox."""
        while starting := self._ledger.assign():
            for task_id, nodes in starting:
                self._prepare(task_id, nodes)
        super().fill()

    def _prepare(self, task_id: int, nodes: list[str]) -> None:
        try:
            environment = self._environment(self._ranks[task_id], nodes)
        except OSError as e:
            del self._tasks[task_id], self._ranks[task_id]
            self._ledger.end(task_id)
            self._hands.refuse(task_id, e)
            return
        task = self._tasks[task_id]
        fields = {name: getattr(task, name) for name in task.__struct_fields__}
        self._tasks[task_id] = placed = PlacedTask(**fields, environment=environment)
        self._backlog.append(placed)

    def done(self, result: Result) -> None:
        """A worker has ended a call, whose nodes are free."""
        super().done(result)
        self._free(result.id)

    def whereabouts(self, task_id: int) -> dict[str, Any]:
        """Say which nodes a task has, or what it waits for: see `NodeLedger.account`."""
        return self._ledger.account(task_id)

    @property
    def credit(self) -> int:
        """How many calls the block wants to have at once: those that run, those that wait, and what could start."""
        ledger = self._ledger
        return ledger.running + max(len(ledger.waiting), self._prefetch) + ledger.wanted

    def _end(self, result: Result) -> None:
        super()._end(result)
        self._free(result.id)

    def _free(self, task_id: int) -> None:
        if self._ranks.pop(task_id, None) is not None:
            self._ledger.end(task_id)
            self.fill()

    def _unassigned(self) -> set[int]:
        return super()._unassigned() | set(self._ledger.waiting)
