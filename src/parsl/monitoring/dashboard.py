"""The live page of a running program, as its kernel sees it: a process of its own, which a fault of it leaves alone."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys

from parsl.loop import Loop
from parsl.monitoring.errors import MonitoringHubStartError

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"

# The port of `parsl-visualize`, so that an address or a tunnel can be kept from run to run.
PORT = 8080

# So long it may take to end.
_END_SECONDS = 5.0


class DashboardProcess:
    """The process that serves the page.

    The socket is made here: so the address is known at once, and whoever opens it while the process starts waits a
    moment instead of being refused.

    Args:
        url: the database.
        dashboard: the port, or True for the usual one, or any if that is taken.
        errors_path: file for its log and standard error.
        loop: the kernel's loop, which notices its end.

    Raises:
        OptionalModuleMissing: when something that the page is built on is not installed.
    """

    def __init__(self, url: str, dashboard: bool | int, errors_path: str, loop: Loop) -> None:
        from parsl.monitoring.visualization.app import check_installed

        check_installed()
        self._config = url
        self._wanted = dashboard
        self._errors_path = errors_path
        self._loop = loop
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int | None:
        """Id of the process, None before the start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Listen, and start the process; its address is in `url` then.

        Raises:
            MonitoringHubStartError: when another program has the port.
        """
        with self._listen() as listening, open(self._errors_path, "ab") as errors:
            self.url = f"http://{ADDRESS}:{listening.getsockname()[1]}/"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parsl.monitoring.visualization.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(listening.fileno(),),
            )
            given = {"url": self._config, "fd": listening.fileno(), "token": None}
        assert self._process.stdin is not None
        try:
            # Less than a pipe holds, so that this waits for nobody. Not in the arguments, which all users can read:
            # the URL may hold a password.
            os.write(self._process.stdin.fileno(), json.dumps(given).encode() + b"\n")
        except BrokenPipeError:
            logger.debug("the page's process has ended before it read its configuration")
        self._loop.call(self._watch, self._process)
        logger.info("The live page of this run is at %s", self.url)

    def _listen(self) -> socket.socket:
        if self._wanted is True:
            try:
                return socket.create_server((ADDRESS, PORT), backlog=128)
            except OSError:
                return socket.create_server((ADDRESS, 0), backlog=128)
        try:
            return socket.create_server((ADDRESS, int(self._wanted)), backlog=128)
        except OSError as e:
            raise MonitoringHubStartError(
                f"the live page cannot listen on port {self._wanted}: {e.strerror}; dashboard=True takes any free one"
            ) from e

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._loop.add_reader(process.stdout, lambda: self._ended(process))

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        # It says nothing there: that it can be read means that the process is gone.
        if os.read(process.stdout.fileno(), 65536):
            return
        self._loop.remove_reader(process.stdout)
        logger.warning("The process of the live page has ended: the run goes on without. See %s", self._errors_path)

    def close(self) -> None:
        """End the process; not on the loop."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        self._loop.call(self._loop.remove_reader, process.stdout)
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
