"""The contract between the kernel and whatever runs its tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Protocol

from parsl.app.errors import RemoteExceptionWrapper
from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value

if TYPE_CHECKING:
    from typing_extensions import Self

    from parsl.data_provider.staging import Staging
    from parsl.dataflow.explanations import Cause
    from parsl.executors.errors import ExecutionLost


class Call(Protocol):
    """One attempt at a task, as an executor sees it. A task record is one."""

    id: int
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    resource_specification: dict[str, Any]
    executor_id: int | None
    usage: bytes | None

    def done(self, outcome: Outcome) -> None:
        """Say how the attempt ended, exactly once; may be called from any thread, and never blocks."""


class FutureCall:
    """A call whose outcome goes into a future of its own: what `submit` makes where there is no task record."""

    __slots__ = ("_begun", "args", "executor_id", "func", "future", "id", "kwargs", "resource_specification", "usage")

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        resource_specification: dict[str, Any],
        future: Future[Any],
    ) -> None:
        self.id = -1
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.resource_specification = resource_specification
        self.executor_id: int | None = None
        self.usage: bytes | None = None
        self.future = future
        self._begun = False

    def begin(self) -> bool:
        """Say that the call begins to run; return False when the holder of the future has cancelled it."""
        self._begun = True
        return self.future.set_running_or_notify_cancel()

    def done(self, outcome: Outcome) -> None:
        """Settle the future, unless its holder has cancelled it."""
        if not self._begun:
            self.begin()
        if self.future.cancelled():
            return
        if isinstance(outcome, Value) and isinstance(outcome.result, Reference):
            outcome.result.fetch(self.done)
        elif isinstance(outcome, Error):
            self.future.set_exception(outcome.exception)
        else:
            self.future.set_result(outcome.result)


def outcome_of(future: Future[Any]) -> Outcome:
    """Read the outcome of a future that is done; wrapped remote exceptions count as exceptions."""
    if future.cancelled():
        return Error(CancelledError())
    exception = future.exception()
    if exception is not None:
        return Error(exception)
    return outcome_of_result(future.result())


def outcome_of_result(result: Any) -> Outcome:
    """Make an outcome of what a remote function returned."""
    if isinstance(result, RemoteExceptionWrapper):
        return Error(result.get_exception())
    return Value(result)


class ParslExecutor(ABC):
    """Base of all executors: what the kernel relies on.

    A subclass implements `submit`, `start` and `shutdown`. The kernel sets `run_id`, `run_dir` and
    `monitoring_messages` before it calls `start`, calls `launch` (and so `submit`) from one thread only, and calls
    `shutdown` once.

    Attributes:
        label: name of the executor, unique in a kernel; apps name it in `executors=`.
        working_dir: folder into which files are staged, or None.
        storage_access: staging providers in order of preference, or None for the default ones.
        stops_calls: whether `cancel` stops a call that runs as well, so that each can be counted as cancelled at once.
        remote_monitoring_radio: how tasks send monitoring messages, or None for the executor's own way.
    """

    label: str = "undefined"
    radio_mode: str = "udp"
    working_dir: str | None = None
    storage_access: list[Staging] | None = None
    stops_calls: bool = False
    remote_monitoring_radio: Any = None
    hub_address: str | None = None
    hub_zmq_port: int | None = None
    submit_monitoring_radio: Any = None
    monitoring_messages: Any = None
    run_dir: str = "."
    run_id: str | None = None

    def __init__(
        self,
        *,
        hub_address: str | None = None,
        hub_zmq_port: int | None = None,
        submit_monitoring_radio: Any = None,
        run_dir: str = ".",
        run_id: str | None = None,
        monitoring_messages: Any = None,
    ) -> None:
        self.hub_address = hub_address
        self.hub_zmq_port = hub_zmq_port
        self.submit_monitoring_radio = submit_monitoring_radio
        self.monitoring_messages = monitoring_messages
        self.run_dir = run_dir
        self.run_id = run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    @abstractmethod
    def start(self) -> None:
        """Get ready to run tasks."""

    @abstractmethod
    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `func(*args, **kwargs)`.

        Args:
            func: what to call.
            resource_specification: what the call needs, in the executor's own terms.
            args: positional arguments of the call.
            kwargs: keyword arguments of the call.

        Returns:
            A future of the call's result.

        Raises:
            InvalidResourceSpecification: when the specification is not one that the executor understands.
        """

    def launch(self, call: Call) -> None:
        """Run a call whose end is told to `call.done`.

        The kernel uses this rather than `submit`; executors that can do without a future of their own override it.
        """
        future = self.submit(call.func, call.resource_specification, *call.args, **call.kwargs)
        call.executor_id = getattr(future, "parsl_executor_task_id", None)
        future.add_done_callback(lambda f: call.done(outcome_of(f)))

    def cancel(self, call: Call, answer: Callable[[bool], object]) -> None:
        """Try to cancel a launched call: drop it, or stop it if `stops_calls`; tell `answer` whether it worked.

        When it did, `call.done` is told a CancelledError first. May be asked by the kernel's loop only, and must
        not block. This default cancels nothing.
        """
        del call
        answer(False)

    def drop(self, call: Call) -> None:
        """Cancel a launched call if it has not begun; its end is told to `call.done`.

        By default what `cancel` does. Asked by the kernel's loop only, and must not block.
        """
        self.cancel(call, lambda _: None)

    def why_waiting(self, call: Call, answer: Callable[[Cause], object]) -> None:
        """Find out why a launched call has not ended, and tell `answer`, once, from any thread.

        Is asked by the kernel's loop only, and must not block. This default knows no more than that the executor has
        the call.
        """
        del call
        from parsl.dataflow.explanations import Cause, Reason

        answer(Cause(Reason.UNKNOWN, f"has been given to executor {self.label}, which does not tell what it does"))

    @abstractmethod
    def shutdown(self) -> None:
        """Stop running tasks and give back all resources; safe to call twice."""

    @property
    def in_use(self) -> bool:
        """Whether the executor has been started and not shut down, as far as it knows; a kernel takes none in use."""
        return False

    def runs_again(self, loss: ExecutionLost) -> bool:
        """Tell whether a task that was lost here would run if it were launched again.

        Args:
            loss: what the task was lost with.
        """
        del loss
        return True

    def room(self) -> Room | None:
        """Tell how much the executor has to do, and how much it can do: for tasks that may run on several executors.

        Asked at each launch of such a task, so it must be quick. This default cannot tell: None.
        """
        return None

    def monitor_resources(self) -> bool:
        """Tell whether the resources of tasks should be sampled on this executor."""
        return True
