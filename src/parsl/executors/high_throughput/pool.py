"""The brain of a manager: which task goes to the node's workers, and what becomes of those that were there.

All workers of a node read their tasks from one mailbox, so an idle worker never waits for the manager's decision and
no task waits behind a slow one. The pool decides how much lies in the mailbox, knows (by the workers' claims) who runs
what, and finds out which task a dead worker took with it. It is a plain object: no socket, no process, no clock.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from parsl.executors.high_throughput.messages import (
    CANCELLED,
    TIMED_OUT,
    WORKER_LOST,
    Loss,
    Payload,
    Result,
    Task,
    lost,
)

logger = logging.getLogger(__name__)

# Bounds of how many calls a manager wants to have for each worker.
_MAX_DEPTH = 256

# How much work, in round trips to the interchange, a node keeps in stock.
_ROUND_TRIPS = 4

# Weight of a new measurement in a moving average.
_WEIGHT = 0.05
_WEIGHT_UP = 0.25


class Death(NamedTuple):
    """The end of a worker.

    Attributes:
        cause: how it ended, in words.
        stack: where it was, innermost call first; empty when it could not say.
        asked_for: whether the task has asked for it.
        overdue: when it was ended since its task had not ended in time, what the task is to be told.
    """

    cause: str
    stack: str = ""
    overdue: str | None = None
    asked_for: bool = False


class Hands(Protocol):
    """What the pool asks of the manager."""

    def give(self, task: Task) -> bool:
        """Put a task into the mailbox; False when there is no room."""

    def take_back(self) -> list[int]:
        """Empty the mailbox and return the numbers of the tasks that no worker has taken."""

    def claims(self) -> dict[int, int]:
        """Return for each live worker's slot the number of the task that it took last.

        What live workers have said by then is told to the pool before this returns.
        """

    def start_worker(self, slot: int) -> None:
        """Start a worker process for a slot."""

    def stop_worker(self, slot: int, task_id: int) -> bool:
        """Kill the worker of a slot if it is at this task.

        Returns:
            Whether it will be gone soon. If it has claimed another task by then, it has not begun that.
        """


class Pool:
    """Workers, tasks and credit of one node.

    Args:
        hands: what carries out the pool's decisions.
        slots: numbers of the workers.
        prefetch: calls that the node wants in stock beyond what speed asks for.
        hostname: the node's name, for errors.
    """

    tells_credit = False
    """Whether a change of credit is to be told to the interchange without a result to go with it."""

    def __init__(self, hands: Hands, slots: Iterable[int], prefetch: int, hostname: str) -> None:
        self._hands = hands
        self._slots = set(slots)
        self._prefetch = prefetch
        self._hostname = hostname
        self._tasks: dict[int, Task] = {}
        self._backlog: deque[Task] = deque()
        # For each worker that died without a claim, the tasks that it may have had; no loss where none can have begun.
        self._suspects: deque[dict[int, Loss | None]] = deque()
        # Which slots' workers are being killed, and for which cancelled tasks.
        self._doomed: dict[int, int] = {}
        self._results: list[Result] = []
        self._ready: set[int] = set()
        self._service_time: float | None = None
        self.round_trip = 0.001
        self.draining = False

    # -- events --------------------------------------------------------------------------------------------------

    def add(self, tasks: list[Task]) -> None:
        """Tasks came from the interchange."""
        for task in tasks:
            self._tasks[task.id] = task
        self._backlog.extend(tasks)
        self.fill()

    def fill(self) -> None:
        """Put into the mailbox what it holds; to be called again when it has room again."""
        backlog = self._backlog
        while backlog and self._hands.give(backlog[0]):
            backlog.popleft()

    def worker_ready(self, slot: int) -> None:
        """A worker has started."""
        self._ready.add(slot)

    def done(self, result: Result) -> None:
        """A worker has ended a call."""
        if self._tasks.pop(result.id, None) is None:
            return  # given up as lost before
        self._results.append(result)
        seconds = result.seconds
        known = self._service_time
        if known is None:
            self._service_time = seconds
        else:
            # Quick to believe in longer calls, of which a node that keeps many in stock would deprive others.
            self._service_time = known + (_WEIGHT_UP if seconds > known else _WEIGHT) * (seconds - known)

    def cancel(self, task_ids: Iterable[int], stop: bool) -> bool:
        """Drop tasks that have not begun.

        Each is reported at its end: as cancelled, unless it ended otherwise.

        Args:
            task_ids: their numbers; those that are not here are passed over.
            stop: whether the workers of tasks that have begun are to be stopped.

        Returns:
            Whether this is to be called again a little later: a worker may have taken a task and not claimed it yet.
        """
        wanted = self._tasks.keys() & set(task_ids)
        if not wanted:
            return False
        running = {task_id: slot for slot, task_id in self._hands.claims().items()}
        if not stop:
            wanted -= running.keys()
        for task_id in wanted & running.keys() & self._tasks.keys():
            slot = running[task_id]
            if slot not in self._doomed and self._hands.stop_worker(slot, task_id):
                self._doomed[slot] = task_id
        wanted &= self._tasks.keys()
        wanted.difference_update(self._doomed.values())
        if wanted - self._unassigned():
            self._take_back()
        dropped = wanted & self._unassigned()
        if dropped:
            self._backlog = deque(t for t in self._backlog if t.id not in dropped)
            for task_id in sorted(dropped):
                self._end(Result(task_id, CANCELLED, Payload(b"")))
        self.fill()
        return wanted != dropped

    def worker_gone(self, slot: int, claimed: int, death: Death, where: str = "") -> bool:
        """A worker process has ended.

        Args:
            slot: its number.
            claimed: the task that it took last, 0 for none.
            death: how it ended.
            where: where it ran, in words.

        Returns:
            Whether `settle_suspects` is to be called a little later, once for this worker: it may have died between
            taking a task and claiming it.
        """
        self._ready.discard(slot)
        loss = Loss(str(slot), self._hostname, death.overdue or death.cause, where, death.stack, death.asked_for)
        doomed = self._doomed.pop(slot, None)
        suspects: dict[int, Loss | None] = {}
        if claimed not in self._tasks:
            suspects = dict.fromkeys(self._unaccounted(), None if doomed else loss)
        elif claimed == doomed:
            self._end(Result(claimed, CANCELLED, Payload(b"")))
        elif doomed:
            # It had ended the task for which it was killed, and was kept from beginning this one.
            self._backlog.appendleft(self._tasks[claimed])
            self.fill()
        else:
            self._lose(claimed, loss, TIMED_OUT if death.overdue else WORKER_LOST)
        if suspects:
            self._suspects.append(suspects)
        if not self.draining:
            self._hands.start_worker(slot)
        return bool(suspects)

    def settle_suspects(self) -> None:
        """Give up tasks that nobody has: taken from the mailbox by a worker that died before it could claim them.

        Judges those of the worker that has been dead for longest: by now, live workers have told of what they had.
        """
        claims = set(self._hands.claims().values())
        for task_id, loss in self._suspects.popleft().items():
            if task_id not in self._tasks or task_id in claims:
                continue
            if loss is not None:
                self._lose(task_id, loss)
            elif task_id not in self._unassigned():
                self._backlog.appendleft(self._tasks[task_id])
        self.fill()

    def drain(self) -> None:
        """Start no worker anew: the node is about to end."""
        self.draining = True

    def holds(self, task_id: int) -> bool:
        """Tell whether a task is here."""
        return task_id in self._tasks

    # -- what the manager reports --------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no task is here."""
        return not self._tasks

    @property
    def numbers(self) -> list[int]:
        """The numbers of the tasks that are here."""
        return list(self._tasks)

    @property
    def outstanding(self) -> int:
        """How many tasks are here."""
        return len(self._tasks)

    @property
    def ready_slots(self) -> set[int]:
        """The slots whose workers take tasks."""
        return self._ready

    def take_results(self) -> list[Result]:
        """Return the ends of calls not reported yet, and forget them."""
        results, self._results = self._results, []
        return results

    @property
    def credit(self) -> int:
        """How many calls the node wants to have at once.

        One for each worker, more by the prefetch, and for short calls as many as are done in a few round trips.
        """
        depth = 1
        if self._service_time is not None:
            depth = int(1 + _ROUND_TRIPS * self.round_trip / max(self._service_time, 1e-6))
        return len(self._slots) * min(depth, _MAX_DEPTH) + self._prefetch

    def whereabouts(self, task_id: int) -> dict[str, Any]:
        """Say what a task here waits for, as plain values; nothing where that is a worker, and no more to be said."""
        return {}

    # -- insides -------------------------------------------------------------------------------------------------

    def _lose(self, task_id: int, loss: Loss, status: int = WORKER_LOST) -> None:
        self._end(lost(task_id, status, loss))

    def _end(self, result: Result) -> None:
        """Report a task that no worker has ended."""
        del self._tasks[result.id]
        self._results.append(result)

    def _unassigned(self) -> set[int]:
        """Return the tasks that have not been put into the mailbox."""
        return {t.id for t in self._backlog}

    def _take_back(self) -> list[int]:
        """Empty the mailbox into the backlog, in front and in the order in which it had been filled."""
        back = self._hands.take_back()
        self._backlog.extendleft(reversed([self._tasks[i] for i in back if i in self._tasks]))
        return back

    def _unaccounted(self) -> list[int]:
        """Return the tasks that may have been lost unclaimed: neither here, nor in the mailbox, nor claimed."""
        here = self._unassigned() | set(self._hands.claims().values())
        # Claims are of the tasks that workers took last, and these may have ended.
        if here.issuperset(self._tasks):
            return []
        here.update(self._take_back())
        missing = [i for i in self._tasks if i not in here]
        self.fill()
        return missing
