"""ZeroMQ contexts whose sockets are encrypted and authenticated with CurveZMQ.

A run makes one folder of certificates, readable by its user only: a key pair for the server (the interchange) and one
for its clients (the managers). A server lets in nobody but the holder of that client key, a client talks to nobody but
the holder of that server key. A context without certificates makes plain sockets.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from abc import ABC, abstractmethod

import zmq

_PUBLIC_PART = '#   ZeroMQ CURVE certificate\nmetadata\ncurve\n    public-key = "{}"\n'
_SECRET_PART = '    secret-key = "{}"\n'  # noqa: S105 - a form, not a secret
_ZAP_ADDRESS = "inproc://zeromq.zap.01"  # where ZeroMQ (RFC 27) asks whether a peer may come in
_ZAP_DOMAIN = b"parsl"


def create_certificates(base_dir: str | os.PathLike[str]) -> str:
    """Make a folder with new key pairs for a server and its clients.

    Args:
        base_dir: An existing folder, which gets the folder `certificates`.

    Returns:
        The path of the new folder. Only the user can enter it, and only the user can read the files in it.

    Raises:
        OSError: It exists already (FileExistsError) or can't be made.
    """
    cert_dir = os.path.join(base_dir, "certificates")
    os.mkdir(cert_dir, mode=0o700)
    for name in ("server", "client"):
        public, secret = (key.decode() for key in zmq.curve_keypair())
        text = _PUBLIC_PART.format(public)
        _write_private(os.path.join(cert_dir, f"{name}.key"), text)
        _write_private(os.path.join(cert_dir, f"{name}.key_secret"), text + _SECRET_PART.format(secret))
    return cert_dir


def _write_private(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as e:
        # Python names the file when it cannot be opened, but not when there is no room in it.
        raise OSError(e.errno, e.strerror, path) from e


def _read_key(cert_dir: str, owner: str, kind: str) -> bytes:
    """Read one key from the certificate folder.

    Args:
        cert_dir: The folder.
        owner: "server" or "client".
        kind: "public" or "secret".

    Returns:
        The key, 40 characters of Z85.

    Raises:
        OSError: There is no such file, it can't be read, or it is secret and others can read or write it.
        ValueError: There is no key in it.
    """
    path = os.path.join(cert_dir, f"{owner}.key_secret" if kind == "secret" else f"{owner}.key")
    with open(path, encoding="ascii", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if kind == "secret" and os.name == "posix" and mode & 0o077:
            raise PermissionError(
                errno.EACCES, f"This secret key is open to other users (mode {mode:o}, wanted 600); not used", path
            )
        match = re.search(rf'^\s*{kind}-key = "([!-~]{{40}})"\s*$', file.read(), re.MULTILINE)
    if match is None:
        raise ValueError(f"No {kind} key in the certificate file {path}")
    return match[1].encode()


class BaseContext(ABC):
    """A ZeroMQ context that gives its sockets what they need for encryption.

    Args:
        cert_dir: The certificate folder, or None for plain sockets.
        ipv6: Let sockets use IPv6 addresses as well as IPv4 ones.

    Raises:
        OSError: A key file is missing, unreadable or open to other users.
        ValueError: A key file holds no key.
    """

    def __init__(self, cert_dir: str | os.PathLike[str] | None, *, ipv6: bool = False) -> None:
        self.cert_dir = None if cert_dir is None else os.fspath(cert_dir)
        self.ipv6 = ipv6
        if self.cert_dir is not None:
            self._read_keys(self.cert_dir)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    @abstractmethod
    def _read_keys(self, cert_dir: str) -> None:
        """Take from the certificate folder what `_encrypt` needs."""

    @abstractmethod
    def _encrypt(self, socket: zmq.Socket[bytes]) -> None:
        """Prepare a new socket for encryption."""

    @property
    def closed(self) -> bool:
        """Whether the context has been terminated."""
        return self._context.closed

    def socket(self, socket_type: int, curve: bool = True) -> zmq.Socket[bytes]:
        """Make a socket.

        Args:
            socket_type: Such as `zmq.ROUTER`.
            curve: Whether it is encrypted, if this context has certificates; say False for one that is only ever used
                with `ipc://` or `inproc://`.

        Returns:
            The socket, neither bound nor connected.
        """
        socket = self._context.socket(socket_type)
        self._sockets = [other for other in self._sockets if not other.closed]
        self._sockets.append(socket)
        socket.ipv6 = self.ipv6
        if curve and self.cert_dir is not None:
            self._encrypt(socket)
        return socket

    def term(self) -> None:
        """End the context. Like ZeroMQ's own, this waits until every socket made from it has been closed."""
        self._context.term()

    def destroy(self, linger: int | None = None) -> None:
        """Close every socket made from this context, then end it; no other thread may be using one of them.

        Args:
            linger: Milliseconds to wait for unsent messages, -1 for as long as it takes, None for each socket's own
                setting.
        """
        for socket in self._sockets:
            socket.close(linger)
        self.term()

    def recreate(self, linger: int | None = None) -> None:
        """Destroy the context and start afresh, with the same keys.

        Args:
            linger: As for `destroy`.
        """
        self.destroy(linger)
        self._context = zmq.Context()


class ServerContext(BaseContext):
    """Makes sockets that admit only clients who hold the client key of the certificate folder.

    Its first encrypted socket starts a thread that answers, when a peer connects, whether it may; the thread sleeps
    otherwise, and ends with the context. Should it be gone, ZeroMQ admits nobody.
    """

    _authenticator: threading.Thread | None = None

    def _read_keys(self, cert_dir: str) -> None:
        self._secret = _read_key(cert_dir, "server", "secret")
        self._client_public = _read_key(cert_dir, "client", "public")

    def _encrypt(self, socket: zmq.Socket[bytes]) -> None:
        if self._authenticator is None:
            self._start_authenticator()
        socket.curve_server = True
        socket.curve_secretkey = self._secret
        socket.zap_domain = _ZAP_DOMAIN
        socket.zap_enforce_domain = 1  # no answer means no entry

    def _start_authenticator(self) -> None:
        from zmq.utils import z85

        # Bound here, so that no client can come before there is somebody to ask.
        questions = self._context.socket(zmq.REP)
        questions.bind(_ZAP_ADDRESS)
        self._authenticator = threading.Thread(
            target=_answer_questions, args=(questions, z85.decode(self._client_public)), name="parsl-curve", daemon=True
        )
        self._authenticator.start()

    def term(self) -> None:
        """End the context and its authenticator, when every socket made from it has been closed."""
        super().term()
        if self._authenticator is not None:
            self._authenticator.join()
            self._authenticator = None


class ClientContext(BaseContext):
    """Makes sockets that hold the client key and talk only to the server of the certificate folder."""

    def _read_keys(self, cert_dir: str) -> None:
        self._public = _read_key(cert_dir, "client", "public")
        self._secret = _read_key(cert_dir, "client", "secret")
        self._server_public = _read_key(cert_dir, "server", "public")

    def _encrypt(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_publickey = self._public
        socket.curve_secretkey = self._secret
        socket.curve_serverkey = self._server_public


def _answer_questions(questions: zmq.Socket[bytes], allowed: bytes) -> None:
    """Answer ZeroMQ's questions about peers until the context ends.

    Args:
        questions: A bound socket; closed at the end.
        allowed: The public key that may come in, 32 bytes.
    """
    with questions, contextlib.suppress(zmq.ContextTerminated):
        while True:
            version, request, _domain, _address, _identity, *credentials = questions.recv_multipart()
            verdict = (b"200", b"OK") if credentials == [b"CURVE", allowed] else (b"400", b"Unknown key")
            questions.send_multipart([version, request, *verdict, b"", b""])
