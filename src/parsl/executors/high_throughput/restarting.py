"""The client's part in going on with another interchange when one has died."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.dataflow.taskrecord import Error
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    Drain,
    Heartbeat,
    Hold,
    Managers,
    Payload,
    Result,
    Task,
)
from parsl.executors.high_throughput.recovery import Recovery
from parsl.executors.high_throughput.streams import Stream

if TYPE_CHECKING:
    import socket

    from parsl.executors.base import Call
    from parsl.executors.high_throughput.commands import CommandClient
    from parsl.executors.high_throughput.connected import Connected
    from parsl.executors.high_throughput.function_book import FunctionBook
    from parsl.executors.high_throughput.interchange_keeper import InterchangeKeeper
    from parsl.executors.high_throughput.large_arguments import LargeArguments
    from parsl.loop import Loop, Timer

logger = logging.getLogger(__name__)

# How long managers may take to come back to the next interchange when one has died.
RECONNECT_SECONDS = 10.0


class Restarting:
    """The connection of an `InterchangeClient` to one interchange after another; on the loop."""

    calls: dict[int, Call]
    commands: CommandClient
    connected: Connected
    _cancelling: Mapping[int, Any]
    _closing: bool
    _drained: set[str]
    _functions: FunctionBook
    _held: set[str]
    _keeper: InterchangeKeeper | None
    _label: str
    _large: LargeArguments
    _loop: Loop
    _on_lost: Callable[[Exception], object]
    _outgoing: list[Task]
    _packed: Mapping[int, bytes]
    _recovery: Recovery | None
    _recovery_timer: Timer | None
    _resources: Mapping[int, dict[str, Any]]
    _stream: Stream | None
    _to_cancel: list[int]

    # -- what the client does ------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def _pack(call: Call, function: int) -> tuple[bytes, Sequence[Any]]:
        """Pack the arguments of a call, or with no number of a function the whole call."""

    @abstractmethod
    def _post(self, number: int, function: int, body: bytes, buffers: Sequence[Any], resources: Any) -> None:
        """Have a call sent with the next messages."""

    @abstractmethod
    def _flush(self) -> None:
        """Send what has gathered."""

    @abstractmethod
    def _send(self, message: Any) -> None:
        """Send a message, if there is an interchange."""

    @abstractmethod
    def _received(self, data: memoryview) -> None:
        """Take a message."""

    @abstractmethod
    def _take_news(self, news: Managers) -> None:
        """Take in what is told of managers."""

    @abstractmethod
    def _ended(self, result: Result) -> None:
        """Take the end of a call."""

    @abstractmethod
    def _close_call(self, number: int) -> Call:
        """Strike a call off all lists."""

    # -- one interchange after another ---------------------------------------------------------------------------

    def _connect(self, connection: socket.socket) -> None:
        """Go on with an interchange: the first one, or the next after one has died."""
        assert self._keeper is not None
        self._stream = Stream(self._loop, connection, self._received, self._interchange_ended)
        self._keeper.watch()
        if self._recovery is not None:
            self._functions.renew()
            self._recovery_timer = self._loop.call_later(RECONNECT_SECONDS, self._recovered)
            self._check_recovery()

    def _beat(self) -> None:
        self._send(Heartbeat())

    def _interchange_ended(self) -> None:
        assert self._keeper is not None
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._recovery_timer is not None:
            self._recovery_timer.cancel()
        if not self._closing:
            unsent = {task.id for task in self._outgoing} | self._large.waiting.keys()
            self._recovery = Recovery(self.calls.keys() - unsent, self.connected.managers)
            self.commands.pause()
        self._keeper.ended()

    def _interchange_is_lost(self, error: Exception) -> None:
        self.commands.close()
        self._on_lost(error)

    def _check_recovery(self) -> None:
        if self._recovery is not None and self._recovery.complete:
            self._recovered()

    def _recovered(self) -> None:
        """All that is known of the calls of a dead interchange is known now: send again those that nobody has."""
        recovery, self._recovery = self._recovery, None
        if self._recovery_timer is not None:
            self._recovery_timer.cancel()
            self._recovery_timer = None
        if recovery is None:
            return
        again = [number for number in recovery.nowhere() if number in self.calls]
        logger.warning(
            "The interchange of executor %s is back. %d of %d open calls were with nobody, and are sent again%s",
            *(self._label, len(again), len(self.calls)),
            f"; not back: managers {', '.join(sorted(recovery.awaited))}" if recovery.awaited else "",
        )
        for number in again:
            if number in self._cancelling:
                self._ended(Result(number, CANCELLED, Payload(b"")))
            else:
                self._send_again(number)
        self._take_news(Managers([], sorted(recovery.awaited)))
        self._to_cancel = list(self._cancelling)
        self._flush()
        for manager in self._held:
            self._send(Hold(manager))
        for block in self._drained:
            self._send(Drain(block))
        self.commands.resume()

    def _send_again(self, number: int) -> None:
        call = self.calls[number]
        resources = self._resources.get(number)
        payload = self._large.held.get(number)
        try:
            function = 0 if number in self._packed else self._functions.number_of(call.func)
            if payload is not None:
                self._outgoing.append(Task(number, function, payload, resources))
            elif number in self._packed:
                self._post(number, 0, self._packed[number], [], resources)
            else:
                self._post(number, function, *self._pack(call, function), resources)
        except Exception as e:  # noqa: BLE001 - what cannot be packed any more is the error of that one call
            self._close_call(number).done(Error(e))
