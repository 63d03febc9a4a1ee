"""The interchange: the process between one executor and all its managers.

It is the `Broker` on its connections: streams over file-system sockets in a private folder to the client and to
managers of this node, a zmq socket over TCP to managers of other nodes. Its configuration comes on standard input; the
end of the client's stream is the end of the client, and so its own.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import pathlib
import pickle
import platform
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from parsl.curvezmq import ServerContext
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.broker import Broker
from parsl.executors.high_throughput.errors import ManagerLost, VersionMismatch
from parsl.executors.high_throughput.file_limit import FileBudget, raise_file_limit
from parsl.executors.high_throughput.inquiries import Inquiries
from parsl.executors.high_throughput.interchange_config import InterchangeConfig
from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import ManagerSelector
from parsl.executors.high_throughput.messages import (
    Answer,
    Cancel,
    Drain,
    Heartbeat,
    Hold,
    Located,
    Monitoring,
    Query,
    Register,
    Registered,
    Result,
    Results,
    Submit,
    Task,
    Tasks,
    Trouble,
)
from parsl.executors.high_throughput.segments import SegmentStore, remove_store
from parsl.executors.high_throughput.streams import LENGTH, Listener, Stream, connect
from parsl.executors.high_throughput.whereabouts import find
from parsl.executors.high_throughput.worker import raised
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Loop
from parsl.process_loggers import wrap_with_logs
from parsl.version import VERSION

__all__ = ["Interchange", "InterchangeConfig", "ManagerLost", "ManagerRecord", "VersionMismatch", "main"]

logger = logging.getLogger(__name__)


# For a connection to say who it is, in milliseconds; zmq's own 30 s may be short when thousands come at once.
_HANDSHAKE_MS = 120_000

# For how long a manager may go on keeping results that have reached the client.
_THANKS_SECONDS = 0.1


class PortError(Exception):
    """No port of the range can be had; the text says which were tried."""


class Interchange:
    """The Broker on its sockets.

    Args:
        config: what the client says.
        selector: in which order managers are offered tasks.
        loop: the loop to run on.
        file_limit: how many files this process may have open.
    """

    def __init__(self, config: InterchangeConfig, selector: ManagerSelector, loop: Loop, file_limit: int) -> None:
        self._config = config
        self._loop = loop
        self._store = SegmentStore(config.segments)
        self._from_client = messages.from_client()
        self._from_manager = messages.from_manager()
        self.broker = Broker(self, selector, config.heartbeat_threshold, platform.python_version(), VERSION)
        self._context = ServerContext(config.cert_dir, ipv6=config.ipv6)
        remote = self._context.socket(zmq.ROUTER)
        remote.set_hwm(0)
        # Thousands of managers may come in the same second. What the system's queue of connections does not take is
        # tried again by it after 1, 3, 7 seconds; what is in it may wait for its handshake for as long as a manager
        # waits for us.
        remote.backlog = socket.SOMAXCONN
        remote.handshake_ivl = _HANDSHAKE_MS
        # A manager whose connection broke comes back under its name before this side has noticed the break.
        remote.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.port = bind(remote, config.address, config.port, config.port_range)
        self._remote = Pipe(loop, remote, self._on_remote_manager)
        connection = connect(config.client_path)
        if connection is None:
            msg = f"the client does not listen at {config.client_path}"
            raise OSError(msg)
        self._client = Stream(loop, connection, self._on_client, self._client_gone)
        self._orphaned = False
        self._files = FileBudget(file_limit)
        # That of an interchange that was killed lies there still.
        pathlib.Path(config.manager_path).unlink(missing_ok=True)
        self._listener = Listener(loop, config.manager_path, self._on_connection)
        # How each manager is reached: a stream on this node, or a send through the common socket for other nodes.
        self._links: dict[bytes, Stream | None] = {}
        self._sharing: set[bytes] = set()
        self._thanks_due = False
        self._inquiries = Inquiries(loop, self.to_manager, self.to_client)
        loop.at_pass_end(self._end_pass)
        self._expire()

    # -- arrivals ------------------------------------------------------------------------------------------------

    def _on_client(self, data: memoryview) -> None:
        message = self._from_client.decode(data)
        if isinstance(message, Submit):
            self.broker.submit(message)
        elif isinstance(message, Hold):
            self.broker.hold(message.manager.encode())
        elif isinstance(message, Drain):
            for identity in self.broker.drain(message.block):
                self._forget(identity)
        elif isinstance(message, Cancel):
            self.broker.cancel(message.tasks, message.stop)
        elif isinstance(message, Query):
            # What the client keeps account of is not to be older than the answer.
            self.broker.flush(time.monotonic())
            name, _, argument = message.what.partition(";")
            if name == "NODES":
                task = int(argument)
                self._inquiries.ask(message.query, task, find(self.broker, task, time.monotonic()))
            else:
                self.to_client(Answer(message.query, self._answer(name, argument)))
        elif isinstance(message, Heartbeat):
            self.to_client(message)
        else:
            self.stop("the client said so")

    def _answer(self, name: str, argument: str) -> Any:
        managers = self.broker.managers.values()
        answers: dict[str, Callable[[], Any]] = {
            "MANAGERS": lambda: self.broker.view(time.monotonic()),
            "WORKERS": lambda: sum(m.workers for m in managers),
            "CONNECTED_BLOCKS": lambda: sorted({m.block_id for m in managers}),
            "OUTSTANDING_C": lambda: len(self.broker.queue) + sum(len(m.tasks) for m in managers),
            "HOLD_WORKER": lambda: self.broker.hold(argument.encode()),
            "TASK": lambda: find(self.broker, int(argument), time.monotonic()),
        }
        return answers[name]() if name in answers else None

    def _on_connection(self, connection: socket.socket) -> None:
        identity: bytes | None = None

        def received(data: memoryview) -> None:
            nonlocal identity
            identity = self._on_manager(stream, identity, [bytes(data)]) or identity

        def ended() -> None:
            stream.close()
            if identity is not None and self._links.get(identity) is stream:
                del self._links[identity]
                self.broker.lost(identity, "its connection has ended")

        stream = Stream(self._loop, connection, received, ended)

    def _on_remote_manager(self, frames: list[bytes]) -> None:
        if len(frames) > 1:
            self._on_manager(None, frames[0], frames[1:])

    def _on_manager(self, link: Stream | None, identity: bytes | None, frames: list[bytes]) -> bytes | None:
        """Handle a message of a manager; return its identity if the message gives it one."""
        try:
            message = self._from_manager.decode(frames[0])
        except msgspec.DecodeError as e:
            logger.warning("Dropped %d bytes from %r that are no message: %s", len(frames[0]), identity, e)
            return None
        if isinstance(message, Register):
            name = message.uid.encode() if identity is None else identity
            self._links[name] = link
            (self._sharing.add if message.token == self._store.token else self._sharing.discard)(name)
            self.broker.register(name, message, time.monotonic())
            if name not in self.broker.managers:
                self._forget(name)
            self._check_files()
            return name
        if identity is None:
            logger.warning("Dropped a %s from somebody who has not registered", type(message).__name__)
            return None
        known = identity in self.broker.managers
        self._links.setdefault(identity, link)
        if known and isinstance(message, Monitoring):
            self.to_client(message)
            return None
        if isinstance(message, Located):
            self._inquiries.answered(message)
            return None
        if known and isinstance(message, Results) and len(frames) > 1:
            landed = [self._landed(r, frames) for r in message.results]
            message = Results(landed, message.credit, message.number)
        self.broker.heard(identity, message, time.monotonic())
        if identity not in self.broker.managers:
            # It was a stranger, or has just taken its leave.
            self._forget(identity)
        return None

    def _check_files(self) -> None:
        problem = self._files.problem(len(self._links))
        if problem is not None:
            logger.error(problem)
            self.to_client(Trouble("files", problem))

    def _forget(self, identity: bytes) -> None:
        self._links.pop(identity, None)
        self._sharing.discard(identity)

    def _landed(self, result: Result, frames: list[bytes]) -> Result:
        """Put what came as a frame into the segment store; a result for which there is no room is an error."""
        try:
            return msgspec.structs.replace(result, payload=self._store.land(result.payload, frames))
        except OSError as e:
            logger.warning("The result of call %d is lost: %s", result.id, e)
            return raised(result.id, e, "its way back, in the interchange")

    # -- what the broker asks for ----------------------------------------------------------------------------------

    def to_client(self, message: messages.ToClient) -> None:
        """Send a message to the executor."""
        self._client.send([self._from_client.encode(message)])

    def to_manager(self, identity: bytes, message: messages.ToManager) -> None:
        """Send a message to a manager, with large buffers as frames if it is on another node."""
        if identity not in self._links:
            return
        frames: list[Any] = [b""]
        if isinstance(message, Tasks) and identity not in self._sharing:
            message = Tasks(self._shipped(identity, message.tasks, frames), message.functions, message.forget)
        frames[0] = self._from_manager.encode(message)
        link = self._links[identity]
        if link is None:
            self._remote.send([identity, *frames])
        else:
            link.send(frames)

    def _shipped(self, identity: bytes, tasks: list[Task], frames: list[Any]) -> list[Task]:
        """Turn the segments of tasks into frames; a task whose segment cannot be read fails."""
        shipped = []
        for task in tasks:
            try:
                shipped.append(msgspec.structs.replace(task, payload=self._store.ship(task.payload, frames)))
            except OSError as e:
                logger.warning("The arguments of call %d are lost: %s", task.id, e)
                failure = raised(task.id, e, "its way out, in the interchange")
                self._loop.post(self.broker.failed, identity, failure, time.monotonic())
        return shipped

    def welcome(self, about: Register) -> Registered:
        """Make the answer to a manager that is taken in."""
        shared = about.token == self._store.token
        return Registered(
            self._config.sys_path, shared, self._config.segments if shared else "", self._config.monitoring
        )

    # -- time ----------------------------------------------------------------------------------------------------

    def _end_pass(self) -> None:
        now = time.monotonic()
        self.broker.assign(now)
        self.broker.flush(now)
        if self.broker.owes_thanks and not self._thanks_due:
            self._thanks_due = True
            self._loop.call_later(_THANKS_SECONDS, self._thank)

    def _thank(self) -> None:
        self._thanks_due = False
        self.broker.thank()

    def delivered(self) -> bool:
        """Tell whether all that was sent to the executor has left this process."""
        return not self._client.pending

    def _expire(self) -> None:
        self.broker.expire(time.monotonic())
        self._loop.call_later(max(0.1, self._config.heartbeat_threshold / 10), self._expire)

    def _client_gone(self) -> None:
        self._orphaned = True
        self.stop("the client is gone")

    def stop(self, why: str) -> None:
        """Tell all managers to end, and end."""
        logger.info("Ending: %s", why)
        self.broker.stop()
        self._loop.stop()

    def close(self) -> None:
        """Close the sockets, giving the last messages a moment to leave."""
        self._listener.close()
        for link in self._links.values():
            if link is not None:
                link.close(linger=1000)
        self._client.close(linger=1000)
        self._remote.close(linger=1000)
        self._context.term()
        if self._orphaned:
            # It was killed, and can't remove what it has in shared memory any more.
            remove_store(self._config.segments)


def bind(listener: zmq.Socket[bytes], address: str | None, port: int | None, port_range: tuple[int, int]) -> int:
    """Listen for managers.

    Args:
        listener: the socket.
        address: address to listen on; None for all.
        port: the port, or None for a free one of the range.
        port_range: first port, and the one after the last.

    Returns:
        The port.

    Raises:
        PortError: when the port, or each of the range, is taken.
    """
    host = _numeric(address)
    ports = [port] if port is not None else list(range(*port_range))
    # From a random one on, so that executors that start together do not meet.
    first = random.randrange(len(ports))  # noqa: S311 - no secret is made of it
    problem: zmq.ZMQError | None = None
    for candidate in [*ports[first:], *ports[:first]]:
        try:
            listener.bind(f"tcp://{host}:{candidate}")
        except zmq.ZMQError as e:
            problem = e
            if e.errno not in _TAKEN:
                break
        else:
            return candidate
    raise PortError(_no_port(address, port, port_range, problem))


# A port of another program, or one that takes privileges: the next one may do.
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})


def _no_port(address: str | None, port: int | None, port_range: tuple[int, int], problem: zmq.ZMQError | None) -> str:
    if problem is not None and problem.errno not in _TAKEN:
        return f"address {address} cannot be listened on ({problem}): give one that this host has, or none"
    if port is not None:
        return f"worker_port {port} cannot be listened on ({problem}): give another, or none to have a free one taken"
    return (
        f"no port of worker_port_range {port_range[0]} to {port_range[1] - 1} can be listened on ({problem}): "
        "give a wider range"
    )


def _numeric(address: str | None) -> str:
    """Return an address as zmq can listen on it: host names are looked up."""
    if address is None:
        return "*"
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError as e:
        msg = f"address {address!r} cannot be listened on: {e}"
        raise PortError(msg) from e
    number = str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])
    return f"[{number}]" if ":" in number else number


def _read_config() -> dict[str, Any]:
    size = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))[0]
    # From the process that started this one, through a pipe that nobody else holds.
    config: dict[str, Any] = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301 - see above
    return config


def calm_collector() -> None:
    """Have the garbage collector look seldom: next to nothing here refers to itself, and there is much to look at."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@wrap_with_logs
def main() -> None:
    """Run an interchange that is configured on standard input, and say on standard output on which port it listens."""
    given = _read_config()
    config: InterchangeConfig = given["config"]
    from parsl.logconfigs.base import oneshot_initialize_logging

    oneshot_initialize_logging(given["log_config"], config.logdir, "interchange")
    loop = Loop("interchange")
    try:
        interchange = Interchange(config, given["selector"], loop, raise_file_limit())
    except (PortError, OSError, ValueError) as e:
        os.write(1, f"ERROR {e}\n".encode())
        sys.exit(1)
    # A ctrl-C in the terminal goes to the whole group: the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The client starts another one, to which managers go: they are told nothing.
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())

    logger.info("Listening for managers on port %d", interchange.port)
    # One write for the line, after which the client closes its end.
    os.write(1, f"READY {interchange.port}\n".encode())
    # The client reads that line only; what a user's selector may print goes where errors go.
    os.dup2(2, 1)
    calm_collector()
    loop.run()
    interchange.close()


if __name__ == "__main__":
    from parsl.executors.high_throughput.interchange import main as _main

    _main()
