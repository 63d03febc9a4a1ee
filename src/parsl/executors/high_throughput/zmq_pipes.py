"""ZeroMQ sockets on a loop: messages between hosts. Within a host there are `streams`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import zmq

from parsl.loop import Loop

logger = logging.getLogger(__name__)

# Frames larger than this are handed to zmq without a copy.
_COPY_BYTES = 64 * 1024


class Pipe:
    """A zmq socket that a loop reads.

    Args:
        loop: the loop of the process.
        socket: the socket; owned, and closed by `close`.
        received: called with the frames of each message.
        up: called whenever the other side of a connection has said who it is, so that messages can be exchanged.
    """

    def __init__(
        self,
        loop: Loop,
        socket: zmq.Socket[bytes],
        received: Callable[[list[bytes]], object],
        up: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._received = received
        self._fd = socket.getsockopt(zmq.FD)
        self._connected = up is None
        self._events: Pipe | None = None
        if up is not None:
            self._watch_connection(up)
        loop.add_reader(self._fd, self._drain)
        # What came before the descriptor was watched is not told again.
        loop.post(self._drain)

    def _watch_connection(self, up: Callable[[], object]) -> None:
        def happened(frames: list[bytes]) -> None:
            event = int.from_bytes(frames[0][:2], sys.byteorder)
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if self._connected:
                up()

        watched = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self._events = Pipe(self._loop, self._socket.get_monitor_socket(watched), happened)

    def send(self, frames: list[Any]) -> bool:
        """Send a message, never blocking; False when the other side is gone or its queue is full."""
        if not self._connected:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=all(len(f) < _COPY_BYTES for f in frames))
        except zmq.ZMQError as e:
            logger.warning("A message of %d frames could not be sent: %s", len(frames), e)
            return False
        # zmq's descriptor tells of a change once, and sending may have used that up: see that the loop looks again.
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.post(self._drain)
        return True

    def close(self, linger: int = 0) -> None:
        """Close the socket; `linger` milliseconds are given to what is still to be sent."""
        self._loop.remove_reader(self._fd)
        if self._events is not None:
            self._socket.disable_monitor()
            self._events.close()
        self._socket.close(linger)

    def _drain(self) -> None:
        if self._socket.closed:
            return
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
        self._loop.post(self._drain)
