"""Messages between processes of one host: length-prefixed, on file-system sockets, on a loop.

One switch between processes a message, where a zmq socket has three (it hands each message to a thread of its own on
either side). Between hosts there is zmq, see `zmq_pipes`.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from parsl.loop import Loop

logger = logging.getLogger(__name__)

LENGTH = struct.Struct("<I")

# Less than what the C library takes from the system anew at each read.
_READ_BYTES = 64 * 1024
_BUFFER_BYTES = 4 * 1024 * 1024

# How long a listener waits for a descriptor to be closed when there is none for the next connection.
_PAUSE_SECONDS = 1.0


class Stream:
    """A connected socket that carries messages both ways.

    Args:
        loop: the loop of the process.
        connection: the socket; owned, and closed by `close`.
        received: called with each message, a view that is valid during the call only.
        ended: called once when the other side is gone.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        received: Callable[[memoryview], object],
        ended: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._received = received
        self._ended = ended
        self._incoming = bytearray()
        self._outgoing = bytearray()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        loop.add_reader(connection, self.read)

    @property
    def closed(self) -> bool:
        """Whether this side has closed the stream."""
        return self._connection.fileno() < 0

    @property
    def pending(self) -> bool:
        """Whether something that was to be sent has not left this process."""
        return bool(self._outgoing)

    def send(self, frames: list[Any]) -> bool:
        """Send a message of one frame, never blocking; False when the other side is gone.

        What the socket does not take at once is sent when it does.
        """
        (data,) = frames
        if self.closed:
            return False
        message = LENGTH.pack(len(data)) + data
        if self._outgoing:
            self._outgoing += message
            return True
        try:
            sent = self._connection.send(message)
        except BlockingIOError:
            sent = 0
        except OSError as e:
            # The end is told by the reading side, after what the other side has said before.
            logger.debug("a message of %d bytes was not sent: %s", len(data), e)
            return False
        if sent < len(message):
            self._outgoing += message[sent:]
            self._loop.add_writer(self._connection, self._write)
        return True

    def read(self) -> bool:
        """Read what has arrived and hand over the messages that are whole; False when nothing (more) comes."""
        if self.closed:
            return False  # in the pass that told of the message
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._connection)
            self._ended()
            return False
        self._incoming += data
        self._hand_over()
        return True

    def drain(self) -> None:
        """Read all that the other side has sent."""
        while not self.closed and self.read():
            pass

    def _hand_over(self) -> None:
        incoming, at = self._incoming, 0
        end = len(incoming)
        with memoryview(incoming) as view:
            while end - at >= LENGTH.size:
                size = LENGTH.unpack_from(view, at)[0]
                begin = at + LENGTH.size
                if end - begin < size:
                    break
                at = begin + size
                try:
                    with view[begin:at] as message:
                        self._received(message)
                except Exception:
                    logger.exception("A message of %d bytes could not be handled", size)
        del incoming[:at]

    def _write(self) -> None:
        try:
            sent = self._connection.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError as e:
            logger.debug("%d bytes were not sent: %s", len(self._outgoing), e)
            sent = len(self._outgoing)
        del self._outgoing[:sent]
        if not self._outgoing:
            self._loop.remove_writer(self._connection)

    def close(self, linger: int = 0) -> None:
        """Close the stream; up to `linger` milliseconds are given to what is still to be sent."""
        if self.closed:
            return
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        if self._outgoing and linger:
            self._connection.settimeout(linger / 1000)
            try:
                self._connection.sendall(self._outgoing)
            except OSError as e:
                logger.debug("the last %d bytes were not sent: %s", len(self._outgoing), e)
        self._connection.close()


class Listener:
    """A file-system socket that accepts connections, on a loop.

    Args:
        loop: the loop of the process.
        path: where the socket appears; its folder must be private to the user.
        accepted: called with each new connection.
    """

    def __init__(self, loop: Loop, path: str, accepted: Callable[[socket.socket], object]) -> None:
        self._loop = loop
        self._path = path
        self._accepted = accepted
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(socket.SOMAXCONN)
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError as e:
            logger.warning("A connection could not be accepted: %s", e)
            if e.errno in (errno.EMFILE, errno.ENFILE):
                # The socket stays readable: without a pause, the loop would try again and again.
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE_SECONDS, self._resume)
            return
        self._accepted(connection)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more, and remove the socket from the file system."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        os.unlink(self._path)


def connect(path: str, level: int = logging.INFO) -> socket.socket | None:
    """Connect to a file-system socket; None when nobody listens there, which is logged at `level`."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as e:
        logger.log(level, "Nobody listens at %s: %s", path, e)
        connection.close()
        return None
    return connection
