"""A crowd of simulated managers in one process: each a TCP connection of its own, with the messages of a real one.

Started by `benchmarks.scale_interchange`, which writes commands on standard input, a line each, and reads answers on
standard output:

    connect          connect all and register; answered by
                     {"registered": n, "refused": n, "sent": n, "received": n, "seconds": s}
    beat             one heartbeat of each; answered by {"sent": n, "received": n, "seconds": s} when all are answered
    end              end
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time

import zmq

from parsl.curvezmq import ClientContext
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.file_limit import raise_file_limit
from parsl.executors.high_throughput.messages import (
    DONE,
    Heartbeat,
    Payload,
    Refused,
    Register,
    Registered,
    Result,
    Results,
    Stop,
    Tasks,
)
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Loop
from parsl.serialize import facade
from parsl.version import VERSION

# Below the number of sockets that a zmq context takes.
SOCKETS_PER_CONTEXT = 500


class Manager:
    """One of the crowd: answers every call at once with the same result."""

    def __init__(self, crowd: Crowd, number: int, socket: zmq.Socket[bytes]) -> None:
        self._crowd = crowd
        self._number = number
        self.uid = f"simulated-{number:06d}"
        socket.set_hwm(0)
        socket.setsockopt(zmq.IDENTITY, self.uid.encode())
        self._socket = socket
        self._pipe: Pipe | None = None

    def connect(self, url: str) -> None:
        """Connect and register."""
        self._socket.connect(url)
        self._pipe = Pipe(self._crowd.loop, self._socket, self._received)
        workers = self._crowd.workers
        self.send(
            Register(
                self.uid,
                messages.PROTOCOL_VERSION,
                str(self._number),
                f"node{self._number}",
                workers,
                workers,
                platform.python_version(),
                VERSION,
                "",
                "",
                os.getpid(),
                86400.0,
            )
        )

    def send(self, message: messages.FromManager) -> None:
        """Send a message."""
        assert self._pipe is not None
        self._crowd.sent += 1
        self._pipe.send([self._crowd.codec.encode(message)])

    def _received(self, frames: list[bytes]) -> None:
        crowd = self._crowd
        crowd.received += 1
        message = crowd.codec.decode(frames[0])
        if isinstance(message, Tasks):
            self.send(Results([Result(t.id, DONE, crowd.answer) for t in message.tasks], crowd.workers))
        elif isinstance(message, (Registered, Refused)):
            crowd.answered(good=isinstance(message, Registered))
        elif isinstance(message, Heartbeat):
            crowd.beaten()
        elif isinstance(message, Stop):
            crowd.loop.stop()

    def close(self) -> None:
        """Close the connection."""
        if self._pipe is not None:
            self._pipe.close()
        else:
            self._socket.close(0)


class Crowd:
    """Simulated managers on one loop.

    Args:
        loop: what they run on.
        count: how many.
        workers: of each.
        port: of the interchange, on this host.
        cert_dir: folder of certificates, or None for plain connections.
    """

    def __init__(self, loop: Loop, count: int, workers: int, port: int, cert_dir: str | None) -> None:
        self.loop = loop
        self.workers = workers
        self.codec = messages.to_manager()
        self.answer = Payload(facade.pack_result(None)[0])
        self.sent = self.received = 0
        self._url = f"tcp://127.0.0.1:{port}"
        self._registered = self._refused = self._beats = 0
        self._begin = 0.0
        self._contexts = [ClientContext(cert_dir) for _ in range(-(-count // SOCKETS_PER_CONTEXT))]
        self.managers = [
            Manager(self, n, self._contexts[n // SOCKETS_PER_CONTEXT].socket(zmq.DEALER)) for n in range(count)
        ]

    def connect(self) -> None:
        """Connect all at once."""
        self._begin = time.monotonic()
        for manager in self.managers:
            manager.connect(self._url)

    def beat(self) -> None:
        """Send a heartbeat of each."""
        self._begin = time.monotonic()
        self._beats = self.sent = self.received = 0
        for manager in self.managers:
            manager.send(Heartbeat())

    def answered(self, *, good: bool) -> None:
        """Count the answer to a registration."""
        self._registered += good
        self._refused += not good
        if self._registered + self._refused == len(self.managers):
            self._tell({"registered": self._registered, "refused": self._refused})

    def beaten(self) -> None:
        """Count the answer to a heartbeat."""
        self._beats += 1
        if self._beats == len(self.managers):
            self._tell({})

    def _tell(self, what: dict[str, float]) -> None:
        counts = {"sent": self.sent, "received": self.received}
        print(json.dumps({**what, **counts, "seconds": time.monotonic() - self._begin}), flush=True)

    def close(self) -> None:
        """Close all connections."""
        for manager in self.managers:
            manager.close()
        for context in self._contexts:
            context.term()


def main() -> None:
    """Run a crowd that is described on the command line by a JSON object with the arguments of `Crowd`."""
    raise_file_limit()
    loop = Loop("crowd")
    crowd = Crowd(loop, **json.loads(sys.argv[1]))
    rest = b""

    def read() -> None:
        nonlocal rest
        data = os.read(0, 4096)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            {b"connect": crowd.connect, b"beat": crowd.beat, b"end": loop.stop}[line]()
        if not data:
            loop.stop()

    loop.add_reader(0, read)
    print(json.dumps({"ready": len(crowd.managers)}), flush=True)
    loop.run()
    crowd.close()


if __name__ == "__main__":
    main()
