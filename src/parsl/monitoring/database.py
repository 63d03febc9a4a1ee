"""The database process as the kernel's process sees it: started, woken, watched, started anew, and let go."""

from __future__ import annotations

import logging
import os
import selectors
import subprocess
import sys
import threading
import time
from typing import Any

from parsl.loop import Loop
from parsl.monitoring.errors import MonitoringHubStartError
from parsl.monitoring.journal import LENGTH
from parsl.serialize import facade

logger = logging.getLogger(__name__)

# How long it may take to be ready; loading the libraries takes most of it.
START_SECONDS = 60.0

# How long it tries to get at a database that somebody has locked when a run begins.
LOCKED_START_SECONDS = 30.0

# At the end of a run: without a word for so long it counts as frozen and is replaced.
SILENT_SECONDS = 5.0

# At the end of a run: for so long it is waited for while it cannot write.
LOCKED_SECONDS = 15.0

# So many processes are tried at the end of a run.
_LAST_ATTEMPTS = 3

# So many times in a row it is started anew without having written anything.
MOST_STARTS = 6
LONGEST_PAUSE = 10.0

# Processes that still write when their kernel has ended. Forgotten ones would be warned of.
_left_alone: list[subprocess.Popen[bytes]] = []


class DatabaseProcess:
    """The database process of one run.

    Args:
        config: what it is told: see `db_manager.serve`.
        errors_path: file for its standard error.
        loop: the kernel's loop, which notices its death.
    """

    def __init__(self, config: dict[str, Any], errors_path: str, loop: Loop) -> None:
        self._config = config
        self._errors_path = errors_path
        self._loop = loop
        self._process: subprocess.Popen[bytes] | None = None
        # Woken from the journal's thread, replaced on the loop.
        self._lock = threading.Lock()
        self._starts = 0
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Id of the process, None before the start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process and wait until it has opened the database.

        Raises:
            MonitoringHubStartError: when it cannot; the text says why.
        """
        process = self._spawn()
        answer = self._first_line(process)
        if answer != "READY":
            with self._lock:
                self._process = None
            process.kill()
            self._close_pipes(process)
            process.wait()
            raise MonitoringHubStartError(answer.removeprefix("ERROR ") or self._last_words())
        self._loop.call(self._watch, process)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with open(self._errors_path, "ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "parsl.monitoring.db_manager"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        given = facade.serialize(self._config).partition(b"\n")[2]
        try:
            # Less than a pipe holds, so that this waits for nobody.
            os.write(process.stdin.fileno(), LENGTH.pack(len(given)) + given)
        except BrokenPipeError:
            logger.debug("the database process has ended before it read its configuration")
        os.set_blocking(process.stdin.fileno(), False)
        with self._lock:
            self._process = process
        return process

    def _first_line(self, process: subprocess.Popen[bytes]) -> str:
        """Return the first line that the process prints; empty when it ends without one."""
        assert process.stdout is not None
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(START_SECONDS):
                    return f"ERROR its process did not get ready within {START_SECONDS:g} s"
                # One byte at a time: what follows the line is read elsewhere.
                part = os.read(process.stdout.fileno(), 1)
                if not part:
                    break
                line += part
        return line.decode(errors="replace").strip()

    def _last_words(self) -> str:
        with open(self._errors_path, encoding="utf-8", errors="replace") as file:
            return f"its process ended, and said:\n{file.read()[-2000:].strip()}"

    # -- while the run lasts -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Tell the process that there is more in the journal; from any thread."""
        with self._lock:
            stdin = None if self._process is None else self._process.stdin
            if stdin is None or stdin.closed:
                return
            try:
                os.write(stdin.fileno(), b".")
            except BlockingIOError:
                pass  # it has enough to read
            except BrokenPipeError:
                pass  # it has died, which the loop notices

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._loop.add_reader(process.stdout, lambda: self._heard(process))

    def _heard(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        said = os.read(process.stdout.fileno(), 65536)
        if b"." in said:
            self._starts = 0
        if said or self._closing:
            return
        self._loop.remove_reader(process.stdout)
        with self._lock:
            self._close_pipes(process)
        self._starts += 1
        # Its standard output is closed, so its end has come or is near.
        process.kill()
        process.wait()
        self._again(process)

    def _again(self, dead: subprocess.Popen[bytes]) -> None:
        if self._closing:
            return
        code = dead.poll()
        if self._starts > MOST_STARTS:
            logger.error(
                "The monitoring database's process ends again and again (last with %s): the run goes on without, and "
                "its journal is kept. See %s",
                code,
                self._errors_path,
            )
            return
        logger.warning("The monitoring database's process has ended (%s) and is started anew", code)
        pause = min(LONGEST_PAUSE, 0.5 * (2 ** (self._starts - 1)) - 0.5)
        self._loop.call_later(pause, self._restart)

    def _restart(self) -> None:
        if self._closing:
            return
        try:
            self._watch(self._spawn())
        except OSError:
            logger.exception("The monitoring database's process cannot be started")
            self._starts += 1
            self._loop.call_later(LONGEST_PAUSE, self._restart)

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> bool:
        """Wait until all of the journal, which is complete by now, is in the database; not on the loop.

        Returns:
            Whether it is. If not, the journal is kept; a process that is only waiting for somebody's lock is left to
            finish by itself.
        """
        self._loop.call(self._unwatch)
        process, fresh = self._process, False
        for _ in range(_LAST_ATTEMPTS):
            if process is None or process.poll() is not None or process.stdin is None or process.stdin.closed:
                process, fresh = self._last_spawn(process), True
            end = self._wait(process, START_SECONDS if fresh else SILENT_SECONDS)
            if end == "locked":
                return self._leave_alone(process)
            if end == "silent":
                logger.warning("The monitoring database's process says nothing and is replaced")
                process.kill()
            self._close_pipes(process)
            if process.wait() == 0:
                return True
        return False

    def _leave_alone(self, process: subprocess.Popen[bytes]) -> bool:
        logger.warning(
            "The monitoring database cannot be written now: process %d goes on trying after this run", process.pid
        )
        self._close_pipes(process)
        _left_alone.append(process)
        return False

    def _last_spawn(self, dead: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if dead is not None:
            self._close_pipes(dead)
            dead.wait()
        return self._spawn()

    def _unwatch(self) -> None:
        self._closing = True
        if self._process is not None and self._process.stdout is not None and not self._process.stdout.closed:
            self._loop.remove_reader(self._process.stdout)

    def _wait(self, process: subprocess.Popen[bytes], patience: float) -> str:
        """Wait for the process to end while it gets on; return 'ended', 'silent' or 'locked'.

        Args:
            process: the process.
            patience: seconds to wait for its first word.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            process.stdin.close()
        os.set_blocking(process.stdout.fileno(), False)
        got_on = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(patience):
                    return "silent"
                patience = SILENT_SECONDS
                said = os.read(process.stdout.fileno(), 65536)
                if not said:
                    return "ended"
                if b"." in said or b"READY" in said:
                    got_on = time.monotonic()
                elif time.monotonic() - got_on > LOCKED_SECONDS:
                    return "locked"

    @staticmethod
    def _close_pipes(process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
