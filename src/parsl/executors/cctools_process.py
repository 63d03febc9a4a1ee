"""The process that holds an engine's manager, from the executor's side: its start, its end and its last words."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from typing import IO

import msgspec

from parsl.executors.cctools_messages import FromManager, ManagerConfig, Ready, Refused
from parsl.executors.high_throughput.streams import LENGTH

logger = logging.getLogger(__name__)

# How long the manager may take to say that it listens, and to end when told to.
START_SECONDS = 60.0
STOP_SECONDS = 5.0


class ManagerProcess:
    """A manager process; `start` makes it.

    Args:
        label: the executor's label, for messages.
        logdir: the folder for what it writes to standard output and error.
        failure: the error when it does not start.

    Attributes:
        port: where it listens for workers.
    """

    def __init__(self, label: str, logdir: str, failure: type[Exception]) -> None:
        self.port = 0
        self._label = label
        self._errors_path = os.path.join(logdir, "manager.stderr")
        self._failure = failure
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, config: ManagerConfig) -> socket.socket:
        """Start the process and wait until it listens.

        Returns:
            The connection to it.

        Raises:
            Exception: a `failure`, when it does not start; the text has its own words.
            OSError: when the folder is not there, or there is no Python.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                given = self._spawn(theirs.fileno())
            self.port = self._port_told(given, config, ours)
        except BaseException:
            ours.close()
            raise
        logger.info("The manager of executor %s listens on port %d", self._label, self.port)
        return ours

    def _spawn(self, connection: int) -> IO[bytes]:
        """Start the process; return the pipe on which it reads what it is to do."""
        command = [sys.executable, "-m", "parsl.executors.cctools_manager", str(connection)]
        with open(self._errors_path, "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, pass_fds=[connection]
            )
        assert self._process.stdin is not None
        return self._process.stdin

    def _port_told(self, given: IO[bytes], config: ManagerConfig, connection: socket.socket) -> int:
        """Tell the process what it is to do, and hear where it listens."""
        try:
            with given:
                given.write(msgspec.json.encode(config))
            connection.settimeout(START_SECONDS)
            answer: FromManager = msgspec.msgpack.decode(_first_message(connection), type=FromManager)
        except (OSError, EOFError) as e:
            msg = f"The manager of executor {self._label} did not start ({e}). It said:\n{self._last_words()}"
            raise self._failure(msg) from e
        if isinstance(answer, Ready):
            return answer.port
        reason = answer.reason if isinstance(answer, Refused) else repr(answer)
        msg = f"The manager of executor {self._label} did not start: {reason}"
        raise self._failure(msg)

    def wait(self) -> int | None:
        """Wait for its end, which has been asked for or has come by itself, and kill it when that takes too long.

        Returns:
            Its exit code; None when it was never started.
        """
        process = self._process
        if process is None:
            return None
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning(
                "The manager of executor %s did not end within %g s and is killed", self._label, STOP_SECONDS
            )
            process.kill()
            return process.wait()

    def obituary(self) -> Exception:
        """Return the error that tells of its end, with its last words; waits for the end."""
        code = self.wait()
        msg = f"The manager of executor {self._label} has ended with exit code {code}. It said:\n{self._last_words()}"
        return self._failure(msg)

    def _last_words(self) -> str:
        with open(self._errors_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:].strip()


def _first_message(connection: socket.socket) -> bytes:
    return _read(connection, LENGTH.unpack(_read(connection, LENGTH.size))[0])


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            msg = "it has closed its connection"
            raise EOFError(msg)
        data += part
    return data
