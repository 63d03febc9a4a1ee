"""From records to rows: a plain object that is told records and holds what is to be written.

Several records of one task in one batch become one row. Columns that a batch tells nothing of are None, and leave what
the database has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from parsl.dataflow.states import FINAL_FAILURE_STATES, States
from parsl.monitoring import records
from parsl.monitoring.records import Record, WorkerFacts, decode, decode_short, decode_usage
from parsl.monitoring.schema import SUBMITTED_STATE, columns

logger = logging.getLogger(__name__)

Row = list[Any]

_BAD = frozenset(int(s) for s in FINAL_FAILURE_STATES)
_PENDING, _LAUNCHED = int(States.pending), int(States.launched)

_TASK = {name: at for at, name in enumerate(columns("parsl_task"))}
_TRY = {name: at for at, name in enumerate(columns("parsl_try"))}
_MORE = {name: at for at, name in enumerate(columns("parsl_more"))}
_STATE, _TASK_TRY, _RETURNED = _TASK["state"], _TASK["try_id"], _TASK["returned"]
_TRY_STATE, _TRY_RETURNED = _TRY["state"], _TRY["returned"]
_RUNNING, _RUNNING_ENDED, _WORKER, _CPU_TIME = (_TRY[n] for n in ("running", "running_ended", "worker", "cpu_time"))
_BEHIND_MORE = len(_MORE) - 2 - len(records.MORE)

_NODE_COLUMNS = columns("parsl_node")[1:]
_BLOCK_COLUMNS = columns("parsl_block")[1:]


class Workers:
    """The workers of a run by their facts, each with a number.

    Args:
        last: the largest number that has been given.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._numbers: dict[bytes | tuple[Any, ...], int] = {}
        self.new: list[tuple[int, WorkerFacts]] = []

    def number(self, facts: bytes | tuple[Any, ...]) -> int:
        """Return the number of a worker by its packed facts, or those of a full usage."""
        number = self._numbers.get(facts)
        if number is None:
            self._last += 1
            number = self._numbers[facts] = self._last
            self.new.append((number, WorkerFacts(*(decode(facts) if isinstance(facts, bytes) else facts))))
        return number


class Rows:
    """The rows of one run that are to be written.

    Args:
        run: number of the run, the first column of each row; kept as an attribute.
        workers: the workers that are known; new ones get rows.

    Attributes:
        tasks: a row for each task, by its number; `more` likewise, and `tries` by the numbers of task and try.
        tally: for each app and state, how many tasks ended in it, the seconds that they ran, and the longest.
        others: rows of tables to which rows are only added, by table.
        began: facts of the run, when its first record was among them.
        completed: when the run ended.
        ended: how many tasks ended well, and `failed` how many badly.
    """

    def __init__(self, run: int, workers: Workers) -> None:
        self.run = run
        self._workers = workers
        self.tasks: dict[int, Row] = {}
        self.more: dict[int, Row] = {}
        self.tries: dict[tuple[int, int], Row] = {}
        self.tally: dict[tuple[str, int], Row] = {}
        self.others: dict[str, list[Row]] = {}
        self.began: dict[str, Any] | None = None
        self.completed: float | None = None
        self.ended = 0
        self.failed = 0

    def add(self, batch: Iterable[Record]) -> None:
        """Take in records. One that cannot be read is logged and left out: it must not stop those behind it."""
        # Made anew each time: were it kept, this object would be part of a circle, and outlive its use.
        handlers: dict[int, Callable[..., object]] = {
            records.BEGAN: self._began,
            records.SUBMITTED: self._submitted,
            records.LAUNCHED: self._launched,
            records.ENDED: self._ended,
            records.MOVED: self._moved,
            records.FAILED: self._failed,
            records.SAMPLED: self._sampled,
            records.NODE: self._node,
            records.BLOCK: self._block,
            records.FILE: self._file,
            records.COMPLETED: self._completed,
            records.RAN: self._ran,
            records.WAITS: self._waits,
        }
        for record in batch:
            try:
                handlers[record[0]](*record[1:])
            except Exception:
                logger.exception("A record cannot be read and is left out: %.200r", record)
        for number, facts in self._workers.new:
            self._row("parsl_worker", number, *facts)
        self._workers.new.clear()

    def _row(self, table: str, *values: Any) -> None:
        self.others.setdefault(table, []).append([self.run, *values])

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _task(self, task: int) -> Row:
        row = self.tasks.get(task)
        if row is None:
            row = self.tasks[task] = [None] * len(_TASK)
            row[0], row[1] = self.run, task
        return row

    def _more(self, task: int) -> Row:
        row = self.more.get(task)
        if row is None:
            row = self.more[task] = [None] * len(_MORE)
            row[0], row[1] = self.run, task
        return row

    def _try(self, task: int, try_id: int) -> Row:
        row = self.tries.get((task, try_id))
        if row is None:
            row = self.tries[task, try_id] = [None] * len(_TRY)
            row[0], row[1], row[2] = self.run, task, try_id
        return row

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
        run = self.run
        # In the order of the tables' columns.
        self.tasks[task] = [run, task, state, 0, app, executor, submitted, ended]
        self.tries[task, 0] = [run, task, 0, state, executor, launched, None, None, ended, None, None]
        seconds = self._use(task, 0, usage) if usage else ended - launched
        self._came(app)
        self._count(app, state, seconds)

    def _submitted(
        self, task: int, at: float, app: str, executor: str, launched: float | None, more: list[Any] | None
    ) -> None:
        state = _PENDING if launched is None else _LAUNCHED
        self._came(app)
        self.tasks[task] = [self.run, task, state, 0, app, executor, at, None]
        if launched is not None:
            self.tries[task, 0] = [self.run, task, 0, state, executor, launched, None, None, None, None, None]
        if more is not None:
            self.more[task] = [self.run, task, *more, *[None] * _BEHIND_MORE]

    def _launched(self, task: int, try_id: int, at: float, executor: str, inputs: str | None) -> None:
        row = self._task(task)
        row[_STATE], row[_TASK_TRY] = _LAUNCHED, try_id
        if inputs is not None:
            self._more(task)[_MORE["inputs"]] = inputs
        self.tries[task, try_id] = [
            self.run, task, try_id, _LAUNCHED, executor, at, None, None, None, None, None,
        ]  # fmt: skip

    def _ended(
        self,
        task: int,
        try_id: int,
        at: float,
        state: int,
        fail_count: int,
        fail_cost: float,
        hashsum: str | None,
        app: str,
        seconds: float | None,
        usage: bytes | None,
    ) -> None:
        row = self._task(task)
        row[_STATE], row[_TASK_TRY], row[_RETURNED] = state, try_id, at
        if fail_count or hashsum is not None:
            more = self._more(task)
            more[_MORE["fail_count"]], more[_MORE["fail_cost"]], more[_MORE["hashsum"]] = fail_count, fail_cost, hashsum
        if seconds is not None:
            ended = self._try(task, try_id)
            ended[_TRY_STATE], ended[_TRY_RETURNED] = state, at
            if usage:
                seconds = self._use(task, try_id, usage)
        self._count(app, state, seconds or 0.0)

    def _count(self, app: str, state: int, seconds: float) -> None:
        if state in _BAD:
            self.failed += 1
        else:
            self.ended += 1
        tally = self.tally.get((app, state))
        if tally is None:
            self.tally[app, state] = [1, seconds, seconds]
        else:
            tally[0] += 1
            tally[1] += seconds
            tally[2] = max(tally[2], seconds)

    def _came(self, app: str) -> None:
        self.tally.setdefault((app, SUBMITTED_STATE), [0, 0.0, 0.0])[0] += 1

    def _moved(
        self, task: int, try_id: int, at: float, state: int, error: str | None, joins: str | None, usage: bytes | None
    ) -> None:
        row = self._task(task)
        row[_STATE], row[_TASK_TRY] = state, try_id
        self._row("parsl_move", task, try_id, at, state)
        if state == _PENDING:
            return
        moved = self._try(task, try_id)
        moved[_TRY_STATE], moved[_TRY_RETURNED] = state, at
        if error is not None:
            self._row("parsl_failure", task, try_id, None, error, None)
        if joins is not None:
            self._more(task)[_MORE["joins"]] = joins
        if usage:
            self._use(task, try_id, usage)

    def _failed(self, task: int, try_id: int, kind: str, message: str, traceback: str | None) -> None:
        self._row("parsl_failure", task, try_id, kind, message, traceback)

    def _waits(self, task: int, at: float, reason: str, text: str, details: list[str]) -> None:
        self._row("parsl_waiting", task, at, reason, text, "\n".join(details))

    def _sampled(self, task: int, try_id: int, usage: bytes) -> None:
        self._use(task, try_id, usage)

    def _use(self, task: int, try_id: int, data: bytes) -> float:
        """Take in a usage; return for how many seconds the try has run."""
        row = self._try(task, try_id)
        short = decode_short(data)
        if short is not None:
            row[_RUNNING], row[_RUNNING_ENDED], row[_CPU_TIME], facts = short
            row[_WORKER] = self._workers.number(facts)
            return short[1] - short[0]
        usage = decode_usage(data)
        worker = row[_WORKER] = self._workers.number((usage.block, usage.hostname, usage.pid, 0, 0, 0.0))
        if usage.started is not None:
            row[_RUNNING] = usage.started
        if usage.ended is not None:
            row[_RUNNING_ENDED] = usage.ended
        self._row(
            "parsl_resource", task, try_id, usage.at, worker, usage.user, usage.system, usage.resident, usage.virtual,
            usage.memory_percent, usage.children, usage.read, usage.written, usage.voluntary, usage.involuntary,
            usage.cpu, usage.status, usage.gpu_percent, usage.gpu_memory,
        )  # fmt: skip
        return 0.0 if usage.started is None else (usage.ended or usage.at) - usage.started

    # -- the rest ------------------------------------------------------------------------------------------------

    def _began(self, facts: dict[str, Any]) -> None:
        self.began = facts

    def _completed(self, at: float) -> None:
        self.completed = at

    def _node(self, facts: dict[str, Any]) -> None:
        self._row("parsl_node", *(facts.get(name) for name in _NODE_COLUMNS))

    def _block(self, facts: dict[str, Any]) -> None:
        self._row("parsl_block", *(facts.get(name) for name in _BLOCK_COLUMNS))

    def _file(self, task: int, direction: int, name: str, url: str, local_path: str | None) -> None:
        self._row("parsl_file", task, direction, name, url, local_path)
