"""The brain of the interchange: which manager gets which task.

`Broker` is a plain object: what arrives comes in as a method call with the time, what is to be sent goes out through
`Outbox`. It opens no body and knows no socket and no clock.
"""

from __future__ import annotations

import bisect
import logging
from collections import deque
from typing import Any, Protocol

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import ManagerSelector
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    MANAGER_LOST,
    OLDEST_PROTOCOL,
    PROTOCOL_VERSION,
    Drained,
    Draining,
    FromManager,
    Heartbeat,
    Leaving,
    Loss,
    Managers,
    ManagerView,
    Payload,
    Refused,
    Register,
    Registered,
    Result,
    Results,
    Stop,
    Submit,
    Task,
    Tasks,
    ToClient,
    ToManager,
    Trouble,
    lost,
)

logger = logging.getLogger(__name__)

_LAST = float("inf")


class Outbox(Protocol):
    """What the broker asks of the interchange."""

    def to_client(self, message: ToClient) -> None:
        """Send a message to the executor."""

    def to_manager(self, identity: bytes, message: ToManager) -> None:
        """Send a message to a manager."""

    def welcome(self, about: Register) -> Registered:
        """Make the answer to a manager that is taken in."""


class TaskQueue:
    """Tasks by priority (lowest number first, none last), first in first out among equals."""

    def __init__(self) -> None:
        self._lanes: dict[float, deque[Task]] = {}
        self._order: list[float] = []
        self._waiting: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, task: Task) -> None:
        """Queue a task."""
        priority = _LAST if task.resources is None else _priority(task.resources)
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            bisect.insort(self._order, priority)
        lane.append(task)
        self._waiting.add(task.id)

    def pop(self) -> Task | None:
        """Take the next task, or None when there is none."""
        while self._order:
            lane = self._lanes[self._order[0]]
            while lane:
                task = lane.popleft()
                if task.id in self._waiting:
                    self._waiting.discard(task.id)
                    return task
            del self._lanes[self._order.pop(0)]
        return None

    def drop(self, task_id: int) -> bool:
        """Take a task out by number; return whether it was there."""
        if task_id not in self._waiting:
            return False
        self._waiting.discard(task_id)
        return True


def _priority(resources: dict[str, Any]) -> float:
    """Return the priority that a specification names; what cannot be compared (text, not a number) comes last."""
    priority = resources.get("priority")
    # What is not equal to itself is not a number.
    return priority if isinstance(priority, (int, float)) and priority == priority else _LAST  # noqa: PLR0124 - see above


class Broker:
    """Queue, managers and credit of one executor.

    Args:
        outbox: what sends messages.
        selector: in which order managers are offered tasks.
        heartbeat_threshold: seconds after which a silent manager counts as lost.
        python_version: of this side, to refuse managers whose workers could not read its pickles.
        parsl_version: of this side.
    """

    def __init__(
        self,
        outbox: Outbox,
        selector: ManagerSelector,
        heartbeat_threshold: float,
        python_version: str,
        parsl_version: str,
    ) -> None:
        self.queue = TaskQueue()
        self.managers: dict[bytes, ManagerRecord] = {}
        self._outbox = outbox
        self._selector = selector
        self._threshold = heartbeat_threshold
        self._python_version = python_version
        self._parsl_version = parsl_version
        self._functions: dict[int, bytes] = {}
        self._changed: set[bytes] = set()
        self._results: list[Result] = []

    # -- from the client -----------------------------------------------------------------------------------------

    def submit(self, message: Submit) -> None:
        """Queue tasks."""
        self._functions.update(message.functions)
        for task in message.tasks:
            self.queue.push(task)
        if message.forget:
            self._forget(message.forget)

    def cancel(self, task_id: int) -> bool:
        """Drop a queued task and report it cancelled; return whether it was still queued."""
        found = self.queue.drop(task_id)
        if found:
            self._results.append(Result(task_id, CANCELLED, Payload(b"")))
        return found

    def hold(self, identity: bytes) -> bool:
        """Give a manager no further task; return whether it is known."""
        manager = self.managers.get(identity)
        if manager is not None:
            manager.active = False
            self._changed.add(identity)
        return manager is not None

    def stop(self) -> None:
        """Tell all managers to end."""
        for identity in self.managers:
            self._outbox.to_manager(identity, Stop())

    def view(self, now: float) -> list[ManagerView]:
        """Describe all managers."""
        return [m.view(now) for m in self.managers.values()]

    # -- from managers -------------------------------------------------------------------------------------------

    def register(self, identity: bytes, message: Register, now: float) -> None:
        """Take in a manager, or refuse one of a version that does not fit."""
        problem = self._mismatch(message)
        if problem is not None:
            logger.error("Refused manager %r on %s: %s", identity, message.hostname, problem)
            self._outbox.to_manager(identity, Refused(problem))
            self._outbox.to_client(Trouble("version", problem))
            return
        if identity in self.managers:
            self._lose(self.managers.pop(identity), "it registered anew")
        self.managers[identity] = ManagerRecord(identity, message, now)
        self._changed.add(identity)
        logger.info(
            "Manager %s registered: block %s on %s, %d workers",
            identity.decode(errors="replace"),
            message.block_id,
            message.hostname,
            message.workers,
        )
        self._outbox.to_manager(identity, self._outbox.welcome(message))

    def heard(self, identity: bytes, message: FromManager, now: float) -> None:
        """Handle any message of a manager other than `Register`; those of strangers are dropped."""
        manager = self.managers.get(identity)
        if manager is None:
            logger.warning("Dropped a %s from %r, which is not a registered manager", type(message).__name__, identity)
            self._outbox.to_manager(identity, Refused("not registered"))
            return
        manager.last_heartbeat = now
        if isinstance(message, Results):
            self._take_results(manager, message, now)
        elif isinstance(message, Heartbeat):
            self._outbox.to_manager(identity, Heartbeat())
        elif isinstance(message, Leaving):
            self.lost(identity, message.reason)
        elif isinstance(message, Draining):
            manager.active = False
            manager.draining = True
            self._changed.add(identity)
            self._drained(manager)

    def _take_results(self, manager: ManagerRecord, message: Results, now: float) -> None:
        manager.credit = message.credit
        self._end(manager, message.results, now)

    def _end(self, manager: ManagerRecord, results: list[Result], now: float) -> None:
        tasks = manager.tasks
        for result in results:
            # A number that the manager does not have was reported before: the first report counts.
            if result.id in tasks:
                tasks.discard(result.id)
                self._results.append(result)
        if not tasks:
            manager.idle_since = now
            self._drained(manager)

    def _drained(self, manager: ManagerRecord) -> None:
        if manager.draining and not manager.tasks:
            self._outbox.to_manager(manager.identity, Drained())
            self.managers.pop(manager.identity, None)
            self._changed.add(manager.identity)

    # -- time ----------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Give up managers that have been silent for too long."""
        for identity, manager in list(self.managers.items()):
            if now - manager.last_heartbeat > self._threshold:
                self.lost(identity, f"not heard of for {now - manager.last_heartbeat:.0f} s")

    def failed(self, identity: bytes, result: Result, now: float) -> None:
        """A task that was given to a manager could not be sent to it."""
        manager = self.managers.get(identity)
        if manager is not None:
            self._end(manager, [result], now)

    def lost(self, identity: bytes, why: str) -> None:
        """A manager is known to be gone."""
        manager = self.managers.pop(identity, None)
        if manager is not None:
            self._changed.add(identity)
            self._lose(manager, why)

    def _lose(self, manager: ManagerRecord, why: str) -> None:
        logger.log(
            logging.ERROR if manager.tasks else logging.INFO,
            "Manager %s on %s is lost with %d tasks: %s",
            manager.identity.decode(errors="replace"),
            manager.about.hostname,
            len(manager.tasks),
            why,
        )
        name, about = manager.identity.decode(errors="replace"), manager.about
        loss = Loss(name, about.hostname, why, f"host {about.hostname}, block {about.block_id}, manager {name}")
        self._results.extend(lost(task, MANAGER_LOST, loss) for task in sorted(manager.tasks))
        manager.tasks.clear()

    # -- the end of a pass ---------------------------------------------------------------------------------------

    def assign(self) -> None:
        """Hand queued tasks to managers that want some.

        First every manager gets what its workers can run at once, then an equal share of the rest, as far as it wants
        some in stock: so no node hoards what another could start now.
        """
        if not len(self.queue):
            return
        wanting = {identity for identity, m in self.managers.items() if m.free > 0}
        if not wanting:
            return
        order = self._sorted(wanting) if len(wanting) > 1 else list(wanting)
        batches: dict[bytes, list[Task]] = {}
        for identity in order:
            manager = self.managers[identity]
            self._take(manager, min(manager.free, manager.about.workers - len(manager.tasks)), batches)
        # Those that want least come first: what they leave of their share is shared by the rest.
        for served, identity in enumerate(sorted(order, key=lambda i: self.managers[i].free)):
            share = -(-len(self.queue) // (len(order) - served))
            self._take(self.managers[identity], min(self.managers[identity].free, share), batches)
        for identity, tasks in batches.items():
            self._send(self.managers[identity], tasks)

    def _sorted(self, wanting: set[bytes]) -> list[bytes]:
        try:
            return [i for i in self._selector.sort_managers(self.managers, set(wanting)) if i in wanting]
        except Exception:
            # The selector may be a user's, and tasks must not wait for ever because of it.
            logger.exception("The manager selector failed; managers are served in no special order")
            return list(wanting)

    def _take(self, manager: ManagerRecord, room: int, batches: dict[bytes, list[Task]]) -> None:
        if room <= 0 or not len(self.queue):
            return
        batch = batches.setdefault(manager.identity, [])
        for _ in range(room):
            task = self.queue.pop()
            if task is None:
                return
            batch.append(task)
            manager.tasks.add(task.id)

    def _send(self, manager: ManagerRecord, tasks: list[Task]) -> None:
        if not tasks:
            return
        manager.idle_since = None
        new = {t.function for t in tasks} - manager.functions
        # A function that the client has taken back is missed by the worker, and the task ends with that error.
        bodies = {f: self._functions[f] for f in new if f in self._functions}
        manager.functions.update(bodies)
        self._outbox.to_manager(manager.identity, Tasks(tasks, bodies, []))

    def flush(self, now: float) -> None:
        """Tell the client what has happened since the last call."""
        if self._results:
            results, self._results = self._results, []
            self._outbox.to_client(Results(results))
        if self._changed:
            changed, self._changed = self._changed, set()
            gone = [i for i in changed if i not in self.managers]
            self._outbox.to_client(
                Managers(
                    [self.managers[i].view(now) for i in changed if i in self.managers],
                    [i.decode(errors="replace") for i in gone],
                )
            )

    # -- insides -------------------------------------------------------------------------------------------------

    def _forget(self, functions: list[int]) -> None:
        for function in functions:
            self._functions.pop(function, None)
        for identity, manager in self.managers.items():
            known = [f for f in functions if f in manager.functions]
            if known:
                manager.functions.difference_update(known)
                self._outbox.to_manager(identity, Tasks([], {}, known))

    def _mismatch(self, message: Register) -> str | None:
        if not OLDEST_PROTOCOL <= message.protocol <= PROTOCOL_VERSION:
            return (
                f"interchange: parsl {self._parsl_version}, protocol {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}; "
                f"manager on {message.hostname}: parsl {message.parsl_version}, protocol {message.protocol}"
            )
        ours, theirs = self._python_version.split(".")[:2], message.python_version.split(".")[:2]
        if ours != theirs:
            return (
                f"interchange: Python {self._python_version}, parsl {self._parsl_version}; "
                f"manager on {message.hostname}: Python {message.python_version}, parsl {message.parsl_version}"
            )
        return None
