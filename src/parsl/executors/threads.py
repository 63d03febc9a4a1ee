"""An executor on threads of the process that submits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.dataflow.admission import exempt_this_thread
from parsl.dataflow.placement import Room
from parsl.dataflow.taskrecord import Error, Outcome
from parsl.errors import ConfigurationError
from parsl.executors.base import FutureCall, ParslExecutor, outcome_of_result
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.dataflow.explanations import Cause
    from parsl.executors.base import Call


logger = logging.getLogger(__name__)

# How long threads that run no call are given to end; they need a fraction of a millisecond.
_IDLE_THREADS_END_S = 0.5


class ThreadPoolExecutor(ParslExecutor, RepresentationMixin):
    """Runs tasks on threads of this process: for tasks that wait, or that leave Python for long.

    Args:
        label: name of the executor.
        max_threads: how many tasks may run at once; at least 1.
        thread_name_prefix: begin of the threads' names; None takes the label.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.
        remote_monitoring_radio: how tasks send monitoring messages, or None for the default.

    Raises:
        TypeError: when an argument is of a wrong type.
        ValueError: when `max_threads` is not positive.
    """

    @check_types
    def __init__(
        self,
        label: str = "threads",
        max_threads: int = 2,
        thread_name_prefix: str | None = None,
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
        remote_monitoring_radio: Any = None,
    ) -> None:
        ParslExecutor.__init__(self)
        if max_threads < 1:
            msg = f"ThreadPoolExecutor: parameter 'max_threads' must be at least 1, but got {max_threads}"
            raise ValueError(msg)
        self.label = label
        self.max_threads = max_threads
        self.thread_name_prefix = thread_name_prefix
        self.storage_access = storage_access
        self.working_dir = working_dir
        self.remote_monitoring_radio = remote_monitoring_radio
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        # The queued calls by identity. Whoever takes a call out of here owns it: the thread that runs it, or the one
        # that cancels it.
        self._queued: dict[int, Call] = {}
        # The threads that run a call.
        self._busy: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._started = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Get ready; threads are started as calls come.

        Raises:
            ConfigurationError: when another kernel is using this very object.
        """
        if self._started:
            msg = f"Executor {self.label!r} is running already: each kernel needs executor objects of its own"
            raise ConfigurationError(msg)
        # Threads of an earlier life, which still run a call, keep the queue that tells them to end.
        self._calls, self._busy = SimpleQueue(), set()
        self._started = True

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `func(*args, **kwargs)` on a thread of the pool.

        Raises:
            InvalidResourceSpecification: when the specification is not empty: threads share all there is.
        """
        call = FutureCall(func, args, kwargs, resource_specification, Future())

        def run(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs) if call.begin() else None

        call.func = run
        self.launch(call)
        return call.future

    def launch(self, call: Call) -> None:
        """Run a call on a thread of the pool and tell its end to `call.done`."""
        if call.resource_specification:
            raise InvalidResourceSpecification(
                set(call.resource_specification),
                f"Executor {self.label} runs tasks on threads and takes no resource specification.",
            )
        if not self._started:
            raise ExecutorShutDownError(self.label)
        if len(self._threads) < self.max_threads:
            self._add_thread()
        self._queued[id(call)] = call
        self._calls.put(call)
        # A shutdown on another thread may have looked at the queue before.
        if not self._started and self._queued.pop(id(call), None) is not None:
            raise ExecutorShutDownError(self.label)

    def cancel(self, call: Call, answer: Callable[[bool], object]) -> None:
        """Take `call` out of the queue if no thread has taken it yet."""
        found = self._queued.pop(id(call), None) is not None
        if found:
            call.done(Error(CancelledError(f"task {call.id} was cancelled")))
        answer(found)

    def why_waiting(self, call: Call, answer: Callable[[Cause], object]) -> None:
        """Tell whether a call runs, or how many are before it."""
        from parsl.dataflow.explanations import Cause, Reason, ordinal, plural

        queue = list(self._queued)
        if id(call) not in queue:
            answer(Cause(Reason.RUNNING, f"is running on a thread of executor {self.label}"))
            return
        position = queue.index(id(call)) + 1
        threads = plural(len(self._threads), "thread")
        text = f"is {ordinal(position)} of {len(queue)} in the queue of executor {self.label}, which has {threads}"
        answer(Cause(Reason.QUEUED, text, facts={"position": position, "length": len(queue)}))

    def shutdown(self, block: bool = True) -> None:
        """End the threads: calls that run come to their end, calls still queued get ExecutorShutDownError.

        Args:
            block: wait for the calls that run; otherwise threads that run one are left to themselves.
        """
        with self._lock:
            self._started = False
            threads, self._threads = self._threads, []
        for key in list(self._queued):
            call = self._queued.pop(key, None)
            if call is not None:
                call.done(Error(ExecutorShutDownError(self.label)))
        for _ in threads:
            self._calls.put(None)
        deadline = time.monotonic() + _IDLE_THREADS_END_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(None if block else max(0.0, deadline - time.monotonic()))

    def room(self) -> Room:
        """Tell how many calls there are, for how many threads."""
        return Room(len(self._queued) + len(self._busy), self.max_threads, self.max_threads)

    def monitor_resources(self) -> bool:
        """Threads cannot be told apart by resource use, so nothing is sampled."""
        return False

    def _add_thread(self) -> None:
        with self._lock:
            n = len(self._threads)
            if n >= self.max_threads or not self._started:
                return
            name = f"{self.thread_name_prefix or self.label}_{n}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not n:
                    raise
                # The system gives no more threads: those that there are have to do.
                logger.warning("Executor %s goes on with %d threads: no more can be started", self.label, n)
                return
            self._threads.append(thread)

    def _work(self) -> None:
        exempt_this_thread()
        get, busy, me = self._calls.get, self._busy, threading.get_ident()
        while True:
            call = get()
            if call is None:
                return
            # Before the call leaves the queue and until its end is told, so that the room is told truly.
            busy.add(me)
            outcome = run_call(call) if self._queued.pop(id(call), None) is not None else None
            busy.discard(me)
            if outcome is not None:
                call.done(outcome)
            # What an idle thread remembers would live as long as it idles.
            del call, outcome


def run_call(call: Call) -> Outcome:
    """Make a call in this thread and return how it ended, whatever happens."""
    try:
        return outcome_of_result(call.func(*call.args, **call.kwargs))
    except BaseException as e:  # noqa: BLE001 - SystemExit of a task must not cost the pool a thread
        return Error(e)
