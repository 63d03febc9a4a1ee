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
from parsl.monitoring.totals import MOST_LANES, Seen, Sums, Totals

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
        self._known: dict[bytes | tuple[Any, ...], tuple[int, int, int]] = {}
        self._of_nodes: dict[str | None, int] = {}
        self.new: list[tuple[int, WorkerFacts]] = []

    def of(self, facts: bytes | tuple[Any, ...]) -> tuple[int, int, int]:
        """Look a worker up by its packed facts, or those of a full usage.

        Returns:
            Its number; that of the worker in whose place it counts, itself or the first one of its node; and the bytes
            of memory that its facts tell.
        """
        known = self._known.get(facts)
        if known is None:
            self._last += 1
            worker = WorkerFacts(*(decode(facts) if isinstance(facts, bytes) else facts))
            self.new.append((self._last, worker))
            first = self._of_nodes.setdefault(worker.hostname, self._last)
            lane = self._last if self._last <= MOST_LANES else first
            known = self._known[facts] = self._last, lane, worker.resident
        return known


class Rows:
    """The rows of one run that are to be written.

    Args:
        run: number of the run, the first column of each row; kept as an attribute.
        workers: the workers that are known; new ones get rows.
        totals: what is added up over batches; None at the begin of a run. Kept as an attribute.

    Attributes:
        tasks: a row for each task, by its number; `more` likewise, and `tries` by the numbers of task and try.
        tally: for each app and state, how many tasks ended in it, the seconds that they ran, and the longest.
        sums: what has been added up of them.
        others: rows of tables to which rows are only added, by table.
        began: facts of the run, when its first record was among them.
        completed: when the run ended.
        ended: how many tasks ended well, and `failed` how many badly.
    """

    def __init__(self, run: int, workers: Workers, totals: Totals | None = None) -> None:
        self.run = run
        self._workers = workers
        self.totals = Totals() if totals is None else totals
        self.sums: Sums | None = None
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
            records.EDGES: self._edges,
        }
        for record in batch:
            try:
                handlers[record[0]](*record[1:])
            except Exception:
                logger.exception("A record cannot be read and is left out: %.200r", record)
        for number, facts in self._workers.new:
            self._row("parsl_worker", number, *facts)
        self._workers.new.clear()
        self.sums = self.totals.take()

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
        seen = self._use(task, 0, usage) if usage else None
        self._came(app, submitted)
        self.totals.launched(launched)
        self.totals.closed(task, 0, app, executor, launched, ended, seen)
        self._count(app, state, ended, ended - launched if seen is None else _seconds(seen))

    def _submitted(
        self, task: int, at: float, app: str, executor: str, launched: float | None, more: list[Any] | None
    ) -> None:
        state = _PENDING if launched is None else _LAUNCHED
        self._came(app, at)
        self.tasks[task] = [self.run, task, state, 0, app, executor, at, None]
        if launched is not None:
            self.totals.launched(launched)
            self.tries[task, 0] = [self.run, task, 0, state, executor, launched, None, None, None, None, None]
        if more is not None:
            self.more[task] = [self.run, task, *more, *[None] * _BEHIND_MORE]

    def _launched(self, task: int, try_id: int, at: float, executor: str, inputs: str | None) -> None:
        row = self._task(task)
        row[_STATE], row[_TASK_TRY] = _LAUNCHED, try_id
        if try_id == 0:
            self.totals.launched(at)
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
        executor: str = "",
    ) -> None:
        row = self._task(task)
        row[_STATE], row[_TASK_TRY], row[_RETURNED] = state, try_id, at
        if fail_count or hashsum is not None:
            more = self._more(task)
            more[_MORE["fail_count"]], more[_MORE["fail_cost"]], more[_MORE["hashsum"]] = fail_count, fail_cost, hashsum
        if seconds is not None:
            ended = self._try(task, try_id)
            ended[_TRY_STATE], ended[_TRY_RETURNED] = state, at
            seen = self._use(task, try_id, usage) if usage else None
            self.totals.closed(task, try_id, app, executor, at - seconds, at, seen)
            if seen is not None:
                seconds = _seconds(seen)
        self._count(app, state, at, seconds or 0.0)

    def _count(self, app: str, state: int, at: float, seconds: float) -> None:
        self.totals.ended(at, state)
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

    def _came(self, app: str, at: float) -> None:
        self.totals.came(at)
        self.tally.setdefault((app, SUBMITTED_STATE), [0, 0.0, 0.0])[0] += 1

    def _moved(
        self,
        task: int,
        try_id: int,
        at: float,
        state: int,
        error: str | None,
        joins: str | None,
        usage: bytes | None,
        app: str = "",
        executor: str = "",
        seconds: float | None = None,
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
        seen = self._use(task, try_id, usage) if usage else None
        if seconds is not None:
            self.totals.moved(at)
            self.totals.closed(task, try_id, app, executor, at - seconds, at, seen)

    def _edges(self, app: str, join: int, numbers: dict[str, int]) -> None:
        self.totals.waits(app, join, numbers)

    def _failed(self, task: int, try_id: int, kind: str, message: str, traceback: str | None) -> None:
        self._row("parsl_failure", task, try_id, kind, message, traceback)

    def _waits(self, task: int, at: float, reason: str, text: str, details: list[str]) -> None:
        self._row("parsl_waiting", task, at, reason, text, "\n".join(details))

    def _sampled(self, task: int, try_id: int, usage: bytes) -> None:
        self.totals.sampled(task, try_id, self._use(task, try_id, usage))

    def _use(self, task: int, try_id: int, data: bytes) -> Seen:
        """Take in a usage; return what it tells of the try."""
        row = self._try(task, try_id)
        short = decode_short(data)
        if short is not None:
            started, ended, cpu, facts = short
            worker, lane, resident = self._workers.of(facts)
            row[_RUNNING], row[_RUNNING_ENDED], row[_CPU_TIME], row[_WORKER] = started, ended, cpu, worker
            return lane, started, ended, cpu, resident, False
        usage = decode_usage(data)
        worker, lane, _ = self._workers.of((usage.block, usage.hostname, usage.pid, 0, 0, 0.0))
        row[_WORKER] = worker
        if usage.started is not None:
            row[_RUNNING] = usage.started
        if usage.ended is not None:
            row[_RUNNING_ENDED] = usage.ended
        self._row(
            "parsl_resource", task, try_id, usage.at, worker, usage.user, usage.system, usage.resident, usage.virtual,
            usage.memory_percent, usage.children, usage.read, usage.written, usage.voluntary, usage.involuntary,
            usage.cpu, usage.status, usage.gpu_percent, usage.gpu_memory,
        )  # fmt: skip
        return lane, usage.started, usage.ended, usage.user + usage.system, usage.resident, True

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


def _seconds(seen: Seen) -> float:
    """Return for how many seconds a try has run, by its worker's word."""
    _, started, ended, *_ = seen
    return 0.0 if started is None or ended is None else ended - started
