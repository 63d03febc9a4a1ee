"""The interchange as a process: its start, its last words, its end."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import selectors
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.losses import last_words
from parsl.executors.high_throughput.streams import LENGTH
from parsl.executors.high_throughput.worker_processes import cause_of_death
from parsl.serialize import facade

if TYPE_CHECKING:
    from parsl.executors.high_throughput.interchange_config import InterchangeConfig
    from parsl.executors.high_throughput.manager_selector import ManagerSelector

logger = logging.getLogger(__name__)

# How long the interchange may take to say that it listens.
START_SECONDS = 60.0

# How long it may take to end when told to.
STOP_SECONDS = 5.0


class InterchangeStartError(Exception):
    """The interchange process did not start; the text says why."""


class InterchangeProcess:
    """An interchange process; made by `start`, which may be called again once it has ended.

    Args:
        label: the executor's label, for messages.
        command: the words that start it.
        config: what it is told.
        selector: its manager selector.
        log_config: its log configuration.
    """

    def __init__(
        self, label: str, command: Sequence[str], config: InterchangeConfig, selector: ManagerSelector, log_config: Any
    ) -> None:
        self._label = label
        self._command = list(command)
        self._given = {"config": config, "selector": selector, "log_config": log_config}
        self._config = config
        self._errors_path = os.path.join(config.logdir, "interchange.stderr")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> socket.socket:
        """Start it and wait until it listens; from then on it keeps the port that it has.

        Returns:
            The connection to it.

        Raises:
            InterchangeStartError: when it does not start; the text has its own words.
        """
        given = facade.serialize(self._given).partition(b"\n")[2]
        pathlib.Path(self._config.client_path).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(self._config.client_path)
            except OSError as e:
                msg = (
                    f"The interchange of executor {self._label} could not be started, as no socket can be made at "
                    f"{self._config.client_path}: {e}. TMPDIR may name a folder with a shorter path, on a local disk"
                )
                raise InterchangeStartError(msg) from e
            listener.listen(1)
            answer = self._spawn(LENGTH.pack(len(given)) + given)
            if not answer.startswith("READY "):
                raise InterchangeStartError(self._why_not(answer))
            # It connects before it says that it is ready.
            connection, _ = listener.accept()
        self._config.port = int(answer.split()[1])
        return connection

    @property
    def port(self) -> int:
        """The TCP port on which it listens for managers."""
        assert self._config.port is not None
        return self._config.port

    def _spawn(self, given: bytes) -> str:
        """Start the process and return the first line that it prints; empty when it ends without one."""
        try:
            os.makedirs(self._config.logdir, exist_ok=True)
            with open(self._errors_path, "wb") as errors:
                self.process = process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                )
        except OSError as e:
            msg = f"The interchange of executor {self._label} could not be started as {self._command}: {e}"
            raise InterchangeStartError(msg) from e
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout as output, selectors.DefaultSelector() as selector:
            try:
                with process.stdin as stdin:
                    stdin.write(given)
            except BrokenPipeError:
                logger.debug("the interchange has ended before it read its configuration")
            selector.register(output, selectors.EVENT_READ)
            line = b""
            while not line.endswith(b"\n"):
                if not selector.select(START_SECONDS):
                    process.kill()
                    return f"ERROR it did not get ready within {START_SECONDS:g} s"
                part = os.read(output.fileno(), 65536)
                if not part:
                    break
                line += part
            return line.decode(errors="replace").strip()

    def _why_not(self, answer: str) -> str:
        self.wait_for_end()
        if answer.startswith("ERROR "):
            reason = answer[len("ERROR ") :]
        else:
            words = last_words(self._errors_path)
            assert self.process is not None
            reason = f"it ended with exit code {self.process.returncode}" + (f" and said:\n{words}" if words else "")
        return f"The interchange of executor {self._label} did not start: {reason}"

    def processor_seconds(self) -> float:
        """Return for how long it has used the processor; -1 when it is stopped, or that cannot be told."""
        import psutil

        assert self.process is not None
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(self.process.pid)
            if process.status() != psutil.STATUS_STOPPED:
                times = process.cpu_times()
                return float(times.user + times.system)
        return -1.0

    def kill(self) -> None:
        """Kill it, without waiting for its end."""
        assert self.process is not None
        self.process.kill()

    def post_mortem(self) -> str:
        """Say in words how it ended, once its connection is closed, and what it said last."""
        assert self.process is not None
        try:
            how = cause_of_death(self.process.wait(STOP_SECONDS))
        except subprocess.TimeoutExpired:
            how = "it has closed its connection"
            self.wait_for_end()
        words = last_words(self._errors_path)
        return f"{how}, and said:\n{words}" if words else how

    def wait_for_end(self) -> None:
        """Wait until it has ended, by force if it takes too long."""
        assert self.process is not None
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning(
                "The interchange of executor %s did not end within %g s and is killed", self._label, STOP_SECONDS
            )
            self.process.kill()
            self.process.wait()


def interchange_command() -> list[str]:
    """Return the command that starts an interchange with this very interpreter."""
    return [sys.executable, "-m", "parsl.executors.high_throughput.interchange"]
