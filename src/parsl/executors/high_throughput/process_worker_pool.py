"""The manager: the process that runs on every node of a block, between the interchange and the node's workers.

It is the `Pool` on a zmq socket and on the sockets of worker processes. Started by the block's script as
`python -m parsl.executors.high_throughput.process_worker_pool` with the options of `parse_arguments`.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import pathlib
import platform
import signal
import socket
import sys
import time
import uuid
from typing import Any

import msgspec
import zmq

from parsl.addresses import tcp_url
from parsl.curvezmq import ClientContext
from parsl.executors.high_throughput import affinity, messages
from parsl.executors.high_throughput.messages import (
    Drained,
    Draining,
    Heartbeat,
    Monitoring,
    Refused,
    Register,
    Registered,
    Results,
    Setup,
    Stop,
    Task,
    Tasks,
    WorkerDone,
    WorkerReady,
)
from parsl.executors.high_throughput.pool import Pool
from parsl.executors.high_throughput.probe import probe_addresses
from parsl.executors.high_throughput.segments import SegmentStore, read_token
from parsl.executors.high_throughput.worker import LENGTH
from parsl.executors.high_throughput.worker_processes import WorkerProcess, WorkerProcesses, cause_of_death
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Loop
from parsl.version import VERSION

logger = logging.getLogger(__name__)

# A worker that dies before it is ready is started anew; after so many times in a row the manager gives up.
_MAX_FAILED_STARTS = 5

# How long a task may be unclaimed by a live worker that has just taken it.
_CLAIM_SECONDS = 1.0

# How long to look for the interchange when the executor names no time.
_PROBE_SECONDS = 30.0


class Manager:
    """The Pool on its sockets.

    Args:
        options: the command line, see `parse_arguments`.
        logdir: folder of this manager's logs.
        loop: the loop to run on.
    """

    def __init__(self, options: argparse.Namespace, logdir: str, loop: Loop) -> None:
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
        self._accelerators: list[str] = options.available_accelerators
        self._workers_wanted = self._count_workers()
        self._cores = affinity.pinning(options.cpu_affinity, self._workers_wanted, affinity.usable_cores())
        self._store = self._join_store()
        prefix = os.path.join(self._store.folder, f"{self.uid}-")
        self._functions = f"{prefix}f"
        slots = range(self._workers_wanted)
        self.pool = Pool(self, slots, options.prefetch_capacity, self._hostname)
        self._processes = WorkerProcesses(self._setup, self._environment, f"{prefix}claims", len(slots))
        self._registered: Registered | None = None
        self._pipe: Pipe | None = None
        self._function_numbers: set[int] = set()
        self._failed_starts = 0
        self._heard = time.monotonic()
        self._asked: float | None = None
        self._mailbox_watched = False
        self._drain_told = False

    # -- start ---------------------------------------------------------------------------------------------------

    def _count_workers(self) -> int:
        options = self._options
        memory = None
        if options.mem_per_worker:
            import psutil

            memory = float(os.environ.get("PARSL_MEMORY_GB") or psutil.virtual_memory().available / 2**30)
        cores = float(os.environ.get("PARSL_CORES") or len(affinity.usable_cores()))
        return affinity.worker_count(
            options.max_workers_per_node,
            cores,
            options.cores_per_worker,
            memory,
            options.mem_per_worker,
            len(self._accelerators),
        )

    def _join_store(self) -> SegmentStore:
        folder = self._options.segments
        if folder and read_token(folder):
            return SegmentStore(folder)
        return SegmentStore()

    def start(self) -> None:
        """Start the workers, and while they load, connect to the interchange."""
        for slot in range(self._workers_wanted):
            self.start_worker(slot)
        self._context = ClientContext(self._options.cert_dir)
        url, local = self._find_interchange()
        dealer = self._context.socket(zmq.DEALER, curve=not local)
        dealer.set_hwm(0)
        dealer.setsockopt(zmq.IDENTITY, self.uid.encode())
        dealer.setsockopt(zmq.IPV6, True)
        dealer.connect(url)
        self._pipe = Pipe(self._loop, dealer, self._on_interchange, self._end_pass)
        self._register()
        self._beat()
        if self._options.drain_period is not None:
            self._loop.call_later(self._options.drain_period, self.drain)

    def _find_interchange(self) -> tuple[str, bool]:
        path = self._options.local_path
        if path and os.path.exists(path):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    return f"ipc://{path}", True
        timeout = self._options.address_probe_timeout or _PROBE_SECONDS
        address = probe_addresses(self._options.addresses, self._options.port, timeout)
        return tcp_url(address, self._options.port), False

    def _register(self) -> None:
        drain = self._options.drain_period
        self._send(
            Register(
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
                drain_at=None if drain is None else time.time() + drain,
                packages=installed_packages(),
            )
        )

    # -- the interchange -----------------------------------------------------------------------------------------

    def _send(self, message: Any, frames: list[Any] | None = None) -> None:
        data = self._to_manager.encode(message)
        frames = frames or [b""]
        frames[0] = data
        if self._pipe is not None:
            self._pipe.send(frames)

    def _on_interchange(self, frames: list[bytes]) -> None:
        self._heard = time.monotonic()
        message = self._to_manager.decode(frames[0])
        if isinstance(message, Tasks):
            self._take(message, frames)
        elif isinstance(message, Heartbeat):
            if self._asked is not None:
                self.pool.round_trip = self._heard - self._asked
                self._asked = None
        elif isinstance(message, Registered):
            self._on_registered(message)
        elif isinstance(message, Refused):
            self.end(f"refused by the interchange: {message.reason}", 1)
        elif isinstance(message, (Drained, Stop)):
            self.end("drained" if isinstance(message, Drained) else "the interchange said so", 0)

    def _take(self, message: Tasks, frames: list[bytes]) -> None:
        for number, body in message.functions.items():
            # Under its final name at once: no worker looks for it before a task names it.
            with open(f"{self._functions}{number}", "wb") as file:
                file.write(body)
            self._function_numbers.add(number)
        for number in message.forget:
            self._function_numbers.discard(number)
            os.unlink(f"{self._functions}{number}")
        tasks = message.tasks
        if len(frames) > 1:
            tasks = [msgspec.structs.replace(t, payload=self._store.land(t.payload, frames)) for t in tasks]
        self.pool.add(tasks)

    def _on_registered(self, message: Registered) -> None:
        if self._registered is None:
            self._registered = message
            for worker in list(self._processes.by_slot.values()):
                self._processes.introduce(worker)
            self._ping()

    def _ping(self) -> None:
        self._asked = time.monotonic()
        self._send(Heartbeat())

    def _beat(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self._options.hb_threshold:
            self.end(f"the interchange has not been heard of for {silent:.0f} s", 1)
            return
        if self._registered is not None:
            self._ping()
        self._loop.call_later(self._options.hb_period, self._beat)

    def drain(self) -> None:
        """Take no further task, and end once those that are here have ended."""
        if not self._drain_told:
            self._drain_told = True
            logger.info("Draining: %d tasks are here", self.pool.outstanding)
            self._send(Draining())

    def end(self, reason: str, code: int) -> None:
        """End the manager."""
        logger.info("Ending: %s", reason)
        if code:
            print(f"parsl manager {self.uid} on {self._hostname} ends: {reason}", file=sys.stderr, flush=True)
        self.pool.drain()
        self.exit_code, self.exit_reason = code, reason
        self._loop.stop()

    def _end_pass(self) -> None:
        results = self.pool.take_results()
        if not results:
            return
        frames: list[Any] = [b""]
        if self._registered is not None and not self._registered.shares_segments:
            shipped = [msgspec.structs.replace(r, payload=self._store.ship(r.payload, frames)) for r in results]
            for result in results:
                self._store.drop(result.payload)
            results = shipped
        self._send(Results(results, self.pool.credit), frames)

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
        self._loop.remove_reader(self._processes.mail)
        self._mailbox_watched = False
        self.pool.fill()

    def take_back(self) -> list[int]:
        """Empty the mailbox and return the numbers of the tasks that no worker has taken."""
        return [self._codec.decode(letter).id for letter in self._processes.take_back()]

    def claims(self) -> dict[int, int]:
        """Return for each live worker's slot the number of the task that it took last."""
        return self._processes.claims()

    def start_worker(self, slot: int) -> None:
        """Start a worker process for a slot."""
        worker = self._processes.start(slot)
        self._loop.add_reader(worker.stream, lambda: self._on_worker(worker))
        if self._registered is not None:
            self._processes.introduce(worker)

    def _setup(self, slot: int, claims: str) -> Setup:
        sys_path = self._registered.sys_path if self._registered is not None else []
        return Setup(
            sys_path=[p for p in sys_path if os.path.exists(p)],
            segments=self._store.folder,
            functions=self._functions,
            claims=claims,
            slot=slot,
        )

    def _environment(self, slot: int) -> dict[str, str]:
        cores = self._cores[slot]
        environment = {
            "PARSL_WORKER_RANK": str(slot),
            "PARSL_WORKER_COUNT": str(self._workers_wanted),
            "PARSL_WORKER_POOL_ID": str(self.uid),
            "PARSL_WORKER_BLOCK_ID": self._options.block_id,
            "PARSL_WORKER_LOGDIR": self._logdir,
            **affinity.pinned_environment(cores),
        }
        if cores:
            environment["PARSL_WORKER_CORES"] = ",".join(map(str, cores))
        if self._accelerators:
            environment.update(affinity.accelerator_environment(self._accelerators[slot]))
            environment["PARSL_WORKER_ACCELERATOR"] = self._accelerators[slot]
        return environment

    # -- workers: what they say ----------------------------------------------------------------------------------

    def _on_worker(self, worker: WorkerProcess) -> None:
        try:
            data = worker.stream.recv(256 * 1024)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            # The process is ending, or has closed its side: SIGCHLD tells which.
            self._loop.remove_reader(worker.stream)
            return
        buffer = worker.buffer
        buffer += data
        at, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while end - at >= LENGTH.size:
                size = LENGTH.unpack_from(view, at)[0]
                if end - at - LENGTH.size < size:
                    break
                self._said(worker, self._from_worker.decode(view[at + LENGTH.size : at + LENGTH.size + size]))
                at += LENGTH.size + size
        del buffer[:at]

    def _said(self, worker: WorkerProcess, message: messages.FromWorker) -> None:
        if isinstance(message, WorkerDone):
            self.pool.done(message.result)
        elif isinstance(message, WorkerReady):
            self._failed_starts = 0
            self.pool.worker_ready(worker.slot)
        else:
            self._send(Monitoring(message.body))

    def reap(self) -> None:
        """Handle the deaths of workers; called when a child of this process has ended."""
        for worker in self._processes.dead():
            self._bury(worker)

    def _bury(self, worker: WorkerProcess) -> None:
        # What it said before it died still counts.
        try:
            while worker.stream.fileno() >= 0 and self._loop_reads(worker):
                self._on_worker(worker)
        finally:
            self._loop.remove_reader(worker.stream)
            worker.stream.close()
        cause = cause_of_death(worker.process.returncode)
        logger.warning("Worker %d (process %d) has ended: %s", worker.slot, worker.process.pid, cause)
        if worker.slot not in self.pool.ready_slots:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                self.end(f"workers do not start: {cause}; see the standard error of the block", 1)
        if self.pool.worker_gone(worker.slot, self._processes.claim(worker.slot), cause):
            self._loop.call_later(_CLAIM_SECONDS, self.pool.settle_suspects)

    def _loop_reads(self, worker: WorkerProcess) -> bool:
        try:
            return bool(worker.stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def close(self) -> None:
        """End all workers and close the sockets, giving the last messages a moment to leave."""
        self._processes.close()
        if self._pipe is not None:
            self._pipe.close(linger=1000)
            self._context.term()
        for number in self._function_numbers:
            pathlib.Path(f"{self._functions}{number}").unlink(missing_ok=True)
        self._store.close()


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages that the manager has loaded; filled on request, cheap at the start."""
    return {"parsl": VERSION, "pyzmq": zmq.__version__, "msgspec": msgspec.__version__}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line of a manager."""
    parser = argparse.ArgumentParser(prog="process_worker_pool.py", description="Run the workers of one node.")
    add = parser.add_argument
    add("-d", "--debug", action="store_true", help="log at debug level")
    add("-a", "--addresses", default="", help="addresses of the interchange, separated by commas")
    add("-l", "--logdir", default="process_worker_pool_logs", help="folder for logs")
    add("-u", "--uid", default=None, help="name of this manager; a random one by default")
    add("-b", "--block_id", default="", help="number of the block")
    add("-c", "--cores_per_worker", type=float, default=1.0, help="cores of each worker")
    add("-m", "--mem_per_worker", type=_none_or_float, default=None, help="gigabytes of each worker")
    add("-t", "--port", "--task_port", type=int, default=None, help="port of the interchange")
    add("-r", "--result_port", type=int, default=None, help="accepted for older launch commands, not used")
    add("--cert_dir", type=_none_or_text, default=None, help="folder of the CurveZMQ certificates")
    add("--max_workers_per_node", "--max_workers", type=float, default=math.inf, help="most workers")
    add("-p", "--prefetch_capacity", type=int, default=0, help="tasks to keep in stock")
    add("--hb_period", type=float, default=30, help="seconds between heartbeats")
    add("--hb_threshold", type=float, default=120, help="seconds of silence after which the interchange is gone")
    add("--drain_period", type=_none_or_float, default=None, help="seconds after which to drain and end")
    add("--address_probe_timeout", type=float, default=None, help="seconds to look for the interchange")
    add("--poll", type=float, default=None, help="accepted for older launch commands; nothing is polled")
    add("--cpu-affinity", default="none", help="how workers are pinned to cores")
    add("--available-accelerators", nargs="*", default=[], help="names of the accelerators")
    add("--enable_mpi_mode", action="store_true", help="tasks are MPI programs")
    add("--mpi-launcher", default="", help="how MPI programs are launched")
    add("--local-path", default="", help="file-system socket of the interchange, if it is on this node")
    add("--segments", default="", help="segment store of the client, if it is on this node")
    options = parser.parse_args(arguments)
    options.addresses = [a for a in options.addresses.split(",") if a]
    options.uid = options.uid or uuid.uuid4().hex[:12]
    return options


def _none_or_float(text: str) -> float | None:
    return None if text == "None" else float(text)


def _none_or_text(text: str) -> str | None:
    return None if text == "None" else text


def main() -> None:
    """Run a manager with the options of the command line."""
    options = parse_arguments()
    logdir = os.path.join(os.path.abspath(options.logdir), f"block-{options.block_id}", options.uid)
    os.makedirs(logdir, exist_ok=True)
    from parsl.log_utils import set_file_logger

    set_file_logger(os.path.join(logdir, "manager.log"), level=logging.DEBUG if options.debug else logging.INFO)
    loop = Loop("manager")
    manager = Manager(options, logdir, loop)
    signal.signal(signal.SIGCHLD, lambda *_: loop.post(manager.reap))
    signal.signal(signal.SIGTERM, lambda *_: loop.post(manager.end, "SIGTERM", 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        manager.start()
    except OSError as e:
        logger.error("Could not start: %s", e)  # noqa: TRY400 - the text says it all
        print(f"parsl manager on {socket.gethostname()} could not start: {e}", file=sys.stderr, flush=True)
        manager.exit_code = 1
    else:
        loop.run()
    manager.close()
    sys.exit(manager.exit_code)


if __name__ == "__main__":
    from parsl.executors.high_throughput.process_worker_pool import main as _main

    _main()
