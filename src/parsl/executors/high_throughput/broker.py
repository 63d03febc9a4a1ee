"""The brain of the interchange: which manager gets which task.

`Broker` is a plain object: what arrives comes in as a method call with the time, what is to be sent goes out through
`Outbox`. It opens no body and knows no socket and no clock.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from typing import Protocol

import msgspec

from parsl.executors.high_throughput.dealer import Dealer
from parsl.executors.high_throughput.deliveries import Deliveries
from parsl.executors.high_throughput.drains import Drains
from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import ManagerSelector
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    MANAGER_LOST,
    Cancel,
    Drained,
    Draining,
    Emptied,
    FromManager,
    Heartbeat,
    Held,
    Leaving,
    Loss,
    Managers,
    ManagerView,
    Payload,
    Received,
    Refused,
    Register,
    Registered,
    Reintroduce,
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
from parsl.executors.high_throughput.task_queue import TaskQueue
from parsl.executors.high_throughput.versions import mismatch

logger = logging.getLogger(__name__)

# How many managers that were given up are remembered.
_MOST_STRUCK = 100_000


class Outbox(Protocol):
    """What the broker asks of the interchange."""

    def to_client(self, message: ToClient) -> None:
        """Send a message to the executor."""

    def to_manager(self, identity: bytes, message: ToManager) -> None:
        """Send a message to a manager."""

    def welcome(self, about: Register) -> Registered:
        """Make the answer to a manager that is taken in."""

    def delivered(self) -> bool:
        """Tell whether all that was sent to the executor has left this process."""


class Broker:
    """Queue, managers and credit of one executor.

    What a call costs does not depend on how many managers there are: those that want tasks wait with the `Dealer`,
    and each is looked at once in a while for whether it has fallen silent (see `expire`).

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
        self._dealer = Dealer(self.queue, selector, self.managers)
        # When to look next at whether a manager has been heard of: once in a threshold, however often it speaks.
        self._looks: list[tuple[float, int, ManagerRecord]] = []
        self._counter = itertools.count()
        self._threshold = heartbeat_threshold
        self._python_version = python_version
        self._parsl_version = parsl_version
        self._functions: dict[int, bytes] = {}
        # To which managers each function was sent.
        self._holders: dict[int, set[bytes]] = {}
        self._changed: set[bytes] = set()
        self._results: list[Result] = []
        self._drains = Drains()
        # Managers that have been given up, and must not come back: their calls run elsewhere.
        self._struck: dict[bytes, None] = {}
        self._deliveries = Deliveries()

    # -- from the client -----------------------------------------------------------------------------------------

    def submit(self, message: Submit) -> None:
        """Queue tasks."""
        self._functions.update(message.functions)
        for task in message.tasks:
            self.queue.push(task)
        if message.forget:
            self._forget(message.forget)

    def cancel(self, task_ids: list[int], stop: bool) -> None:
        """Drop tasks that are queued and report them cancelled; have their managers do so with others.

        Args:
            task_ids: their numbers.
            stop: whether those that run are to be stopped.
        """
        given, nothing = set(), Payload(b"")
        for task_id in task_ids:
            if self.queue.drop(task_id):
                self._results.append(Result(task_id, CANCELLED, nothing))
            else:
                given.add(task_id)
        if not given:
            return
        for manager in self.managers.values():
            theirs = manager.tasks & given
            if theirs:
                self._outbox.to_manager(manager.identity, Cancel(sorted(theirs), stop))

    def hold(self, identity: bytes) -> bool:
        """Give a manager no further task; return whether it is known."""
        manager = self.managers.get(identity)
        if manager is not None:
            manager.held = True
            self._close(manager)
        return manager is not None

    def drain(self, block: str) -> list[bytes]:
        """Empty a block: no further task for its managers; each is told to end when it has none.

        Returns:
            The identities of managers that had none, and are gone.
        """
        managers = [m for m in self.managers.values() if m.block_id == block]
        self._drains.begin(block, [m.identity for m in managers])
        for manager in managers:
            self._begin_drain(manager)
        return [m.identity for m in managers if m.identity not in self.managers]

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
        problem = mismatch(message, self._python_version, self._parsl_version)
        if problem is not None:
            logger.error("Refused manager %r on %s: %s", identity, message.hostname, problem)
            self._outbox.to_manager(identity, Refused(problem))
            self._outbox.to_client(Trouble("version", problem))
            return
        if message.tasks is not None and identity in self._struck:
            self._outbox.to_manager(identity, Refused("it was given up, and its tasks run elsewhere"))
            return
        self._struck.pop(identity, None)
        known = self.managers.get(identity)
        if known is not None:
            message = self._back(known, message)
        self._drains.joined(identity, message.block_id)
        if message.block_id in self._drains and not message.tasks:
            logger.info("Manager %r came too late: block %s is being given back", identity, message.block_id)
            self._changed.add(identity)
            self._outbox.to_manager(identity, Drained())
            return
        manager = self.managers[identity] = ManagerRecord(identity, message, now)
        heapq.heappush(self._looks, (now, next(self._counter), manager))
        self._dealer.place(manager)
        self._changed.add(identity)
        name = identity.decode(errors="replace")
        logger.info(
            "Manager %s registered: block %s on %s, %d workers, %d tasks",
            *(name, message.block_id, message.hostname, message.workers, len(manager.tasks)),
        )
        self._outbox.to_manager(identity, self._outbox.welcome(message))
        if message.tasks is not None:
            self._outbox.to_client(Held(name, message.tasks))
        if message.block_id in self._drains:
            members = [m.identity for m in self.managers.values() if m.block_id == message.block_id]
            self._drains.begin(message.block_id, members)
            self._begin_drain(manager)
        elif known is not None and known.held and message.tasks is not None:
            self.hold(identity)

    def _back(self, known: ManagerRecord, message: Register) -> Register:
        """Take off the lists a manager that registers though it is known; what it has not got any more is lost."""
        self._remove(known.identity)
        kept = known.tasks.intersection(message.tasks or ())
        known.tasks -= kept
        if known.tasks:
            why = "it registered anew" if message.tasks is None else "it had lost its connection, and tasks with it"
            self._lose(known, why)
        # What it has beyond that was given up before: the first report counts.
        return msgspec.structs.replace(message, tasks=None if message.tasks is None else sorted(kept))

    def heard(self, identity: bytes, message: FromManager, now: float) -> None:
        """Handle any message of a manager other than `Register`; those of strangers are dropped."""
        manager = self.managers.get(identity)
        if manager is None:
            logger.warning("Dropped a %s from %r, which is not a registered manager", type(message).__name__, identity)
            # It may be one of an interchange that has died before this one, and bring the calls that it has.
            struck = identity in self._struck
            self._outbox.to_manager(identity, Refused("not registered") if struck else Reintroduce())
            return
        manager.last_heartbeat = now
        if isinstance(message, Results):
            self._take_results(manager, message, now)
        elif isinstance(message, Heartbeat):
            self._outbox.to_manager(identity, Heartbeat())
        elif isinstance(message, Leaving):
            self.lost(identity, message.reason)
        elif isinstance(message, Draining):
            self._begin_drain(manager)

    def _begin_drain(self, manager: ManagerRecord) -> None:
        manager.draining = True
        self._close(manager)
        self._drained(manager)

    def _take_results(self, manager: ManagerRecord, message: Results, now: float) -> None:
        manager.credit = message.credit
        if message.number:
            self._deliveries.came(manager, message.number)
        self._end(manager, message.results, now)

    def _end(self, manager: ManagerRecord, results: list[Result], now: float) -> None:
        tasks = manager.tasks
        for result in results:
            # A number that the manager does not have was reported before: the first report counts.
            if result.id in tasks:
                tasks.discard(result.id)
                self._results.append(result)
        self._dealer.place(manager)
        if not tasks:
            manager.idle_since = now
            if manager.draining:
                self._drained(manager)

    def _drained(self, manager: ManagerRecord) -> None:
        if manager.draining and not manager.tasks:
            self._outbox.to_manager(manager.identity, Drained())
            self._remove(manager.identity)

    def _close(self, manager: ManagerRecord) -> None:
        """Give a manager no further task."""
        manager.active = False
        self._dealer.place(manager)
        self._changed.add(manager.identity)

    def _remove(self, identity: bytes) -> ManagerRecord:
        """Strike a manager off all lists."""
        manager = self.managers.pop(identity)
        self._close(manager)
        for function in manager.functions:
            self._holders[function].discard(identity)
        return manager

    # -- time ----------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Give up managers that have been silent for too long."""
        looks = self._looks
        while looks and now - looks[0][0] > self._threshold:
            _, _, manager = looks[0]
            if self.managers.get(manager.identity) is not manager:
                heapq.heappop(looks)
            elif now - manager.last_heartbeat > self._threshold:
                self.lost(manager.identity, f"not heard of for {now - manager.last_heartbeat:.0f} s")
            else:
                heapq.heapreplace(looks, (manager.last_heartbeat, next(self._counter), manager))

    def failed(self, identity: bytes, result: Result, now: float) -> None:
        """A task that was given to a manager could not be sent to it."""
        manager = self.managers.get(identity)
        if manager is not None:
            self._end(manager, [result], now)

    def lost(self, identity: bytes, why: str) -> None:
        """A manager is known to be gone."""
        if identity in self.managers:
            self._strike(identity)
            self._lose(self._remove(identity), why)

    def _strike(self, identity: bytes) -> None:
        """Note that a manager must not come back."""
        self._struck[identity] = None
        if len(self._struck) > _MOST_STRUCK:
            del self._struck[next(iter(self._struck))]

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

    def assign(self, now: float) -> None:
        """Hand queued tasks to managers, see `Dealer.deal`."""
        for manager, tasks in self._dealer.deal(now).items():
            self._send(manager, tasks)

    def _send(self, manager: ManagerRecord, tasks: list[Task]) -> None:
        manager.idle_since = None
        new = {t.function for t in tasks} - manager.functions
        # A function that the client has taken back is missed by the worker, and the task ends with that error.
        bodies = {f: self._functions[f] for f in new if f in self._functions}
        if bodies:
            manager.functions.update(bodies)
            for function in bodies:
                self._holders.setdefault(function, set()).add(manager.identity)
        self._deliveries.thanked(manager)
        self._outbox.to_manager(manager.identity, Tasks(tasks, bodies, [], manager.delivered))

    def flush(self, now: float) -> None:
        """Tell the client what has happened since the last call."""
        if self._results:
            results, self._results = self._results, []
            self._outbox.to_client(Results(results))
        if self._deliveries.waiting and self._outbox.delivered():
            self._deliveries.passed_on()
        if self._changed:
            changed, self._changed = self._changed, set()
            gone = [i for i in changed if i not in self.managers]
            self._outbox.to_client(
                Managers(
                    [self.managers[i].view(now) for i in changed if i in self.managers],
                    [i.decode(errors="replace") for i in gone],
                )
            )
            self._drains.left(gone)
        # After the results of the last tasks and after word of the managers: with it, all of the block is known.
        for block in self._drains.take_emptied():
            self._outbox.to_client(Emptied(block))

    @property
    def owes_thanks(self) -> bool:
        """Whether `thank` has something to tell."""
        return self._deliveries.owed

    def thank(self) -> None:
        """Tell managers whose results have reached the client that they need not keep them; to be called soon, but not
        after each result: the next tasks for a manager say it as well.
        """  # noqa: D205 - one sentence
        for manager in self._deliveries.take_unthanked():
            if self.managers.get(manager.identity) is manager:
                self._outbox.to_manager(manager.identity, Received(manager.delivered))

    # -- insides -------------------------------------------------------------------------------------------------

    def _forget(self, functions: list[int]) -> None:
        known: dict[bytes, list[int]] = {}
        for function in functions:
            self._functions.pop(function, None)
            for identity in self._holders.pop(function, ()):
                known.setdefault(identity, []).append(function)
        for identity, gone in known.items():
            self.managers[identity].functions.difference_update(gone)
            self._outbox.to_manager(identity, Tasks([], {}, gone))
