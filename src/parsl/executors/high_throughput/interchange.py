"""The interchange: the process between one executor and all its managers.

It is the `Broker` on two sockets: one to the client, a file-system socket in a private folder; one for managers, on
TCP for those on other nodes and on a file-system socket for those on this one. Its configuration comes as the first
message on standard input, and the end of standard input means that the client is gone.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import signal
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
from parsl.executors.high_throughput.interchange_config import InterchangeConfig
from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import ManagerSelector
from parsl.executors.high_throughput.messages import (
    Answer,
    Cancel,
    Hold,
    Monitoring,
    Query,
    Register,
    Registered,
    Results,
    Submit,
    Tasks,
)
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.worker import LENGTH
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Loop
from parsl.process_loggers import wrap_with_logs
from parsl.version import VERSION

__all__ = ["Interchange", "InterchangeConfig", "ManagerLost", "ManagerRecord", "VersionMismatch", "main"]

logger = logging.getLogger(__name__)


class PortError(Exception):
    """No port of the range can be had; the text says which were tried."""


class Interchange:
    """The Broker on its sockets.

    Args:
        config: what the client says.
        selector: in which order managers are offered tasks.
        loop: the loop to run on.
    """

    def __init__(self, config: InterchangeConfig, selector: ManagerSelector, loop: Loop) -> None:
        self._config = config
        self._loop = loop
        self._store = SegmentStore(config.segments)
        self._from_client = messages.from_client()
        self._from_manager = messages.from_manager()
        self.broker = Broker(self, selector, config.heartbeat_threshold, platform.python_version(), VERSION)
        self._context = ServerContext(config.cert_dir)
        local = self._context.socket(zmq.ROUTER, curve=False)
        remote = self._context.socket(zmq.ROUTER)
        client = self._context.socket(zmq.PAIR, curve=False)
        for socket in (local, remote, client):
            socket.set_hwm(0)
            socket.setsockopt(zmq.LINGER, 0)
        remote.setsockopt(zmq.IPV6, config.ipv6)
        self.port = bind(remote, config.address, config.port, config.port_range)
        local.bind(f"ipc://{config.manager_path}")
        client.connect(config.client_url)
        self._client = Pipe(loop, client, self._on_client)
        self._remote = Pipe(loop, remote, lambda frames: self._on_manager(self._remote, frames))
        self._local = Pipe(loop, local, lambda frames: self._on_manager(self._local, frames), self._end_pass)
        self._pipes: dict[bytes, Pipe] = {}
        self._on_this_node: dict[bytes, bool] = {}
        self._expire()

    # -- arrivals ------------------------------------------------------------------------------------------------

    def _on_client(self, frames: list[bytes]) -> None:
        message = self._from_client.decode(frames[0])
        if isinstance(message, Submit):
            self.broker.submit(message)
        elif isinstance(message, Hold):
            self.broker.hold(message.manager.encode())
        elif isinstance(message, Cancel):
            self.to_client(Answer(message.query, self.broker.cancel(message.task)))
        elif isinstance(message, Query):
            self.to_client(Answer(message.query, self._answer(message.what)))
        else:
            self.stop("the client said so")

    def _answer(self, what: str) -> Any:
        name, _, argument = what.partition(";")
        managers = self.broker.view(time.monotonic())
        answers: dict[str, Callable[[], Any]] = {
            "MANAGERS": lambda: managers,
            "WORKERS": lambda: sum(m.worker_count for m in managers),
            "CONNECTED_BLOCKS": lambda: sorted({m.block_id for m in managers}),
            "OUTSTANDING_C": lambda: len(self.broker.queue) + sum(m.tasks for m in managers),
            "HOLD_WORKER": lambda: self.broker.hold(argument.encode()),
        }
        return answers[name]() if name in answers else None

    def _on_manager(self, pipe: Pipe, frames: list[bytes]) -> None:
        identity = frames[0]
        try:
            message = self._from_manager.decode(frames[1])
        except (msgspec.DecodeError, IndexError) as e:
            logger.warning("Dropped %d frames from %r that are no message: %s", len(frames), identity, e)
            return
        if isinstance(message, Register):
            self._pipes[identity] = pipe
            self._on_this_node[identity] = message.token == self._store.token
            self.broker.register(identity, message, time.monotonic())
            return
        self._pipes.setdefault(identity, pipe)
        if isinstance(message, Monitoring):
            self.to_client(message)
            return
        if isinstance(message, Results) and len(frames) > 2:
            message = Results(
                [msgspec.structs.replace(r, payload=self._store.land(r.payload, frames)) for r in message.results],
                message.credit,
            )
        self.broker.heard(identity, message, time.monotonic())

    # -- what the broker asks for ----------------------------------------------------------------------------------

    def to_client(self, message: messages.ToClient) -> None:
        """Send a message to the executor."""
        self._client.send([self._from_client.encode(message)])

    def to_manager(self, identity: bytes, message: messages.ToManager) -> None:
        """Send a message to a manager, with large buffers as frames if it is on another node."""
        pipe = self._pipes.get(identity)
        if pipe is None:
            return
        frames: list[Any] = [identity, b""]
        if isinstance(message, Tasks) and not self._on_this_node.get(identity):
            message = Tasks(
                [msgspec.structs.replace(t, payload=self._store.ship(t.payload, frames)) for t in message.tasks],
                message.functions,
                message.forget,
            )
        frames[1] = self._from_manager.encode(message)
        pipe.send(frames)

    def welcome(self, about: Register) -> Registered:
        """Make the answer to a manager that is taken in."""
        shared = about.token == self._store.token
        return Registered(self._config.sys_path, shared, self._config.segments if shared else "")

    # -- time ----------------------------------------------------------------------------------------------------

    def _end_pass(self) -> None:
        self.broker.assign()
        self.broker.flush(time.monotonic())

    def _expire(self) -> None:
        self.broker.expire(time.monotonic())
        self._loop.call_later(max(0.1, self._config.heartbeat_threshold / 10), self._expire)

    def stop(self, why: str) -> None:
        """Tell all managers to end, and end."""
        logger.info("Ending: %s", why)
        self.broker.stop()
        self._loop.stop()

    def close(self) -> None:
        """Close the sockets, giving the last messages a moment to leave."""
        for pipe in (self._local, self._remote, self._client):
            pipe.close(linger=1000)
        self._context.term()


def bind(socket: zmq.Socket[bytes], address: str | None, port: int | None, port_range: tuple[int, int]) -> int:
    """Listen for managers.

    Args:
        socket: the socket.
        address: address to listen on; None for all.
        port: the port, or None for a free one of the range.
        port_range: first port, and the one after the last.

    Returns:
        The port.

    Raises:
        PortError: when the port, or each of the range, is taken.
    """
    host = "*" if address is None else f"[{address}]" if ":" in address else address
    if port is not None:
        try:
            socket.bind(f"tcp://{host}:{port}")
        except zmq.ZMQError as e:
            msg = f"worker_port {port} cannot be listened on: {e}"
            raise PortError(msg) from e
        return port
    try:
        return socket.bind_to_random_port(f"tcp://{host}", *port_range)
    except zmq.ZMQError as e:
        pass_on = e
    except OSError as e:
        pass_on = e  # type: ignore[assignment]
    msg = (
        f"no port of worker_port_range {port_range[0]} to {port_range[1] - 1} can be listened on at {host} ({pass_on}): "
        "give a wider range"
    )
    raise PortError(msg) from pass_on


def _read_config() -> dict[str, Any]:
    size = LENGTH.unpack(sys.stdin.buffer.read(LENGTH.size))[0]
    # From the process that started this one, through a pipe that nobody else holds.
    config: dict[str, Any] = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301
    return config


@wrap_with_logs
def main() -> None:
    """Run an interchange that is configured on standard input, and say on standard output on which port it listens."""
    given = _read_config()
    config: InterchangeConfig = given["config"]
    from parsl.logconfigs.base import oneshot_initialize_logging

    oneshot_initialize_logging(given["log_config"], config.logdir, "interchange")
    loop = Loop("interchange")
    try:
        interchange = Interchange(config, given["selector"], loop)
    except (PortError, OSError, ValueError) as e:
        print(f"ERROR {e}", flush=True)
        sys.exit(1)
    # A ctrl-C in the terminal goes to the whole group: the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: loop.post(interchange.stop, "SIGTERM"))

    def stdin_readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            interchange.stop("the client is gone")

    loop.add_reader(0, stdin_readable)
    logger.info("Listening for managers on port %d", interchange.port)
    print(f"READY {interchange.port}", flush=True)
    loop.run()
    interchange.close()


if __name__ == "__main__":
    from parsl.executors.high_throughput.interchange import main as _main

    _main()
