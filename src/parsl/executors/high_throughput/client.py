"""The submitting side of the pilot: the interchange process, the connection to it, and the calls on their way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.commands import CommandClient
from parsl.executors.high_throughput.connected import Connected
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.executors.high_throughput.function_book import FunctionBook
from parsl.executors.high_throughput.interchange_keeper import InterchangeKeeper
from parsl.executors.high_throughput.interchange_process import (
    InterchangeProcess,
    InterchangeStartError,
    interchange_command,
)
from parsl.executors.high_throughput.large_arguments import LargeArguments
from parsl.executors.high_throughput.losses import loss_error
from parsl.executors.high_throughput.messages import (
    CANCELLED,
    DONE,
    RAISED,
    Answer,
    Cancel,
    Drain,
    Emptied,
    Heartbeat,
    Held,
    Hold,
    Managers,
    Payload,
    Result,
    Results,
    Stop,
    Submit,
    Task,
    Trouble,
)
from parsl.executors.high_throughput.restarting import Restarting
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.streams import Stream
from parsl.executors.remote_call import note
from parsl.serialize import facade

if TYPE_CHECKING:
    import socket
    import subprocess

    from parsl.executors.base import Call
    from parsl.executors.high_throughput.interchange_config import InterchangeConfig
    from parsl.executors.high_throughput.manager_selector import ManagerSelector
    from parsl.executors.high_throughput.recovery import Recovery
    from parsl.loop import Loop, Timer

logger = logging.getLogger(__name__)


# Bytes of large arguments that are stored before the calls that have them are sent.
LARGEST_UNSENT = 4 * 2**20


class InterchangeClient(Restarting):
    """An interchange process and the calls that were given to it.

    All methods but `start` and `shutdown` are called on the loop.

    Args:
        loop: the loop of this process.
        label: the executor's label, for messages.
        on_lost: called with an exception when the executor can go on no more.
        on_monitoring: called with each monitoring message that workers send.
    """

    def __init__(
        self,
        loop: Loop,
        label: str,
        on_lost: Callable[[Exception], object],
        on_monitoring: Callable[[bytes], object],
    ) -> None:
        self._loop = loop
        self._label = label
        self._on_lost = on_lost
        self._on_monitoring = on_monitoring
        self.store = SegmentStore()
        self.calls: dict[int, Call] = {}
        self.last_number = 0
        self.connected = Connected()
        self.after_flush: Callable[[], object] | None = None
        # Called when blocks have come, gone or begun to leave (with: whether one has gone), and when one is emptied.
        self.blocks_changed: Callable[[bool], object] = lambda _gone: None
        self.emptied: Callable[[str], object] = lambda _block: None
        # Told of managers that came, changed or went, before this object takes note.
        self.on_managers: Callable[[Managers], object] | None = None
        self.commands = CommandClient(loop, self._send)
        self._codec = messages.to_client()
        self._outgoing: list[Task] = []
        self._large = LargeArguments(self.store, self._send_large, self._end_unsent)
        # For each call that is to be cancelled, who wants to know; of some the interchange is still to be told.
        self._cancelling: dict[int, Callable[[bool], object]] = {}
        self._to_cancel: list[int] = []
        # Calls that are to be cancelled if they have not begun.
        self._to_drop: list[int] = []
        self._unsent = 0
        self._functions = FunctionBook()
        # What is not to be found in a call itself, should it be sent again.
        self._packed: dict[int, bytes] = {}
        self._resources: dict[int, dict[str, Any]] = {}
        self._held: set[str] = set()
        self._drained: set[str] = set()
        self._stream: Stream | None = None
        self._keeper: InterchangeKeeper | None = None
        self._recovery: Recovery | None = None
        self._recovery_timer: Timer | None = None
        self._closing = False

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The file-system socket where the interchange finds this client."""
        return f"{self.store.folder}/client"

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The interchange process."""
        return None if self._keeper is None else self._keeper.process.process

    def start(
        self, command: Sequence[str], config: InterchangeConfig, selector: ManagerSelector, log_config: Any
    ) -> int:
        """Start the interchange and wait until it listens.

        Returns:
            The TCP port on which it listens for managers.

        Raises:
            InterchangeStartError: when it does not start; the text has its own words.
        """
        process = InterchangeProcess(self._label, command, config, selector, log_config)
        keeper = InterchangeKeeper(
            self._loop, self._label, process, self._beat, self._connect, self._interchange_is_lost
        )
        connection = process.start()
        self._keeper = keeper
        self._loop.call(self._begin, connection)
        return process.port

    def _begin(self, connection: socket.socket) -> None:
        self._loop.at_pass_end(self._flush)
        self._connect(connection)

    def shutdown(self) -> None:
        """End the interchange, and close all that is open; from any thread, once."""
        self._closing = True
        if self._keeper is not None:
            self._loop.call(self._disconnect)
            # It ends by the message, or at the latest by the end of the stream.
            self._keeper.close()
        self.store.close()

    def _disconnect(self) -> None:
        assert self._keeper is not None
        self._keeper.stop()
        self._send(Stop())
        self.commands.close()
        self._loop.remove_hook(self._flush)
        if self._recovery_timer is not None:
            self._recovery_timer.cancel()
        if self._stream is not None:
            self._stream.close(linger=1000)
            self._stream = None

    # -- calls ---------------------------------------------------------------------------------------------------

    def launch(self, call: Call, resources: dict[str, Any]) -> int:
        """Send a call to the workers; its end is told to `call.done`.

        Args:
            call: the call.
            resources: its resource specification, as the interchange is to see it.

        Returns:
            The call's number.

        Raises:
            SerializationError: when function or arguments cannot be packed.
        """
        function = self._functions.number_of(call.func)
        body, buffers = self._pack(call, function)
        return self._add(call, function, body, buffers, resources or None)

    @staticmethod
    def _pack(call: Call, function: int) -> tuple[bytes, Sequence[Any]]:
        if function:
            return facade.pack_arguments(call.args, call.kwargs)
        return facade.pack_apply_message(call.func, call.args, call.kwargs), []

    def launch_packed(self, call: Call, apply_message: bytes) -> int:
        """Send a call that was packed by `pack_apply_message`; return its number."""
        number = self._add(call, 0, apply_message, [], call.resource_specification or None)
        self._packed[number] = apply_message
        return number

    def _add(
        self, call: Call, function: int, body: bytes, buffers: Sequence[Any], resources: dict[str, Any] | None
    ) -> int:
        number = self.last_number + 1
        if resources is not None:
            # An object that cannot be sent is the error of this call here, and would be that of all in one message.
            self._codec.encode(resources)
        # Raises OSError where there is no room for large arguments, and the call is none then.
        self._post(number, function, body, buffers, resources)
        self.last_number = number
        self.calls[number] = call
        if resources is not None:
            self._resources[number] = resources
        return number

    def cancel(self, call: Call, answer: Callable[[bool], object]) -> None:
        """Drop a call wherever it is, or stop it.

        Args:
            call: the call; its end is told to `call.done` in any case.
            answer: called after that with whether it was cancelled.
        """
        number = call.executor_id
        if number is None or number not in self.calls:
            answer(False)
            return
        before = self._cancelling.get(number)
        if before is None:
            self._cancelling[number] = answer
            self._to_cancel.append(number)
        else:
            self._cancelling[number] = lambda done: (before(done), answer(done))

    def drop(self, call: Call) -> None:
        """Cancel a call unless a worker has begun it."""
        if call.executor_id in self.calls:
            self._to_drop.append(call.executor_id)

    def locate(self, number: int, answer: Callable[[Any], object], *, nodes: bool = False) -> None:
        """Find out where an open call is: `answer` is told what `whereabouts.find` says, or `{"held": bytes}`.

        With `nodes` the manager that has it is asked as well: see `Inquiries`.
        """
        if number in self._large.waiting:
            answer({"held": self._large.in_flight})
            return
        # After all that is still to go out, so that the interchange knows the call.
        self._flush()
        self.commands.ask(f"{'NODES' if nodes else 'TASK'};{number}", answer)

    def hold(self, manager: str) -> None:
        """Have a manager given no further task."""
        self._held.add(manager)
        self._send(Hold(manager))

    def drain(self, block: str) -> None:
        """Have a block emptied; `emptied` is called once nothing is lost with it."""
        self._drained.add(block)
        if self._recovery is None:
            self._send(Drain(block))

    def fail_all(self, exception: Exception) -> None:
        """End all calls with an exception."""
        calls, self.calls = self.calls, {}
        self._outgoing.clear()
        self._large.waiting.clear()
        self._resources.clear()
        self._packed.clear()
        for number, call in calls.items():
            self._large.drop(number)
            call.done(Error(exception))
            if number in self._cancelling:
                self._cancelling.pop(number)(False)

    def _post(self, number: int, function: int, body: bytes, buffers: Sequence[Any], resources: Any) -> None:
        if not buffers and len(body) < 1024:
            self._outgoing.append(Task(number, function, Payload(body), resources))
        else:
            self._large.post(number, function, body, buffers, resources)

    def _send_large(self, task: Task, size: int) -> None:
        self._outgoing.append(task)
        self._unsent += size
        if self._unsent > LARGEST_UNSENT:
            # Workers need not wait until the last of many large arguments has been written.
            self._flush()

    def _end_unsent(self, number: int, error: OSError) -> None:
        self._close_call(number).done(Error(error))

    def _close_call(self, number: int) -> Call:
        """Strike a call off all lists."""
        self._forget_extras(number)
        return self.calls.pop(number)

    def _forget_extras(self, number: int) -> None:
        self._resources.pop(number, None)
        self._packed.pop(number, None)

    # -- messages ------------------------------------------------------------------------------------------------

    def _send(self, message: Any) -> None:
        if self._stream is not None:
            self._stream.send([self._codec.encode(message)])

    def _flush(self) -> None:
        self._unsent = 0
        if self._stream is None:
            return  # what has gathered goes to the next interchange
        if self._outgoing or self._functions.some_dead:
            tasks, self._outgoing = self._outgoing, []
            self._send(Submit(tasks, self._functions.take_new(), self._functions.take_dead()))
            if self.after_flush is not None:
                self.after_flush()
        if self._recovery is not None:
            return  # it does not know yet what is to be cancelled
        # When all that was launched before has left, so that the interchange knows those that are meant.
        if self._to_cancel:
            numbers, self._to_cancel = self._to_cancel, []
            self._tell_cancelled(numbers, stop=True)
        if self._to_drop:
            numbers, self._to_drop = self._to_drop, []
            self._tell_cancelled(numbers, stop=False)

    def _tell_cancelled(self, numbers: list[int], *, stop: bool) -> None:
        unsent = self._large.take_out(numbers)
        for number in unsent:
            self._ended(Result(number, CANCELLED, Payload(b"")))
        self._send(Cancel([number for number in numbers if number not in unsent], stop))

    def _received(self, data: memoryview) -> None:
        message = self._codec.decode(data)
        if isinstance(message, Results):
            for result in message.results:
                self._ended(result)
        elif isinstance(message, Heartbeat):
            if self._keeper is not None:
                self._keeper.heard()
        elif isinstance(message, messages.Monitoring):
            self._on_monitoring(message.body)
        elif isinstance(message, Answer):
            self.commands.answered(message)
        elif isinstance(message, Trouble):
            self._take_trouble(message)
        else:
            self._take_news(message)

    def _take_trouble(self, trouble: Trouble) -> None:
        if trouble.kind == "files":
            logger.error("Executor %s: %s", self._label, trouble.text)
            return
        ours, _, theirs = trouble.text.partition("; ")
        self._on_lost(VersionMismatch(ours, theirs))

    def _take_news(self, news: Managers | Held | Emptied) -> None:
        """Take in what is told of managers and blocks."""
        if isinstance(news, Held):
            if self._recovery is not None:
                self._recovery.held(news.manager, news.tasks)
                self._check_recovery()
        elif isinstance(news, Emptied):
            self._drained.discard(news.block)
            self.emptied(news.block)
        else:
            if self.on_managers is not None:
                self.on_managers(news)
            changed, gone = self.connected.update(news)
            self._held.difference_update(news.gone)
            if changed:
                self.blocks_changed(gone)

    def _ended(self, result: Result) -> None:
        call = self.calls.pop(result.id, None)
        if self._resources or self._packed:
            self._forget_extras(result.id)
        if call is None:
            # Also what a manager says again since it does not know that the dead interchange had passed it on.
            logger.info("A result for call %d of executor %s is dropped: no such call is open", result.id, self._label)
            self._drop(result.payload)
            return
        try:
            outcome = self._outcome(result, call)
        except Exception as e:  # noqa: BLE001 - what cannot be unpacked is the error of that one task
            outcome = Error(e)
        if result.payload.segment is not None:
            self._drop(result.payload)
        if self._large.held:
            self._large.drop(result.id)
        if result.usage:
            call.usage = result.usage
        if self._cancelling and result.id in self._cancelling:
            self._end_cancelled(result, call, outcome)
        else:
            call.done(outcome)

    def _end_cancelled(self, result: Result, call: Call, outcome: Outcome) -> None:
        # What is lost while it is being cancelled is not to be tried again.
        cancelled = result.status > RAISED
        call.done(Error(CancelledError(f"task {call.id} was cancelled")) if cancelled else outcome)
        self._cancelling.pop(result.id)(cancelled)

    def _drop(self, payload: Payload) -> None:
        try:
            self.store.drop(payload)
        except (OSError, ValueError) as e:
            logger.warning("Something of a result stays in the segment store: %s", e)

    def _outcome(self, result: Result, call: Call) -> Outcome:
        if result.status <= RAISED:
            body, buffers = self.store.open(result.payload)
            value = facade.unpack(body, buffers)
            if result.status == DONE:
                return Value(value)
            wrapper, where = value
            exception = wrapper.get_exception()
            note(exception, f"in task {call.id} on {where}")
            return Error(exception)
        if result.status == CANCELLED:
            return Error(CancelledError(f"task {call.id} was cancelled"))
        return Error(loss_error(result, call.id))


__all__ = ["InterchangeClient", "InterchangeStartError", "interchange_command"]
