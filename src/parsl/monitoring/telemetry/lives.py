"""From records to the lives of tasks: a plain object that is told records and gives back what has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from parsl.dataflow.states import FINAL_FAILURE_STATES, States
from parsl.monitoring import records
from parsl.monitoring.records import Record, WorkerFacts, decode, decode_short, decode_usage

logger = logging.getLogger(__name__)

_FAILED = frozenset(int(state) for state in FINAL_FAILURE_STATES)


class Try:
    """One try: times in seconds since the epoch, None where they are not known.

    Attributes:
        executor: label of the executor that it was given to.
        launched: when, `running` when a worker began it, `running_ended` when that was through, and `returned` when the
            kernel knew.
        hostname: where it ran, `block` and `pid` likewise.
        cpu: seconds of CPU that it used.
        error: how it failed, in words.
    """

    __slots__ = (
        *("block", "cpu", "error", "executor", "hostname", "launched", "pid", "returned", "running", "running_ended"),
    )

    def __init__(self, executor: str | None = None, launched: float | None = None) -> None:
        self.executor = executor
        self.launched = launched
        self.running: float | None = None
        self.running_ended: float | None = None
        self.returned: float | None = None
        self.hostname: str | None = None
        self.block: str | None = None
        self.pid: int | None = None
        self.cpu: float | None = None
        self.error: str | None = None

    def use(self, data: bytes) -> None:
        """Take in what the worker has measured."""
        short = decode_short(data)
        if short is not None:
            self.running, self.running_ended, self.cpu, packed = short
            worker = WorkerFacts(*decode(packed))
            self.block, self.hostname, self.pid = worker.block, worker.hostname, worker.pid
            return
        usage = decode_usage(data)
        self.running = usage.started if usage.started is not None else self.running
        self.running_ended = usage.ended
        self.cpu = usage.user + usage.system
        self.block, self.hostname, self.pid = usage.block, usage.hostname, usage.pid


class Life:
    """A task from its submission to its end; attributes as in the database's tables."""

    __slots__ = (
        *("app", "depends", "invoked", "joining", "kind", "message", "returned", "state", "task", "traceback", "tries"),
    )

    def __init__(self, task: int, app: str | None = None, invoked: float | None = None) -> None:
        self.task = task
        self.app = app
        self.invoked = invoked
        self.depends: list[int] = []
        self.tries: dict[int, Try] = {}
        self.joining: float | None = None
        self.returned: float | None = None
        self.state: States | None = None
        self.kind: str | None = None
        self.message: str | None = None
        self.traceback: str | None = None

    def a_try(self, number: int) -> Try:
        """Return a try by its number."""
        return self.tries.setdefault(number, Try())


class Lives:
    """The tasks of a run that have not ended, by number.

    Of tasks that were under way when this was made anew (after the death of the process) only the rest is known.

    Args:
        ended: told of each task that has ended.
        came: told of the app of each task that is heard of for the first time.
    """

    def __init__(self, ended: Callable[[Life], object], came: Callable[[str | None], object]) -> None:
        self._told = ended
        self._came = came
        self._open: dict[int, Life] = {}
        # What has failed is told with the error, which is the record behind.
        self._failed: dict[int, Life] = {}

    def take(self, batch: Iterable[Record]) -> None:
        """Take in records. One that cannot be read is logged and left out: it must not stop those behind it."""
        handlers: dict[int, Callable[..., object]] = {
            records.SUBMITTED: self._submitted,
            records.LAUNCHED: self._launched,
            records.ENDED: self._ended,
            records.MOVED: self._moved,
            records.FAILED: self._error,
            records.SAMPLED: self._sampled,
            records.RAN: self._ran,
            records.COMPLETED: self._completed,
        }
        waiting = list(self._failed)
        for record in batch:
            handler = handlers.get(record[0])
            if handler is None:
                continue
            try:
                handler(*record[1:])
            except Exception:
                logger.exception("A record cannot be told of and is left out: %.200r", record)
        for task in waiting:
            self._tell_failed(task)

    def _submitted(
        self, task: int, at: float, app: str, executor: str, launched: float | None, more: list[Any] | None
    ) -> None:
        life = self._open[task] = Life(task, app, at)
        if launched is not None:
            life.tries[0] = Try(executor, launched)
        if more is not None and more[records.MORE.index("depends")]:
            life.depends = [int(word) for word in more[records.MORE.index("depends")].split(",") if word.isdigit()]
        self._came(app)

    def _launched(self, task: int, try_id: int, at: float, executor: str, _inputs: str | None) -> None:
        self._of(task).tries[try_id] = Try(executor, at)

    def _ran(
        self,
        task: int,
        app: str,
        executor: str,
        submitted: float,
        launched: float,
        ended: float,
        state: int,
        usage: bytes | None,
    ) -> None:
        life = Life(task, app, submitted)
        life.tries[0] = Try(executor, launched)
        self._came(app)
        self._end(life, 0, ended, state, usage)

    def _ended(
        self,
        task: int,
        try_id: int,
        at: float,
        state: int,
        _fail_count: int,
        _fail_cost: float,
        _hashsum: str | None,
        app: str,
        seconds: float | None,
        usage: bytes | None,
        *_of_no_interest: object,
    ) -> None:
        life = self._open.pop(task, None) or Life(task)
        life.app = life.app or app
        if seconds is not None and life.a_try(try_id).launched is None:
            life.tries[try_id].launched = at - seconds
        self._end(life, try_id, at, state, usage)

    def _end(self, life: Life, try_id: int, at: float, state: int, usage: bytes | None) -> None:
        life.returned, life.state = at, States(state)
        last = life.tries.get(try_id)
        if last is not None and last.returned is None:
            last.returned = at
        if usage:
            life.a_try(try_id).use(usage)
        if state in _FAILED:
            self._failed[life.task] = life
        else:
            self._told(life)

    def _moved(
        self,
        task: int,
        try_id: int,
        at: float,
        state: int,
        error: str | None,
        _joins: str | None,
        usage: bytes | None,
        *_of_no_interest: object,
    ) -> None:
        if state == States.pending:
            return
        life = self._of(task)
        moved = life.a_try(try_id)
        moved.returned, moved.error = at, error
        if usage:
            moved.use(usage)
        if state == States.joining:
            life.joining = at

    def _error(self, task: int, _try_id: int, kind: str, message: str, traceback: str | None) -> None:
        life = self._failed.get(task)
        if life is not None:
            life.kind, life.message, life.traceback = kind, message, traceback
            self._tell_failed(task)

    def _tell_failed(self, task: int) -> None:
        life = self._failed.pop(task, None)
        if life is not None:
            self._told(life)

    def _sampled(self, task: int, try_id: int, usage: bytes) -> None:
        if task in self._open:
            self._open[task].a_try(try_id).use(usage)

    def _completed(self, _at: float) -> None:
        for task in list(self._failed):
            self._tell_failed(task)

    def _of(self, task: int) -> Life:
        return self._open.setdefault(task, Life(task))
