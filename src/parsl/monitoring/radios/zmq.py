"""The ZMQ radio: messages over an encrypted connection."""

from __future__ import annotations

import logging
import pickle
from typing import Any

from parsl.addresses import tcp_url
from parsl.curvezmq import ClientContext, ServerContext
from parsl.monitoring.errors import MonitoringRouterStartError
from parsl.monitoring.radios.base import LoopOfReceiver, MonitoringRadioReceiver, MonitoringRadioSender

logger = logging.getLogger(__name__)

_LINGER_MS = 1000


class ZMQRadioSender(MonitoringRadioSender):
    """Sends over TCP, encrypted and authenticated by the certificates of `cert_dir`.

    Args:
        hub_address: where the receiver listens, and `hub_zmq_port` its port.
        hub_zmq_port: see there.
        cert_dir: folder of the CurveZMQ certificates; None for a plain connection.
    """

    def __init__(self, hub_address: str, hub_zmq_port: int, cert_dir: str | None = None) -> None:
        import zmq

        self._context = ClientContext(cert_dir, ipv6=True)
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.connect(tcp_url(hub_address, hub_zmq_port))

    def send(self, message: Any) -> None:
        """Send a message; it waits in memory while the receiver cannot be reached."""
        self._socket.send(pickle.dumps(message))

    def close(self) -> None:
        """Close the connection, giving the last messages a moment to leave."""
        self._socket.close()
        self._context.term()


class ZMQRadioReceiver(MonitoringRadioReceiver):
    """Listens for `ZMQRadioSender`.

    Args:
        address: address to listen on.
        port: port to listen on; None for a free one.
        cert_dir: folder of the CurveZMQ certificates: what comes is unpickled, so nobody else may send.
        resource_msgs: where messages are put.

    Raises:
        MonitoringRouterStartError: when address and port cannot be listened on.
    """

    def __init__(self, address: str, port: int | None, cert_dir: str, resource_msgs: Any) -> None:
        import zmq

        self._messages = resource_msgs
        self._context = ServerContext(cert_dir, ipv6=":" in address)
        self._socket = self._context.socket(zmq.PULL)
        try:
            self._socket.bind(tcp_url(address, port or "*"))
        except zmq.ZMQError as e:
            self._socket.close()
            self._context.term()
            raise MonitoringRouterStartError(f"the ZMQ radio cannot listen on {address} port {port}: {e}") from e
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._on = LoopOfReceiver(resource_msgs, "zmq-radio")
        self._on.loop.call(self._watch)

    def _watch(self) -> None:
        self._on.loop.add_reader(self._socket, self._read)
        self._read()

    def _read(self) -> None:
        import zmq

        # The descriptor tells of changes only: it has to be read until there is nothing.
        while True:
            try:
                body = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            # From holders of the run's certificates only.
            self._messages.put(pickle.loads(body))  # noqa: S301 - see above

    def shutdown(self) -> None:
        """Take in what has come, and listen no more."""
        self._on.loop.call(self._end)
        self._on.close()
        self._context.term()

    def _end(self) -> None:
        self._on.loop.remove_reader(self._socket)
        self._read()
        self._socket.close()
