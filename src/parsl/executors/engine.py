"""What executors on somebody else's engine have in common: calls packed to bytes, the engine's futures, their ends."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome
from parsl.errors import ConfigurationError
from parsl.executors.base import FutureCall, ParslExecutor
from parsl.executors.errors import ExecutorShutDownError
from parsl.executors.remote_call import pack_call

if TYPE_CHECKING:
    from parsl.dataflow.explanations import Cause
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)

# A cluster that somebody else scales is asked for its size at most so often.
_SIZE_SECONDS = 2.0


class ClusterSize:
    """How many tasks a cluster runs at once, which somebody else scales; told without waiting for the cluster.

    Args:
        ask: asks the cluster; may block. What it raises is logged, and the last answer stays.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._slots: float | None = None
        self._asked = -_SIZE_SECONDS
        self._asking: threading.Thread | None = None

    def start(self) -> None:
        """Ask for the first time, and wait for the answer."""
        self._refresh()

    def room(self, outstanding: int) -> Room | None:
        """Tell how many calls there are for how many slots, as last known; None before the first answer.

        An answer that is old is asked for anew, on a thread that ends with the answer. From one thread only.
        """
        if self._asking is None and time.monotonic() - self._asked >= _SIZE_SECONDS:
            self._asking = threading.Thread(target=self._refresh, name="parsl-cluster-size", daemon=True)
            self._asking.start()
        slots = self._slots
        # A cluster that has shrunk to nothing grows again when there is something to do.
        return None if slots is None else Room(outstanding, slots, max(slots, 1))

    def _refresh(self) -> None:
        try:
            self._slots = self._ask()
        except Exception:
            logger.exception("A cluster did not tell its size")
        self._asked = time.monotonic()
        self._asking = None

    def close(self) -> None:
        """Wait a little for the answer that is still to come, if there is one."""
        asking = self._asking
        if asking is not None:
            asking.join(_SIZE_SECONDS)


class EngineExecutor(ParslExecutor):
    """Base of executors whose engine takes a function with its arguments and returns a future.

    A subclass starts and stops the engine, hands it a packed call (`_send`), cancels one (`_revoke`), and tells the end
    of each with `_ended`, from any thread.
    """

    def __init__(self, **options: Any) -> None:
        # To the next base, for executors that have two.
        super().__init__(**options)
        self._open: dict[int, Call] = {}
        self._handles: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._started = False

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def _start_engine(self) -> None:
        """Connect to the engine, or start it."""

    @abstractmethod
    def _stop_engine(self) -> None:
        """Let go of the engine, and end it if it was started here."""

    @abstractmethod
    def _send(self, number: int, packed: Any, references: Sequence[Reference], resources: dict[str, Any]) -> Any:
        """Hand a packed call to the engine; return the engine's handle of it. Must not block."""

    def _pack(self, call: Call) -> tuple[Any, Sequence[Reference]]:
        """Pack a call for `_send`, with the references among its arguments; workers run `remote_call.run_packed`.

        Raises:
            SerializationError: naming the argument that cannot be packed.
        """
        return pack_call(call.func, call.args, call.kwargs)

    @abstractmethod
    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        """Have the engine drop a call that has not started; tell `answer` whether it did. Must not block."""

    def _check_resources(self, resources: dict[str, Any]) -> None:
        """Raise InvalidResourceSpecification for a specification that the engine does not understand."""

    # -- the executor --------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        """Whether the executor has been started and not shut down."""
        return self._started

    def start(self) -> None:
        """Connect to the engine, or start it.

        Raises:
            ConfigurationError: when another kernel uses this very object.
        """
        if self._started:
            msg = f"Executor {self.label!r} is running already: each kernel needs executor objects of its own"
            raise ConfigurationError(msg)
        self._start_engine()
        self._started = True

    def launch(self, call: Call) -> None:
        """Hand a call to the engine; its end is told to `call.done`."""
        if not self._started:
            raise ExecutorShutDownError(self.label)
        if call.resource_specification:
            self._check_resources(call.resource_specification)
        packed, references = self._pack(call)
        number = next(self._numbers)
        # Before the engine knows the call: its end may be told before `_send` returns.
        self._open[number] = call
        call.executor_id = number
        try:
            self._handles[number] = self._send(number, packed, references, call.resource_specification)
        except BaseException:
            self._open.pop(number, None)
            raise
        if number not in self._open:
            self._handles.pop(number, None)

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `func(*args, **kwargs)` on the engine, for callers that use the executor without a kernel."""
        call = FutureCall(func, args, kwargs, resource_specification, Future())
        self.launch(call)
        return call.future

    def cancel(self, call: Call, answer: Callable[[bool], object]) -> None:
        """Have the engine drop a call that it has not started."""
        number = call.executor_id
        if number is None or self._open.get(number) is not call or number not in self._handles:
            answer(False)
            return

        def revoked(done: bool) -> None:
            if done:
                self._ended(number, Error(CancelledError(f"task {call.id} was cancelled")))
            answer(done)

        self._revoke(number, self._handles[number], revoked)

    def why_waiting(self, call: Call, answer: Callable[[Cause], object]) -> None:
        """Tell whether the engine runs a call, as far as its future says so."""
        from parsl.dataflow.explanations import Cause, Reason, plural

        running = getattr(self._handles.get(call.executor_id or 0), "running", None)
        have = f"the engine of executor {self.label}, which has {plural(len(self._open), 'call')}"
        if running is None:
            answer(Cause(Reason.UNKNOWN, f"is with {have}"))
        elif running():
            answer(Cause(Reason.RUNNING, f"is running on {have}, or about to"))
        else:
            answer(Cause(Reason.QUEUED, f"is queued by {have}"))

    def outstanding(self) -> int:
        """Return how many calls have been launched and have not ended."""
        return len(self._open)

    def shutdown(self) -> None:
        """Let go of the engine; calls that have not ended get ExecutorShutDownError."""
        if not self._started:
            return
        self._started = False
        for number in list(self._open):
            self._ended(number, Error(ExecutorShutDownError(self.label)))
        self._stop_engine()

    def monitor_resources(self) -> bool:
        """The engine watches its own workers."""
        return False

    def _ended(self, number: int, outcome: Outcome) -> None:
        """Tell how a call ended: the first word counts. From any thread."""
        call = self._open.pop(number, None)
        self._handles.pop(number, None)
        if call is not None:
            call.done(outcome)
