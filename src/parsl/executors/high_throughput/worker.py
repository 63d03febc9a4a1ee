"""One worker: takes a call from the node's mailbox, makes it, answers; one after another, in one thread.

Started by the manager as `python -m parsl.executors.high_throughput.worker MAILBOX_FD ANSWER_FD WORDS_FD MANAGER_PID`.
It loads as little as it can: no zmq, no dataflow, no configuration.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from parsl import watchdog
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.messages import (
    DONE,
    RAISED,
    Codec,
    FromWorker,
    Monitoring,
    Payload,
    PlacedTask,
    Result,
    Setup,
    Task,
    WorkerDone,
    WorkerReady,
)
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.streams import LENGTH
from parsl.serialize import facade
from parsl.serialize.errors import SerializationError

if TYPE_CHECKING:
    from parsl.monitoring.usage import UsageMeter

logger = logging.getLogger(__name__)

# What manager and worker of a slot tell each other without a message: the task that the worker took last, and the task
# for whose sake the manager is about to kill it, 0 for none.
CLAIM = struct.Struct("=q")
CLAIMS = struct.Struct("=qq")

# A task in the mailbox is at most this long; what is longer lies in a segment. Less than what the C library takes from
# the system anew at each read.
LARGEST_LETTER = 64 * 1024

# Functions kept ready to be called.
_KEPT_FUNCTIONS = 512

_NO_BUFFERS: list[Any] = []

_PR_SET_PDEATHSIG = 1


class Functions:
    """The functions of tasks, read from the node's folder when they are first called."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._loaded: OrderedDict[int, Callable[..., Any]] = OrderedDict()

    def __getitem__(self, number: int) -> Callable[..., Any]:
        function = self._loaded.get(number)
        if function is None:
            with open(f"{self._folder}{number}", "rb") as file:
                function = facade.deserialize(file.read())
            self._loaded[number] = function
            if len(self._loaded) > _KEPT_FUNCTIONS:
                self._loaded.popitem(last=False)
        return function


class Worker:
    """The life of a worker between its two sockets.

    Args:
        mailbox: shared with the node's other workers: each message is one task for whoever reads it.
        answers: this worker's own stream to the manager.
    """

    def __init__(self, mailbox: socket.socket, answers: socket.socket) -> None:
        self._mailbox = mailbox
        self._answers = answers
        self._codec: Codec[FromWorker] = messages.Codec(PlacedTask)
        self._setup_codec: Codec[Setup] = messages.Codec(Setup)
        self._sending = threading.Lock()
        self._meter: UsageMeter | None = None

    def run(self) -> None:
        """Serve until the manager is gone."""
        data = receive(self._answers)
        if not data:
            return
        setup = self._setup_codec.decode(data)
        # Started with -m, its first entry is the working directory, which the script need not have.
        own = sys.path if getattr(sys.flags, "safe_path", False) else sys.path[1:]
        sys.path[:] = search_path(setup.sys_path, own)
        self._store = SegmentStore(setup.segments, setup.owner)
        self._functions = Functions(setup.functions)
        with open(setup.claims, "r+b") as file:
            claims = mmap.mmap(file.fileno(), 0)
        slot = memoryview(claims).cast("q")[setup.slot * 2 : setup.slot * 2 + 2]
        if setup.monitoring:
            self._measure(setup.slot, claims)
        begin = None if self._meter is None else self._meter.begin
        self._send(WorkerReady())
        decode, read = self._codec.decode, self._mailbox.recv
        debug = logger.isEnabledFor(logging.DEBUG)
        while True:
            letter = read(LARGEST_LETTER)
            if not letter:
                return
            task: Any = decode(letter)
            slot[0] = task.id
            if slot[1]:
                # The manager kills this worker for the task before. It counts on this one not having begun.
                while True:
                    signal.pause()
            if begin is not None:
                begin()
            if debug:
                logger.debug("Call %d begins", task.id)
            result = self._serve(task) if task.environment is None else self._serve_within(task, task.environment)
            if debug:
                logger.debug("Call %d has ended after %g s, status %d", task.id, result.seconds, result.status)
            self._send(WorkerDone(result))

    def _serve(self, task: Task) -> Result:
        started = time.perf_counter()
        try:
            function, args, kwargs = self._open(task)
            value = function(*args, **kwargs)
            body, buffers = facade.pack_result(value)
            status = DONE
        except (SystemExit, KeyboardInterrupt):
            raise  # they ask for the end of the process, and get it
        except BaseException as e:  # noqa: BLE001 - whatever the task raises is its result
            body, buffers = pack_exception(e, where_am_i())
            status = RAISED
        try:
            payload = self._store.payload(body, buffers)
        except OSError as e:
            return raised(task.id, e, where_am_i())
        seconds = time.perf_counter() - started
        return Result(task.id, status, payload, seconds, b"" if self._meter is None else self._meter.end())

    def _measure(self, slot: int, claims: mmap.mmap) -> None:
        """Measure what calls use from here on, and let them send monitoring messages of their own."""
        from parsl.monitoring import outlet
        from parsl.monitoring.usage import BASELINE, UsageMeter

        slots = len(claims) // (CLAIMS.size + BASELINE.size)
        at = slots * CLAIMS.size + slot * BASELINE.size
        self._meter = UsageMeter(os.environ.get("PARSL_WORKER_BLOCK_ID"), socket.gethostname(), claims, at)
        outlet.send = lambda body: self._send(Monitoring(body))

    def _open(self, task: Task) -> tuple[Callable[..., Any], Any, Any]:
        body, buffers = self._store.open(task.payload) if task.payload.segment else (task.payload.body, _NO_BUFFERS)
        if not task.function:
            function, args, kwargs = facade.unpack_apply_message(body)
            return function, args, kwargs
        args, kwargs = facade.unpack(body, buffers)
        return self._functions[task.function], args, kwargs

    def _serve_within(self, task: Task, environment: Payload) -> Result:
        """Make a call with variables of its own: the next call finds them as they were before."""
        try:
            body, buffers = self._store.open(environment)
            self._store.drop(environment)
        except OSError as e:
            return raised(task.id, e, where_am_i())
        variables = msgspec.msgpack.decode(buffers[0] if buffers else body, type=dict[str, str])
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            return self._serve(task)
        finally:
            for name in variables:
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]

    def _send(self, message: FromWorker) -> None:
        data = self._codec.encode(message)
        # Monitoring messages may come from threads of the task.
        with self._sending:
            self._answers.sendall(LENGTH.pack(len(data)) + data)


def search_path(script: list[str], own: list[str]) -> list[str]:
    """Return where a worker looks for modules: in the same order as the user's script.

    Args:
        script: `sys.path` of the script, with an empty entry in front of the script's standard library: there the
            worker's own comes, which may be of another environment.
        own: `sys.path` of the worker, without the folder in which it happens to run.
    """
    place = script.index("") if "" in script else len(script)
    return list(dict.fromkeys([*script[:place], *own, *script[place + 1 :]]))


def raised(task_id: int, exception: BaseException, where: str) -> Result:
    """Make the result of a call that ended with an exception of ours, which is small."""
    return Result(task_id, RAISED, Payload(pack_exception(exception, where)[0]))


def pack_exception(exception: BaseException, where: str) -> tuple[bytes, list[Any]]:
    """Pack an exception with its traceback, less the frames of the worker itself, and with words on where it was."""
    from parsl.app.errors import RemoteExceptionWrapper

    if isinstance(exception, SerializationError):
        logger.info("A result could not be packed: %s", exception)
    traceback = exception.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    wrapper = RemoteExceptionWrapper(type(exception), exception, traceback)
    return facade.pack((wrapper, where), "the exception")


def where_am_i() -> str:
    """Say in words where this worker runs, for the errors of its tasks."""
    return where_is(socket.gethostname(), os.environ, os.getpid())


def where_is(hostname: str, environment: Mapping[str, str], pid: int) -> str:
    """Say in words where a worker runs or ran, from what its manager put into its environment."""
    block, rank = environment.get("PARSL_WORKER_BLOCK_ID"), environment.get("PARSL_WORKER_RANK")
    return f"host {hostname}, block {block}, worker {rank} (process {pid}); log: {log_path(environment)}"


def log_path(environment: Mapping[str, str]) -> str:
    """Return the path of a worker's log."""
    name = f"worker_{environment.get('PARSL_WORKER_RANK')}.log"
    return os.path.join(environment.get("PARSL_WORKER_LOGDIR", ""), name)


def receive(stream: socket.socket) -> bytes:
    """Read one length-prefixed message; empty when the other side is gone."""
    size = LENGTH.unpack(_exactly(stream, LENGTH.size) or bytes(LENGTH.size))[0]
    return _exactly(stream, size)


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, where the kernel can (Linux).

    Args:
        parent: the manager's process id; when that is not the parent any more, the manager has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the manager is gone")


def keep_log() -> None:
    """Keep this worker's log; at debug level when the executor is told to."""
    if not os.environ.get("PARSL_WORKER_LOGDIR"):
        return
    from parsl.log_utils import set_file_logger

    debug = os.environ.get("PARSL_WORKER_DEBUG") == "1"
    try:
        set_file_logger(log_path(os.environ), level=logging.DEBUG if debug else logging.INFO)
    except OSError as e:
        print(f"this worker goes on without a log: {e}", file=sys.stderr)
    logger.info("Worker %s begins as process %d", os.environ.get("PARSL_WORKER_RANK"), os.getpid())


class Terminated(SystemExit):
    """Somebody wants this worker to end."""


def _terminated(*_: object) -> None:
    # An exception, so that a task that waits for a program of its own takes it along.
    raise Terminated(128 + signal.SIGTERM)


def main() -> None:
    """Run a worker on the descriptors and for the manager, by its process id, that the command line gives."""
    mailbox, answers = (socket.socket(fileno=int(fd)) for fd in sys.argv[1:3])
    words = int(sys.argv[3])
    for fd in (mailbox.fileno(), answers.fileno(), words):
        os.set_inheritable(fd, False)
    watchdog.install(words)
    cores = os.environ.get("PARSL_WORKER_CORES")
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(c) for c in cores.split(",")])
    die_with_parent(int(sys.argv[4]))
    keep_log()
    # What runs in the worker must not find the worker's own command line, nor take its module for the user's script.
    sys.argv = [""]
    sys.modules["__main__"] = type(sys)("__main__")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        Worker(mailbox, answers).run()
    except (BrokenPipeError, ConnectionResetError):
        logger.info("the manager is gone")
    except (SystemExit, KeyboardInterrupt) as e:
        watchdog.say(_last_words(e))
        raise


def _last_words(exception: BaseException) -> str:
    """Say where a task has asked for the end of its worker."""
    stack = [f for f in traceback.extract_tb(exception.__traceback__) if f.filename != __file__]
    lines = [f'  File "{f.filename}", line {f.lineno} in {f.name}\n' for f in reversed(stack)]
    return f"{exception!r:.200}{watchdog.STACK}\n{''.join(lines)}"


if __name__ == "__main__":
    # Run under its real name, so that nothing of it lives in `__main__`.
    from parsl.executors.high_throughput.worker import main as _main

    _main()
