"""Who sees to it that there is an interchange: notices its death or frozen state, and starts the next one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from parsl.executors.high_throughput.errors import InterchangeLost
from parsl.executors.high_throughput.interchange_process import InterchangeProcess, InterchangeStartError
from parsl.executors.high_throughput.recovery import FROZEN, Pulse, RestartLimit

if TYPE_CHECKING:
    import socket

    from parsl.loop import Loop, Timer

logger = logging.getLogger(__name__)

# The interchange is asked for a sign of life once in a while; see `Pulse`.
BEAT_SECONDS = 0.8
SILENCE_SECONDS = 1.2
PATIENCE_SECONDS = 30.0

# An interchange that has died so often in a minute will die again.
MOST_RESTARTS = 5
RESTARTS_WITHIN = 60.0

# After a start that failed: whoever has the port may give it back.
PAUSE_SECONDS = 0.3

_AND = "\nAnd it could not be started again: "


class InterchangeKeeper:
    """Keeps an interchange process running; all methods but `start` and `close` are called on the loop.

    Args:
        loop: the loop of this process.
        label: the executor's label, for messages.
        process: the interchange.
        beat: sends it a sign of life, which it answers.
        on_started: called with the connection to each interchange after the first.
        on_lost: called with an exception when there will be no other.
    """

    def __init__(
        self,
        loop: Loop,
        label: str,
        process: InterchangeProcess,
        beat: Callable[[], object],
        on_started: Callable[[socket.socket], object],
        on_lost: Callable[[Exception], object],
    ) -> None:
        self._loop = loop
        self._label = label
        self.process = process
        self._beat = beat
        self._on_started = on_started
        self._on_lost = on_lost
        self._limit = RestartLimit(MOST_RESTARTS, RESTARTS_WITHIN)
        self._pulse: Pulse | None = None
        self._timer: Timer | None = None
        self._frozen = False
        self._closing = False
        self._starter: threading.Thread | None = None

    def start(self) -> socket.socket:
        """Start the first interchange, and wait until it listens.

        Returns:
            The connection to it.

        Raises:
            InterchangeStartError: when it does not start.
        """
        return self.process.start()

    def watch(self) -> None:
        """Begin to look whether the interchange answers."""
        self._frozen = False
        self._pulse = Pulse(BEAT_SECONDS, SILENCE_SECONDS, PATIENCE_SECONDS, time.monotonic())
        self._timer = self._loop.call_later(BEAT_SECONDS, self._look)
        self._beat()

    def heard(self) -> None:
        """Note that the interchange has answered."""
        if self._pulse is not None:
            self._pulse.heard(time.monotonic())

    def _look(self) -> None:
        if self._pulse is None:
            return
        if self._pulse.look(time.monotonic(), self.process.processor_seconds) == FROZEN:
            logger.error("The interchange of executor %s does not answer, and is killed", self._label)
            self._frozen = True
            # The end of its connection brings the rest about.
            self.process.kill()
            return
        self._beat()
        self._timer = self._loop.call_later(BEAT_SECONDS, self._look)

    def ended(self) -> None:
        """The connection to the interchange has ended: start another one, unless that has happened too often."""
        self._stop_looking()
        if self._closing:
            return
        how = self.process.post_mortem()
        if self._frozen:
            how = f"it did not answer any more, and was killed ({how})"
        self._start_anew(how)

    def _start_anew(self, how: str) -> None:
        if self._closing:
            return
        lost = InterchangeLost(self._label, how)
        if not self._limit.allows(time.monotonic()):
            lost = InterchangeLost(self._label, f"{how}\nIt was started again {MOST_RESTARTS} times in a minute before")
            self._on_lost(lost)
            return
        logger.error("%s. It is started again", lost)
        # Not on the loop: it takes a while until it listens.
        self._starter = threading.Thread(target=self._restart, args=(how,), name="parsl-restart", daemon=True)
        self._starter.start()

    def _restart(self, how: str) -> None:
        try:
            connection = self.process.start()
        except (InterchangeStartError, OSError) as e:
            how = how.partition(_AND)[0] + f"{_AND}{e}"
            self._loop.post(self._loop.call_later, PAUSE_SECONDS, self._start_anew, how)
            return
        # Posted, since who waits for this thread may be the loop.
        if self._closing:
            connection.close()
        else:
            self._loop.post(self._restarted, connection)

    def _restarted(self, connection: socket.socket) -> None:
        if self._closing:
            connection.close()
        else:
            self._on_started(connection)

    def _stop_looking(self) -> None:
        self._pulse = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """Start no other interchange; on the loop."""
        self._closing = True
        self._stop_looking()

    def close(self) -> None:
        """Wait until the interchange, which has been told to end, has ended; not on the loop."""
        self._closing = True
        starter = self._starter
        if starter is not None:
            if self.process.process is not None:
                self.process.kill()
            starter.join()
        if self.process.process is not None:
            self.process.wait_for_end()
