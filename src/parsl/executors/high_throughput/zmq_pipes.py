"""ZeroMQ sockets on a loop, and the client's connection to its interchange."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import zmq

from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.messages import Answer, Cancel, Query
from parsl.loop import Loop

logger = logging.getLogger(__name__)

# Frames larger than this are handed to zmq without a copy.
_COPY_BYTES = 64 * 1024


class Pipe:
    """A zmq socket that a loop reads.

    At the end of every pass, what has arrived is handed to `received`, then `flush` may send what the pass produced.

    Args:
        loop: the loop of the process.
        socket: the socket; owned, and closed by `close`.
        received: called with the frames of each message.
        flush: called at the end of each pass.
    """

    def __init__(
        self,
        loop: Loop,
        socket: zmq.Socket[bytes],
        received: Callable[[list[bytes]], object],
        flush: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._received = received
        self._flush = flush
        self._fd = socket.getsockopt(zmq.FD)
        loop.add_reader(self._fd, self._nothing)
        loop.at_pass_end(self._pass_end)

    def send(self, frames: list[Any]) -> bool:
        """Send a message, never blocking; False when the other side is gone or its queue is full."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=all(len(f) < _COPY_BYTES for f in frames))
        except zmq.ZMQError as e:
            logger.warning("A message of %d frames could not be sent: %s", len(frames), e)
            return False
        # zmq's descriptor tells of a change once, and sending may have used that up: see that the loop looks again.
        if self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._loop.post(self._nothing)
        return True

    def close(self, linger: int = 0) -> None:
        """Close the socket; `linger` milliseconds are given to what is still to be sent."""
        self._loop.remove_hook(self._pass_end)
        self._loop.remove_reader(self._fd)
        self._socket.close(linger)

    def _nothing(self) -> None:
        """Wake the loop: the messages are read at the end of its pass."""

    def _pass_end(self) -> None:
        self._drain()
        if self._flush is not None:
            self._flush()

    def _drain(self) -> None:
        receive, received = self._socket.recv_multipart, self._received
        # Bounded, so that a flood does not keep the rest of the pass waiting.
        for _ in range(1000):
            try:
                frames = receive(zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError as e:
                logger.warning("Reading a socket failed: %s", e)
                return
            try:
                received(frames)
            except Exception:
                logger.exception("A message of %d frames could not be handled", len(frames))
        self._loop.post(self._nothing)


class CommandClient:
    """Questions to the interchange, over the executor's connection to it.

    Args:
        loop: the loop that owns the connection.
        send: sends a message; called on the loop.
    """

    def __init__(self, loop: Loop, send: Callable[[Any], object]) -> None:
        self._loop = loop
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[Any], object]] = {}
        self.ok = True

    def run(self, message: str, timeout_s: float | None = 30) -> Any:
        """Ask the interchange and wait for the answer; not from the loop's own thread.

        Args:
            message: what to ask for: `MANAGERS`, `WORKERS`, `CONNECTED_BLOCKS`, `OUTSTANDING_C` or
                `HOLD_WORKER;<manager>`.
            timeout_s: seconds to wait at most; None waits for good.

        Raises:
            CommandClientTimeoutError: when there is no answer in time.
            CommandClientBadError: when the connection is closed.
        """
        if not self.ok:
            raise CommandClientBadError
        answers: SimpleQueue[Any] = SimpleQueue()
        self._loop.post(self.ask, message, answers.put)
        try:
            answer = answers.get(timeout=timeout_s)
        except Empty:
            raise CommandClientTimeoutError from None
        if isinstance(answer, CommandClientBadError):
            raise answer
        return answer

    def ask(self, what: str, answer: Callable[[Any], object]) -> None:
        """Ask the interchange, on the loop; `answer` is called with what it says."""
        self._post(answer, lambda number: Query(number, what))

    def cancel(self, task: int, answer: Callable[[Any], object]) -> None:
        """Ask the interchange, on the loop, to drop a queued task; `answer` is called with a truth value."""
        self._post(answer, lambda number: Cancel(number, task))

    def answered(self, message: Answer) -> None:
        """Take an answer."""
        waiting = self._waiting.pop(message.query, None)
        if waiting is not None:
            waiting(message.body)

    def close(self) -> None:
        """Answer all questions that are open with an error; to be called on the loop."""
        self.ok = False
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer(CommandClientBadError())

    def _post(self, answer: Callable[[Any], object], make: Callable[[int], Any]) -> None:
        if not self.ok:
            answer(CommandClientBadError())
            return
        number = next(self._numbers)
        self._waiting[number] = answer
        self._send(make(number))
