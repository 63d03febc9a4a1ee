"""The UDP radio: a datagram for each message, signed with a key of this run. Some may be lost on the way."""

from __future__ import annotations

import hashlib
import hmac
import logging
import pickle
import secrets
import socket
from typing import Any

from parsl.monitoring.errors import MonitoringRouterStartError
from parsl.monitoring.radios.base import LoopOfReceiver, MonitoringRadioReceiver, MonitoringRadioSender, RadioConfig
from parsl.representation import RepresentationMixin

logger = logging.getLogger(__name__)

_LARGEST_DATAGRAM = 65507


class UDPRadio(RadioConfig, RepresentationMixin):
    """Messages as UDP datagrams, which nobody without this run's key can forge.

    Args:
        port: port to listen on; None for a free one.
        atexit_timeout: kept for earlier configurations: at the end, what has come is taken in, without waiting.
        address: address of this host that the nodes of the executor can reach.
        debug: log each message.
        hmac_digest: name of the hash that signs messages, as `hashlib` knows it.

    Raises:
        ValueError: when there is no such hash.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        atexit_timeout: int | float = 3,
        address: str,
        debug: bool = False,
        hmac_digest: str = "sha512",
    ) -> None:
        if hmac_digest not in hashlib.algorithms_available:
            raise ValueError(f"UDPRadio: hmac_digest {hmac_digest!r} is no hash that hashlib knows")
        self.port = port
        self.atexit_timeout = atexit_timeout
        self.address = address
        self.debug = debug
        self.hmac_digest = hmac_digest
        self.hmac_key: bytes | None = None

    def create_sender(self) -> MonitoringRadioSender:
        """Make the sending end.

        Raises:
            RuntimeError: when there is no receiver whose port and key it could use.
        """
        if self.port is None or self.hmac_key is None:
            raise RuntimeError("this UDPRadio has no receiver yet, whose port and key a sender needs")
        return UDPRadioSender(self.address, self.port, self.hmac_key, self.hmac_digest)

    def create_receiver(self, *, run_dir: str, resource_msgs: Any) -> UDPRadioReceiver:
        """Listen, on a key of this run.

        Raises:
            MonitoringRouterStartError: when address and port cannot be listened on.
        """
        del run_dir
        self.hmac_key = secrets.token_bytes(64)
        receiver = UDPRadioReceiver(self, resource_msgs)
        self.port = receiver.port
        return receiver


class UDPRadioSender(MonitoringRadioSender):
    """Sends datagrams.

    Args:
        address: where the receiver listens, and `port` likewise.
        hmac_key: the run's key, and `hmac_digest` the name of the hash.
        timeout: kept for earlier callers: sending a datagram waits for nobody.
    """

    def __init__(self, address: str, port: int, hmac_key: bytes, hmac_digest: str, timeout: int | float = 10) -> None:
        del timeout
        family, _, _, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        self._target: tuple[Any, ...] = target
        self._key = hmac_key
        self._digest = hmac_digest
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def send(self, message: Any) -> None:
        """Send a message; one that cannot be sent is logged and dropped."""
        body = pickle.dumps(message)
        datagram = hmac.digest(self._key, body, self._digest) + body
        try:
            self._socket.sendto(datagram, self._target)
        except OSError as e:
            logger.warning("A monitoring message of %d bytes could not be sent: %s", len(datagram), e)

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()


class UDPRadioReceiver(MonitoringRadioReceiver):
    """Listens for datagrams; those that are not signed with the run's key are dropped.

    Args:
        config: address, port, key and hash.
        resource_msgs: where messages are put.
    """

    def __init__(self, config: UDPRadio, resource_msgs: Any) -> None:
        self._config = config
        self._messages = resource_msgs
        self._size = hashlib.new(config.hmac_digest).digest_size
        self._strangers = 0
        try:
            family, _, _, _, where = socket.getaddrinfo(config.address, config.port or 0, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as e:
            raise MonitoringRouterStartError(f"UDPRadio cannot listen on {config.address}: {e}") from e
        try:
            self._socket.bind(where)
        except OSError as e:
            self._socket.close()
            raise MonitoringRouterStartError(
                f"UDPRadio cannot listen on {config.address} port {config.port}: {e}"
            ) from e
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._on = LoopOfReceiver(resource_msgs, "udp-radio")
        self._on.loop.call(self._on.loop.add_reader, self._socket, self._read)

    def _read(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(_LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            signature, body = datagram[: self._size], datagram[self._size :]
            assert self._config.hmac_key is not None
            if not hmac.compare_digest(signature, hmac.digest(self._config.hmac_key, body, self._config.hmac_digest)):
                if not self._strangers:
                    logger.warning("Datagrams without this run's signature come to the UDP radio and are dropped")
                self._strangers += 1
                continue
            # Signed with the key of this run, which only its own tasks have.
            message = pickle.loads(body)  # noqa: S301 - see above
            if self._config.debug:
                logger.debug("UDP radio: %r", message)
            self._messages.put(message)

    def shutdown(self) -> None:
        """Take in what has come, and listen no more."""
        self._on.loop.call(self._end)
        self._on.close()

    def _end(self) -> None:
        self._on.loop.remove_reader(self._socket)
        self._read()
        self._socket.close()
