"""The manager of a node: the `Pool` on its connections to the interchange and to worker processes."""

from __future__ import annotations

import logging
import math
import os
import platform
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from parsl.executors.high_throughput import affinity, messages
from parsl.executors.high_throughput.freight import Freight
from parsl.executors.high_throughput.function_files import FunctionFiles
from parsl.executors.high_throughput.graves import Graves
from parsl.executors.high_throughput.interchange_link import InterchangeLink
from parsl.executors.high_throughput.lease import usable_seconds
from parsl.executors.high_throughput.messages import (
    Cancel,
    Drained,
    Draining,
    Heartbeat,
    Leaving,
    Locate,
    Located,
    Monitoring,
    Received,
    Refused,
    Register,
    Registered,
    Reintroduce,
    Result,
    Results,
    Setup,
    Stop,
    Task,
    Tasks,
    WorkerDone,
    WorkerReady,
)
from parsl.executors.high_throughput.mpi_block import block_nodes, make_pool
from parsl.executors.high_throughput.node_watch import NodeWatch
from parsl.executors.high_throughput.pool import Death, Pool
from parsl.executors.high_throughput.segments import SegmentStore, read_token, remove_partial
from parsl.executors.high_throughput.streams import Stream
from parsl.executors.high_throughput.undelivered import Undelivered
from parsl.executors.high_throughput.worker import raised
from parsl.executors.high_throughput.worker_environment import WorkerEnvironment, installed_packages
from parsl.executors.high_throughput.worker_processes import WorkerProcess, WorkerProcesses
from parsl.loop import Loop
from parsl.version import VERSION

logger = logging.getLogger(__name__)

# A worker that dies before it is ready is started anew; after so many times in a row the manager gives up.
_MAX_FAILED_STARTS = 5

# How long a task may be unclaimed by a live worker that has just taken it.
_CLAIM_SECONDS = 1.0

# How soon a cancelled task is looked for again that a worker has just taken, and not claimed yet.
_CANCEL_SECONDS = 0.02


class Manager:
    """The Pool on its sockets.

    Args:
        options: the command line, see `parse_arguments`.
        logdir: folder of this manager's logs.
        loop: the loop to run on.

    Raises:
        OSError: when the store, or a file that tells the block's nodes, cannot be opened.
        ValueError: when the options do not fit this node, or MPI tasks are to run and the nodes are not known.
    """

    def __init__(self, options: Namespace, logdir: str, loop: Loop) -> None:
        self._options = options
        self._logdir = logdir
        self._loop = loop
        self.uid = options.uid
        self.exit_code = 0
        self.exit_reason = ""
        self._to_manager = messages.to_manager()
        self._from_worker: messages.Codec[messages.FromWorker] = messages.Codec(messages.FromWorker)
        self._codec: messages.Codec[Task] = messages.Codec(Task)
        self._hostname = socket.gethostname()
        # Of a block of MPI tasks, each of which has at least one for itself; none of others.
        self._nodes = block_nodes(os.environ) if options.enable_mpi_mode else []
        self._workers_wanted = affinity.workers_of_node(options, len(self._nodes) or math.inf)
        environment = WorkerEnvironment(options, logdir, self._workers_wanted)
        self._store = self._join_store()
        prefix = os.path.join(self._store.folder, f"{self.uid}-")
        self._functions = FunctionFiles(f"{prefix}f")
        self._freight = Freight(self._store, self._hostname)
        slots = range(self._workers_wanted)
        self.pool = self._make_pool(slots)
        self._credit_told = self.pool.credit
        self._processes = WorkerProcesses(self._setup, environment, f"{prefix}claims", len(slots), adopts=True)
        self._registered: Registered | None = None
        self._link: InterchangeLink | None = None
        self._undelivered = Undelivered()
        # The ends of calls that no worker has had.
        self._refused: list[Result] = []
        self._failed_starts = 0
        self._graves = Graves(loop, environment, patient=bool(self._nodes))
        self._heard = time.monotonic()
        self._asked: float | None = None
        self._mailbox_watched = False
        self._drain_told = False
        # By the clock that nobody sets: for how long this node's block can be used.
        left = usable_seconds(os.environ, time.time())
        self._lasts_until = None if left is None else time.monotonic() + left
        self._node_watch: NodeWatch | None = None

    # -- start ---------------------------------------------------------------------------------------------------

    def _make_pool(self, slots: range) -> Pool:
        if self._nodes:
            return make_pool(self, slots, self._options, self._hostname, self._nodes, self._store)
        return Pool(self, slots, self._options.prefetch_capacity, self._hostname)

    def _join_store(self) -> SegmentStore:
        folder = self._options.segments
        if folder and read_token(folder):
            return SegmentStore(folder)
        return SegmentStore()

    def start(self) -> None:
        """Start the workers, and while they load, connect to the interchange."""
        logger.info(
            "Manager %s of block %s begins on %s as process %d with %d workers",
            self.uid,
            self._options.block_id,
            self._hostname,
            os.getpid(),
            self._workers_wanted,
        )
        for slot in range(self._workers_wanted):
            self.start_worker(slot)
        self._link = InterchangeLink(
            self._loop, self._options, self._store, self._on_interchange, self._linked, self._no_interchange
        )
        self._link.open()
        self._loop.at_pass_end(self._end_pass)
        self._beat()
        if self._options.drain_period is not None:
            self._loop.call_later(self._options.drain_period, self.drain)
        left = self._seconds_left()
        if left is not None:
            self._loop.call_later(left, self.drain)

    def _seconds_left(self) -> float | None:
        return None if self._lasts_until is None else max(0.0, self._lasts_until - time.monotonic())

    def _no_interchange(self, why: str) -> None:
        self.end(why, 0 if self._registered else 1, tell=False)

    def _linked(self) -> None:
        """There is a connection: to the first interchange, or to the same or another after a break."""
        self._heard = time.monotonic()
        if self._registered is not None:
            # What ended while there was none is to be among what is here.
            self._end_pass()
        self._register()
        if self._registered is None:
            return
        for number, results in self._undelivered.batches:
            self._send_results(results, number)
        if self._drain_told:
            self._send(Draining())

    def _register(self) -> None:
        self._send(
            Register(
                uid=self.uid,
                protocol=messages.PROTOCOL_VERSION,
                block_id=self._options.block_id,
                hostname=self._hostname,
                workers=self._workers_wanted,
                capacity=self.pool.credit,
                python_version=platform.python_version(),
                parsl_version=VERSION,
                segments=self._store.folder,
                token=self._store.token,
                pid=os.getpid(),
                seconds_left=self._seconds_left(),
                packages=installed_packages(),
                tasks=None if self._registered is None else [*self.pool.numbers, *self._undelivered.calls],
            )
        )

    # -- the interchange -----------------------------------------------------------------------------------------

    def _send(self, message: Any, frames: list[Any] | None = None) -> None:
        data = self._to_manager.encode(message)
        frames = frames or [b""]
        frames[0] = data
        if self._link is not None:
            self._link.send(frames)

    def _on_interchange(self, frames: Sequence[bytes | memoryview]) -> None:
        self._heard = time.monotonic()
        message = self._to_manager.decode(frames[0])
        if isinstance(message, Tasks):
            self._delivered(message.received)
            self._take(message, frames)
        elif isinstance(message, Received):
            self._delivered(message.number)
        elif isinstance(message, Heartbeat):
            if self._asked is not None:
                self.pool.round_trip = self._heard - self._asked
                self._asked = None
        elif isinstance(message, Cancel):
            self._cancel(message.tasks, message.stop)
        elif isinstance(message, Locate):
            self._send(Located(message.question, self.pool.whereabouts(message.task)))
        elif isinstance(message, Registered):
            self._on_registered(message)
        elif isinstance(message, Reintroduce):
            self._linked()
        elif isinstance(message, Refused):
            self.end(f"refused by the interchange: {message.reason}", 1, tell=False)
        elif isinstance(message, (Drained, Stop)):
            self.end("drained" if isinstance(message, Drained) else "the interchange said so", 0, tell=False)

    def _cancel(self, tasks: list[int], stop: bool) -> None:
        if self.pool.cancel(tasks, stop):
            self._loop.call_later(_CANCEL_SECONDS, self._cancel, tasks, stop)

    def _take(self, message: Tasks, frames: Sequence[bytes | memoryview]) -> None:
        if message.functions:
            self._functions.keep(message.functions)
        if message.forget:
            self._functions.forget(message.forget)
        tasks = message.tasks
        if len(frames) > 1:
            tasks, refused = self._freight.land(tasks, frames)
            self._refused += refused
        self.pool.add(tasks)

    def _on_registered(self, message: Registered) -> None:
        if self._registered is None:
            logger.info(
                "Registered with the interchange, %s",
                "by streams" if self._link and self._link.by_streams else "over TCP",
            )
            self._registered = message
            if message.monitoring is not None:
                self._node_watch = NodeWatch(self, self._loop, message.monitoring, self._options.block_id)
            for worker in list(self._processes.by_slot.values()):
                self._processes.introduce(worker)
            self._ping()

    def _ping(self) -> None:
        self._asked = time.monotonic()
        self._send(Heartbeat())

    def _beat(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self._options.hb_threshold:
            self.end(f"the interchange has not been heard of for {silent:.0f} s", 1, tell=False)
            return
        # What was killed for want of memory long ago tells nothing about a worker that is lost later.
        self._graves.memory.look()
        if self._registered is not None:
            self._ping()
        self._loop.call_later(self._options.hb_period, self._beat)

    def drain(self) -> None:
        """Take no further task, and end once those that are here have ended."""
        if not self._drain_told:
            self._drain_told = True
            logger.info("Draining: %d tasks are here", self.pool.outstanding)
            self._send(Draining())

    def end(self, reason: str, code: int, tell: bool = True) -> None:
        """End the manager.

        Args:
            reason: why, in words.
            code: its exit code.
            tell: whether the interchange is to be told; not when it knows, or is gone.
        """
        logger.info("Ending: %s", reason)
        if code:
            print(f"parsl manager {self.uid} on {self._hostname} ends: {reason}", file=sys.stderr, flush=True)
        self.pool.drain()
        self.exit_code, self.exit_reason = code, reason
        if tell:
            # Calls that are here need not wait for the interchange to find out by itself.
            self._send(Leaving(reason))
        self._loop.stop()

    def _end_pass(self) -> None:
        results = self.pool.take_results()
        if self._refused:
            results += self._refused
            self._refused = []
        if not results and not self.pool.tells_credit:
            return
        credit = self.pool.credit
        if not results and credit == self._credit_told:
            return
        self._credit_told = credit
        self._send_results(results, self._undelivered.add(results) if results else 0)

    def _send_results(self, results: list[Result], number: int) -> None:
        frames: list[Any] = [b""]
        if self._registered is not None and not self._registered.shares_segments:
            results = self._freight.ship(results, frames)
        self._send(Results(results, self.pool.credit, number), frames)

    def _delivered(self, number: int) -> None:
        """Forget results that have reached the client."""
        results = self._undelivered.received(number)
        if self._registered is not None and not self._registered.shares_segments:
            self._freight.delivered(results)

    # -- workers: what the pool asks for -------------------------------------------------------------------------

    def give(self, task: Task) -> bool:
        """Put a task into the mailbox; when it is full, go on once there is room."""
        if self._processes.give(task):
            return True
        if not self._mailbox_watched:
            self._mailbox_watched = True
            self._loop.add_writer(self._processes.mail, self._mailbox_has_room)
        return False

    def _mailbox_has_room(self) -> None:
        self._loop.remove_writer(self._processes.mail)
        self._mailbox_watched = False
        self.pool.fill()

    def take_back(self) -> list[int]:
        """Empty the mailbox and return the numbers of the tasks that no worker has taken."""
        return [self._codec.decode(letter).id for letter in self._processes.take_back()]

    def claims(self) -> dict[int, int]:
        """Return for each live worker's slot the number of the task that it took last, and hear what they have said.

        In this order: a worker that has claimed another task has told of the one before.
        """
        claims = self._processes.claims()
        for worker in list(self._processes.by_slot.values()):
            worker.stream.drain()
        return claims

    def refuse(self, task_id: int, error: Exception) -> None:
        """Have a task end with an error, without having run."""
        self._refused.append(raised(task_id, error, f"the manager on host {self._hostname}"))

    def start_worker(self, slot: int) -> None:
        """Start a worker process for a slot."""
        try:
            worker = self._processes.start(slot)
        except OSError as e:
            if self._link is None:
                raise
            # Tasks are better off on another node than in wait for a worker that does not come.
            self.end(f"worker {slot} cannot be started: {e}", 1)
            return
        # The end of the stream says nothing new: SIGCHLD tells of the process.
        worker.stream = Stream(
            self._loop, worker.connection, lambda data: self._said(worker, self._from_worker.decode(data)), lambda: None
        )
        if self._registered is not None:
            self._processes.introduce(worker)

    def stop_worker(self, slot: int, task_id: int) -> bool:
        """Kill the worker of a slot if it is at this task; its end comes as any other."""
        return self._processes.stop(slot, task_id)

    def _setup(self, slot: int, claims: str) -> Setup:
        sys_path = self._registered.sys_path if self._registered is not None else []
        return Setup(
            sys_path=[p for p in sys_path if not p or os.path.exists(p)],
            segments=self._store.folder,
            functions=self._functions.prefix,
            claims=claims,
            slot=slot,
            owner=f"{self.uid}-{slot}",
            monitoring=self._node_watch is not None,
        )

    # -- workers: what they say ----------------------------------------------------------------------------------

    def _said(self, worker: WorkerProcess, message: messages.FromWorker) -> None:
        if isinstance(message, WorkerDone):
            self.pool.done(message.result)
        elif isinstance(message, WorkerReady):
            self._failed_starts = 0
            self.pool.worker_ready(worker.slot)
            if self._node_watch is not None:
                self._node_watch.worker_ready()
        else:
            self._send(Monitoring(message.body))

    def calls_now(self) -> dict[int, tuple[int, tuple[float, float, float]]]:
        """Return for each worker's process the call that it runs, when it began and the CPU times until then."""
        running = {}
        for slot, worker in self._processes.by_slot.items():
            call = self._processes.claim(slot)
            if self.pool.holds(call):
                running[worker.process.pid] = call, self._processes.baseline(slot)
        return running

    def send_monitoring(self, body: bytes) -> None:
        """Send a monitoring message."""
        self._send(Monitoring(body))

    def reap(self) -> None:
        """Handle the deaths of workers; called when a child of this process has ended."""
        for worker in self._processes.dead():
            death = self._graves.bury(worker, self._worker_gone)
            if worker.slot not in self.pool.ready_slots:
                self._failed_starts += 1
                if self._failed_starts >= _MAX_FAILED_STARTS:
                    self.end(f"workers do not start: {death.cause}; see the standard error of the block", 1)
        self._graves.look()

    def _worker_gone(self, slot: int, death: Death, where: str) -> None:
        remove_partial(self._store.folder, f"{self.uid}-{slot}")
        if self.pool.worker_gone(slot, self._processes.claim(slot), death, where):
            self._loop.call_later(_CLAIM_SECONDS, self.pool.settle_suspects)

    def close(self) -> None:
        """End all workers and close the sockets, giving the last messages a moment to leave."""
        self._processes.close()
        if self._link is not None:
            self._link.close()
        self._functions.close()
        self._store.close()
