"""The block in which the Flux instance runs, and the connection to the process in it; on the kernel's loop."""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import zmq

from parsl.curvezmq import ServerContext, create_certificates
from parsl.executors.flux import messages
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Helper

if TYPE_CHECKING:
    from parsl.loop import Loop, Timer
    from parsl.providers.base import ExecutionProvider

logger = logging.getLogger(__name__)

# How long the instance may take to cancel its jobs and end, before its block is cancelled.
_END_SECONDS = 10.0
_CHECK_SECONDS = 0.5


class FluxBlock:
    """One block with a Flux instance in it.

    Args:
        label: the executor's.
        loop: the loop of the process.
        provider: where the block comes from.
        folder: an existing folder, private to the user, for keys and scripts.
        setup: what the instance is told first.

    Attributes:
        on_message: called with each message of the instance, on the loop.
        on_loss: called once with the reason when nothing more can run, on the loop.
        patient: whether `close` gives the instance time to cancel its jobs.
    """

    on_message: Callable[[messages.ToExecutor, list[bytes]], object]
    on_loss: Callable[[str], object]

    def __init__(self, label: str, loop: Loop, provider: ExecutionProvider, folder: str, setup: messages.Setup) -> None:
        self.patient = True
        self._label = label
        self._loop = loop
        self._provider = provider
        self._folder = os.path.abspath(folder)
        self._setup = setup
        self._context = ServerContext(create_certificates(self._folder), ipv6=True)
        self._job_id: str | None = None
        # Where the instance is; until it has said so, what is sent to it waits.
        self._peer: bytes | None = None
        self._waiting: list[list[bytes]] = []
        self._helper = Helper(f"{label}-block")
        self._poll: Timer | None = None
        self._check: Timer | None = None
        # Whether the instance is gone, or can run nothing; and whether it is to go.
        self._over = threading.Event()
        self._ending = False
        self._link: Pipe | None = None
        self._events: Pipe | None = None
        self._socket: zmq.Socket[bytes] | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self, command: Callable[[Mapping[str, str]], str], working_dir: str | None) -> None:
        """Listen, and ask for the block; on any thread.

        Args:
            command: makes the command of the block from its fields.
            working_dir: folder for the files of jobs; None takes one here.

        Raises:
            ExecutionProviderException: when there is no such block now.
        """
        from parsl.addresses import get_all_addresses

        port = self._loop.call(self._listen)
        places = ["--certificates", os.path.join(self._folder, "certificates")]
        places += ["--folder", os.path.abspath(working_dir or os.path.join(self._folder, "jobs"))]
        fields = {
            "manager": f"-m parsl.executors.flux.instance {shlex.join(places)}",
            "protocol": "tcp",
            "hostname": ",".join(sorted(get_all_addresses())),
            "port": str(port),
        }
        if self._provider.script_dir is None:
            self._provider.script_dir = os.path.join(self._folder, "submit_scripts")
        os.makedirs(self._provider.script_dir, exist_ok=True)
        self._job_id = self._provider.submit(command(fields), 1, f"parsl.{self._label}")
        logger.info("Executor %s has asked for a block: job %s", self._label, self._job_id)
        self._loop.post(self._poll_later)

    def _listen(self) -> int:
        self._socket = link = self._context.socket(zmq.ROUTER)
        link.set_hwm(0)
        link.linger = 0
        # So that sending to an instance that is gone fails.
        link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._events = Pipe(self._loop, link.get_monitor_socket(zmq.EVENT_DISCONNECTED), self._on_event)
        port = link.bind_to_random_port("tcp://*")
        self._link = Pipe(self._loop, link, self._received)
        return int(port)

    def close(self) -> None:
        """End the instance and its block; on any thread but the loop, once."""
        if self._loop.call(self._stop_instance):
            self._over.wait(_END_SECONDS if self.patient else 0)
        if self._job_id is not None:
            try:
                self._provider.cancel([self._job_id])
            except Exception:
                logger.exception("The block of executor %s, job %s, could not be cancelled", self._label, self._job_id)
        self._loop.call(self._close_sockets)
        self._helper.close()
        self._context.destroy()

    def _stop_instance(self) -> bool:
        """Tell the instance to end; return whether there is one."""
        self._ending = True
        for timer in (self._poll, self._check):
            if timer is not None:
                timer.cancel()
        there = self._peer is not None and not self._over.is_set()
        if there:
            self.send(messages.Stop())
        return there

    def _close_sockets(self) -> None:
        if self._socket is not None:
            self._socket.disable_monitor()
        for pipe in (self._events, self._link):
            if pipe is not None:
                pipe.close()

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, message: messages.ToInstance, *frames: bytes) -> None:
        """Send a message, or keep it until the instance is there; on the loop."""
        parts = [messages.encode(message), *frames]
        if self._peer is None or self._link is None:
            self._waiting.append(parts)
        elif not self._link.send([self._peer, *parts]) and not self._over.is_set():
            # A part that is missed would leave a task waiting for ever, so the instance is given up, not awaited.
            self._helper.post(self._ask, "the connection to the Flux instance broke")

    def _received(self, frames: list[bytes]) -> None:
        peer, data, *rest = frames
        message = messages.for_executor(data)
        if isinstance(message, messages.Hello):
            self._greet(peer, message)
        elif isinstance(message, messages.Bye):
            self._lose(f"the Flux instance has ended: {message.reason}")
        else:
            self.on_message(message, rest)

    def _greet(self, peer: bytes, hello: messages.Hello) -> None:
        if hello.trouble:
            self._lose(hello.trouble)
            return
        logger.info("Executor %s: the Flux instance is there, process %d of %s", self._label, hello.process, hello.host)
        self._peer = peer
        assert self._link is not None
        self._link.send([peer, messages.encode(self._setup)])
        waiting, self._waiting = self._waiting, []
        for parts in waiting:
            self._link.send([peer, *parts])

    # -- loss ------------------------------------------------------------------------------------------------------

    def _on_event(self, _: list[bytes]) -> None:
        """Note that a connection has broken: that of the instance, or of a stranger."""
        if self._peer is not None and not self._over.is_set():
            # The socket learns of it a little later than its monitor.
            self._check = self._loop.call_later(_CHECK_SECONDS, self._check_link)

    def _check_link(self) -> None:
        if self._peer is not None and not self._over.is_set():
            self.send(messages.Ping())

    def _lose(self, reason: str) -> None:
        if not self._over.is_set():
            self._over.set()
            self._waiting.clear()
            if not self._ending:
                self.on_loss(reason)

    def _poll_later(self) -> None:
        seconds = self._provider.status_polling_interval
        if seconds > 0 and not self._over.is_set():
            self._poll = self._loop.call_later(seconds, self._helper.post, self._ask)

    def _ask(self, lost: str = "") -> None:
        """Ask the provider for the block; on the helper.

        Args:
            lost: why the instance counts as lost, whatever the provider says.
        """
        said = lost
        try:
            (status,) = self._provider.status([self._job_id or ""])
        except Exception as e:  # noqa: BLE001 - providers raise what they like; the next look may tell more
            logger.warning("The block of executor %s could not be asked for: %s", self._label, e)
        else:
            if status.terminal:
                words = [lost, f"the block with the Flux instance has ended ({status.status_name})", status.message]
                said = "; ".join(filter(None, [*words, (status.stderr_summary or "").strip()]))
        if said:
            self._loop.post(self._lose, said)
        else:
            self._loop.post(self._poll_later)
