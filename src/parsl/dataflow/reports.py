"""What monitoring is told of tasks: each change of a record as the small tuple that the journal holds.

Used only where there is monitoring. All is called on the loop; what has gathered in a pass goes out at its end.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.app.exception_codec import shown
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.states import FINAL_STATES, States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord
from parsl.loop import Loop, Timer
from parsl.monitoring.records import (
    EDGES,
    ENDED,
    FAILED,
    FILE,
    INPUT,
    LAUNCHED,
    MOVED,
    OUTPUT,
    RAN,
    SUBMITTED,
    Batch,
    Record,
)
from parsl.monitoring.remote import Monitored

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor
    from parsl.monitoring.radios.base import RadioConfig

# So long a task may be under way before it is told of.
LOOK_SECONDS = 0.25

# Of so many tasks it is told at a look. Of a burst of short ones, most will have ended by the time it is their turn.
MOST_AT_A_LOOK = 4000

# Looked up once: for each task they are compared several times.
_UNSCHED, _PENDING, _LAUNCHED, _EXEC_DONE = States.unsched, States.pending, States.launched, States.exec_done
_DONE = int(_EXEC_DONE)

# Of so many failures the traceback is kept as well, and of each traceback the end.
_MOST_TRACEBACKS = 1000
_LONGEST_TRACEBACK = 20_000

# The text of inputs, outputs and dependencies is kept up to this length.
_LONGEST_TEXT = 4000


class Reports:
    """Turns what happens to tasks into records.

    Args:
        send: takes the records of a pass.
        loop: the kernel's loop.
        tasks: the records of tasks that have not ended, by number.
        interval: seconds between two samples of what a task uses.

    Attributes:
        radios: for each executor, the radio by which its tasks are to send what they use; None for none.
        wraps: whether there is any.
    """

    def __init__(
        self, send: Callable[[Batch], object], loop: Loop, tasks: Mapping[int, TaskRecord], interval: float
    ) -> None:
        self._send = send
        self._loop = loop
        self._tasks = tasks
        self._timer: Timer | None = None
        self._interval = interval
        self.radios: dict[str, RadioConfig | None] = {}
        self.wraps = False
        self._records: list[Record] = []
        # By number: a record that has ended is not kept for this.
        self._fresh: deque[int] = deque()
        self._tracebacks = 0

    def flush(self) -> None:
        """Send what has gathered."""
        if self._fresh and self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self.look)
        if self._records:
            self._send(Batch(self._records))
            self._records.clear()

    def set_radio(self, label: str, radio: RadioConfig | None) -> None:
        """Say by which radio the tasks of an executor are to send what they use."""
        self.radios[label] = radio
        self.wraps = self.wraps or radio is not None

    def launch(self, executor: ParslExecutor, task: TaskRecord) -> None:
        """Have an executor launch a task, wrapped where its executor does not measure what it uses."""
        radio = self.radios.get(executor.label)
        if radio is None:
            executor.launch(task)
            return
        function = task.func
        task.func = Monitored(function, radio, task.id, task.try_id, self._interval)
        try:
            executor.launch(task)
        finally:
            # The record keeps the function of the app: for hooks, and for the next try.
            task.func = function

    def moved(self, task: TaskRecord, old: States) -> None:
        """A task has changed its state."""
        state = task.status
        if state is _PENDING and old is _UNSCHED and not task.depends:
            self._fresh.append(task.id)
        elif state is _LAUNCHED:
            if task.told:
                self._launched(task)
        elif state is _EXEC_DONE and old is _LAUNCHED and _is_plain(task):
            self._ran(task)
        elif state in FINAL_STATES:
            self._tell(task)
            self._ended(task, old)
        else:
            # One that waits for others is told of at once: when it is launched, the record forgets for what it waited.
            self._tell(task)
            if old is not _UNSCHED:
                self._on_the_way(task, old)

    def look(self) -> None:
        """Tell of tasks that were submitted a while ago and have not ended; many have, and are told of as a whole."""
        self._timer = None
        self._tell_fresh(MOST_AT_A_LOOK)
        self.flush()

    def close(self) -> None:
        """Tell of all that has not been told."""
        self._tell_fresh(len(self._fresh))
        self.flush()

    def _tell_fresh(self, most: int) -> None:
        fresh, tasks = self._fresh, self._tasks
        while fresh and most > 0:
            task = tasks.get(fresh.popleft())
            if task is not None and not task.told and task.status not in FINAL_STATES:
                self._tell(task)
                most -= 1

    def _tell(self, task: TaskRecord) -> None:
        """Tell of a task for the first time, unless that has been done."""
        if task.told:
            return
        task.told = True
        more = None
        if task.kwargs or task.depends or task.memoize or task.join:
            more = self._more(task)
        self._records.append(
            (SUBMITTED, task.id, task.invoked, task.func_name, task.executor, task.try_launched, more)
        )  # fmt: skip

    def _ran(self, task: TaskRecord) -> None:
        """Tell the whole of a task that went straight through."""
        task.told = True
        now = time.time()
        self._records.append(
            (RAN, task.id, task.func_name, task.executor, task.invoked, task.try_launched, now, _DONE, task.usage)
        )

    def _launched(self, task: TaskRecord) -> None:
        kwargs = task.kwargs
        inputs = _text(kwargs["inputs"]) if kwargs and "inputs" in kwargs else None
        self._records.append((LAUNCHED, task.id, task.try_id, task.try_launched, task.executor, inputs))

    def _ended(self, task: TaskRecord, old: States) -> None:
        now = time.time()
        # None where no try ends with the task.
        seconds = now - task.try_launched if old is States.launched and task.try_launched is not None else None
        self._records.append(
            (
                ENDED,
                task.id,
                task.try_id,
                now,
                int(task.status),
                task.fail_count,
                task.fail_cost,
                task.hashsum,
                task.func_name,
                seconds,
                task.usage,
                task.executor,
            )
        )

    def _more(self, task: TaskRecord) -> tuple[Any, ...]:
        kwargs = task.kwargs
        texts: tuple[str | None, ...] = (None,) * 5
        if kwargs:
            texts = (
                *(_text(kwargs[name]) if kwargs.get(name) else None for name in ("inputs", "outputs")),
                *(_name(kwargs.get(name)) for name in ("stdin", "stdout", "stderr")),
            )
            for direction, name in ((INPUT, "inputs"), (OUTPUT, "outputs")):
                self._files(task, direction, kwargs.get(name))
        depends = None
        if task.depends:
            depends = ",".join(str(tid) for tid in (getattr(d, "tid", None) for d in task.depends) if tid is not None)[
                :_LONGEST_TEXT
            ]
            self._edges(task, task.depends)
        return (int(task.memoize), int(task.join), depends, *texts)

    def _files(self, task: TaskRecord, direction: int, values: Any) -> None:
        for value in values if isinstance(values, (list, tuple)) else ():
            # Not by asking for the attribute: of an AppFuture that would be a task which looks it up in the result.
            file = value.file_obj if isinstance(value, DataFuture) else value
            if isinstance(file, File):
                self._records.append((FILE, task.id, direction, file.filename, file.url, file.local_path))

    def _edges(self, task: TaskRecord, futures: Iterable[Any]) -> None:
        """Tell for how many tasks of which apps a task waits."""
        numbers: dict[str, int] = {}
        for future in futures:
            before = self._producer(future)
            if before is not None:
                numbers[before.func_name] = numbers.get(before.func_name, 0) + 1
        if numbers:
            self._records.append((EDGES, task.func_name, int(task.status is States.joining), numbers))

    def _producer(self, future: Any) -> TaskRecord | None:
        """Return the task that a future is of; for a file the one that makes it, or else that brings it."""
        while isinstance(future, DataFuture):
            made_by = None if future.tid is None else self._tasks.get(future.tid)
            if made_by is not None:
                return made_by
            future = future.parent
        return getattr(future, "task_record", None)

    def _on_the_way(self, task: TaskRecord, old: States) -> None:
        """Tell of a state that few tasks see: to be tried again, or joining."""
        state = task.status
        error = task.fail_history[-1] if state is States.fail_retryable and task.fail_history else None
        joins = None
        if state is States.joining:
            wanted = task.joins if isinstance(task.joins, list) else [task.joins]
            joins = ",".join(str(getattr(j, "tid", "")) for j in wanted if isinstance(j, Future))[:_LONGEST_TEXT]
            self._edges(task, wanted)
        # The number of the next try is given before the state of the one that failed is told.
        try_id = task.try_id - 1 if state is States.fail_retryable else task.try_id
        usage, task.usage = task.usage, None
        now = time.time()
        seconds = now - task.try_launched if old is _LAUNCHED and task.try_launched is not None else None
        self._records.append(
            (MOVED, task.id, try_id, now, int(state), error, joins, usage, task.func_name, task.executor, seconds)
        )

    def settled(self, task: TaskRecord, outcome: Outcome) -> None:
        """A task has its outcome."""
        if isinstance(outcome, Error):
            self.failed(task, outcome.exception)

    def failed(self, task: TaskRecord, exception: BaseException) -> None:
        """A task has failed for good, with this exception."""
        text = None
        if self._tracebacks < _MOST_TRACEBACKS:
            self._tracebacks += 1
            text = "".join(traceback.format_exception(exception))[-_LONGEST_TRACEBACK:]
        self._records.append((FAILED, task.id, task.try_id, type(exception).__name__, shown(exception), text))


def _is_plain(task: TaskRecord) -> bool:
    """Tell whether one record says all of a task that is done."""
    return not (
        task.told
        or task.kwargs
        or task.depends
        or task.memoize
        or task.join
        or task.hashsum
        or task.fail_count
    )  # fmt: skip


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as e:  # noqa: BLE001 - it is a user's object
        text = f"<a {type(value).__name__} whose repr raised {type(e).__name__}>"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def _name(value: Any) -> str | None:
    """Return the path of a standard stream."""
    if value is None:
        return None
    if isinstance(value, tuple) and value:
        value = value[0]
    return str(value.url if isinstance(value, File) else value)
