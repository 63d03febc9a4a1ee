"""A manager's connection to its interchange, made anew when it breaks."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parsl.addresses import tcp_url
from parsl.executors.high_throughput.probe import UnreachableError, probe_addresses
from parsl.executors.high_throughput.segments import SegmentStore, maker_lives
from parsl.executors.high_throughput.streams import Stream, connect
from parsl.loop import Loop

if TYPE_CHECKING:
    from parsl.curvezmq import ClientContext
    from parsl.executors.high_throughput.zmq_pipes import Pipe

logger = logging.getLogger(__name__)

# How long to look for the interchange when the executor names no time.
_PROBE_SECONDS = 30.0

# On the interchange's own node: how long to look for the next interchange when one has died, and how often.
_RECONNECT_SECONDS = 20.0

# For how long nobody need listen where the interchange is to be: it may have died, and the next one be on its way.
_REFUSED_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


class InterchangeLink:
    """The way to the interchange: through the file system where large buffers can be shared, else over TCP.

    Args:
        loop: the loop of the process.
        options: the command line of the manager.
        store: the manager's segment store.
        received: called with the frames of each message.
        up: called when there is a connection, the first one or another after one that broke.
        gone: called with words when there is none and will be none.
    """

    def __init__(
        self,
        loop: Loop,
        options: Namespace,
        store: SegmentStore,
        received: Callable[[Sequence[bytes | memoryview]], object],
        up: Callable[[], object],
        gone: Callable[[str], object],
    ) -> None:
        self._loop = loop
        self._options = options
        self._store = store
        self._received = received
        self._up = up
        self._gone = gone
        self._stream: Stream | None = None
        self._pipe: Pipe | None = None
        self._context: ClientContext | None = None
        self._closing = False

    @property
    def by_streams(self) -> bool:
        """Whether messages go through the file system."""
        return self._pipe is None

    def open(self) -> None:
        """Connect; `up` is called at once, or when an interchange on another node answers, and `gone` if none does."""
        self._try(time.monotonic() + _REFUSED_SECONDS)

    def _try(self, until: float) -> None:
        path = self._options.local_path
        connection = connect(path) if path and not self._store.owned else None
        if connection is not None:
            self._stream = Stream(self._loop, connection, self._arrived, self._broken)
            self._up()
            return
        options = self._options
        timeout = options.address_probe_timeout or _PROBE_SECONDS
        try:
            address = probe_addresses(options.addresses, options.port, timeout)
        except UnreachableError as e:
            if e.refused and time.monotonic() < until:
                self._loop.call_later(_PAUSE_SECONDS, self._try, until)
            else:
                self._gone(str(e))
            return
        self._open_pipe(address)

    def _open_pipe(self, address: str) -> None:
        options = self._options
        # Where the interchange is on this node, no zmq is loaded.
        import zmq

        from parsl.curvezmq import ClientContext
        from parsl.executors.high_throughput.zmq_pipes import Pipe

        self._context = ClientContext(options.cert_dir, ipv6=True)
        dealer = self._context.socket(zmq.DEALER)
        dealer.set_hwm(0)
        # When the interchange cannot be reached, thousands of managers do not try ten times a second each.
        dealer.reconnect_ivl_max = 5000
        # What is said while there is no connection would reach the next interchange before the manager's name does.
        dealer.immediate = True
        dealer.setsockopt(zmq.IDENTITY, options.uid.encode())
        self._pipe = Pipe(self._loop, dealer, self._received, self._up)
        dealer.connect(tcp_url(address, options.port))

    def send(self, frames: list[Any]) -> bool:
        """Send a message, never blocking; False when there is no connection."""
        link = self._stream or self._pipe
        return link is not None and link.send(frames)

    def _arrived(self, data: memoryview) -> None:
        self._received([data])

    def _broken(self) -> None:
        assert self._stream is not None
        self._stream.close()
        self._stream = None
        logger.warning("The interchange has closed the connection")
        self._look_for_another(time.monotonic() + _RECONNECT_SECONDS)

    def _look_for_another(self, until: float) -> None:
        if self._closing:
            return
        # In this order: a client that ends takes its interchange along before itself.
        lives = maker_lives(self._store.folder)
        connection = connect(self._options.local_path, logging.DEBUG) if lives else None
        if connection is not None:
            self._stream = Stream(self._loop, connection, self._arrived, self._broken)
            self._up()
        elif not lives:
            self._gone("the interchange has closed the connection, and the script has ended")
        elif time.monotonic() > until:
            self._gone(f"the interchange has closed the connection, and there was no other in {_RECONNECT_SECONDS:g} s")
        else:
            self._loop.call_later(_PAUSE_SECONDS, self._look_for_another, until)

    def close(self) -> None:
        """Close the connection, giving the last messages a moment to leave."""
        self._closing = True
        if self._stream is not None:
            self._stream.close(linger=1000)
        if self._pipe is not None:
            self._pipe.close(linger=1000)
        if self._context is not None:
            self._context.term()
