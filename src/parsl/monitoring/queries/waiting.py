"""Why a task has not ended, as far as the database tells: for viewers outside the kernel's process.

Which task waits for which is in the tables. What a kernel alone knows (a place in a queue, an equal call that runs, the
words of a provider) it writes for the oldest tasks that have not ended every few seconds. Where it has not, the times
of tries, the states of blocks and the nodes that are connected tell what they can.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl.dataflow.explanations import Cause, Explanation, Reason, Step, Trail, ordinal, plural, span, waits_for
from parsl.dataflow.states import FINAL_STATES, States

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.monitoring.queries.runs import RunQueries

# A chain is followed so far.
_LONGEST_CHAIN = 2000

_FACTS = (
    "SELECT t.app, t.state, t.executor, t.returned, t.try_id, y.launched, y.running, y.running_ended, w.block, "
    "w.hostname, m.depends, m.joins, r.completed, k.at, k.reason, k.text, k.details FROM parsl_task t "
    "JOIN parsl_run r ON r.run = t.run "
    "LEFT JOIN parsl_try y ON y.run = t.run AND y.task = t.task AND y.try_id = t.try_id "
    "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker "
    "LEFT JOIN parsl_more m ON m.run = t.run AND m.task = t.task "
    "LEFT JOIN parsl_waiting k ON k.run = t.run AND k.task = t.task WHERE t.run = :run AND t.task = :task"
)


class _Facts(NamedTuple):
    """What the tables have of a task; columns as in `_FACTS`."""

    app: str | None
    state: int | None
    executor: str | None
    returned: float | None
    try_id: int
    launched: float | None
    running: float | None
    running_ended: float | None
    block: str | None
    hostname: str | None
    depends: str | None
    joins: str | None
    completed: float | None
    said: float | None
    reason: str | None
    text: str | None
    details: str | None


def why_waiting(queries: RunQueries, run: int, task: int) -> Explanation | None:
    """Say why a task has not ended, as `DataFlowKernel.explain` does; None when there is no such task.

    Args:
        queries: the database.
        run: number of the run.
        task: number of the task.
    """
    trail, seen = Trail(), set[int]()
    at: int | None = task
    while at is not None:
        facts = _read(queries, run, at)
        if facts is None:
            if not seen:
                return None
            trail.add(Step(at, "?", Cause(Reason.READY, "has been submitted, and nothing is recorded of it yet")))
            break
        seen.add(at)
        cause, behind = _cause(queries, run, at, facts)
        if behind in seen:
            text = f"waits for task {behind}, which waits for it: neither will ever end"
            cause, behind = Cause(Reason.CIRCLE, text), None
        elif len(seen) == _LONGEST_CHAIN and behind is not None:
            cause, behind = cause._replace(details=["The chain goes on, and is not followed further here."]), None
        trail.add(Step(at, facts.app, cause))
        at = behind
    return trail.explanation()


def _read(queries: RunQueries, run: int, task: int) -> _Facts | None:
    rows = queries.select(_FACTS, run=run, task=task)
    return _Facts(*rows[0]) if rows else None


def _cause(queries: RunQueries, run: int, task: int, facts: _Facts) -> tuple[Cause, int | None]:
    """Say what a task waits for, and give the number of the task behind that, if it is one."""
    state = States.pending if facts.state is None else States(facts.state)
    if facts.returned is not None or state in FINAL_STATES:
        return Cause(Reason.ENDED, f"has ended: {state.name}"), None
    if facts.completed is not None:
        return Cause(Reason.ENDED, f"had not ended ({state.name}) when the run did"), None
    if state is States.joining:
        return _among(queries, run, Reason.JOINING, "futures that it returned", facts.joins, facts)
    if state is States.pending and facts.depends:
        cause, behind = _among(queries, run, Reason.DEPENDENCY, "arguments", facts.depends, facts)
        if behind is not None:
            return cause, behind
    said = _kernels_word(facts)
    if said is not None:
        return said, None
    if facts.running is not None and state is not States.pending:
        since, where = span(time.time() - facts.running), f"{facts.hostname}, in block {facts.block}"
        if facts.running_ended is not None:
            return Cause(Reason.RUNNING, f"has ended on {where}, and the kernel is about to take it in"), None
        return Cause(Reason.RUNNING, f"has been running for {since} on {where} of executor {facts.executor}"), None
    if facts.launched is not None and state is not States.pending:
        return _with_executor(queries, run, task, facts), None
    return Cause(Reason.READY, "waits for nothing that is recorded, and is about to be launched"), None


def _among(
    queries: RunQueries, run: int, reason: Reason, what: str, listed: str | None, facts: _Facts
) -> tuple[Cause, int | None]:
    numbers = [int(word) for word in (listed or "").split(",") if word.isdigit()]
    names = ", ".join(f":n{at}" for at in range(len(numbers)))
    rows = queries.select(
        f"SELECT task, app, returned FROM parsl_task WHERE run = :run AND task IN ({names or 'NULL'})",
        run=run,
        **{f"n{at}": number for at, number in enumerate(numbers)},
    )
    known = {number: (app, returned) for number, app, returned in rows}
    still = [number for number in numbers if number not in known or known[number][1] is None]
    if not still:
        said = _kernels_word(facts)
        text = "waits for a future that is no task, or for word of one that has just ended"
        return said or Cause(Reason.FUTURE, text), None
    first = still[0]
    app = f" ({known[first][0]})" if first in known else ""
    return waits_for(reason, what, len(still), len(numbers), f"task {first}{app}"), first


def _kernels_word(facts: _Facts) -> Cause | None:
    """Return what the kernel says of the task, unless something has happened to it since."""
    if facts.said is None or facts.reason is None or facts.text is None:
        return None
    if any(at is not None and at > facts.said for at in (facts.launched, facts.running, facts.running_ended)):
        return None
    details = [line for line in (facts.details or "").split("\n") if line]
    ago = span(time.time() - facts.said)
    return Cause(Reason(facts.reason), facts.text, [*details, f"So said the kernel {ago} ago."])


def _with_executor(queries: RunQueries, run: int, task: int, facts: _Facts) -> Cause:
    """Say what can be found out of a task that an executor has."""
    before, of_all = queries.select(
        "SELECT coalesce(sum(CASE WHEN t.task < :task THEN 1 ELSE 0 END), 0), count(*) FROM parsl_task t "
        "JOIN parsl_try y ON y.run = t.run AND y.task = t.task AND y.try_id = t.try_id "
        "WHERE t.run = :run AND t.returned IS NULL AND t.state = :launched AND t.executor = :executor "
        "AND y.running IS NULL",
        run=run,
        task=task,
        launched=int(States.launched),
        executor=facts.executor,
    )[0]
    since = span(time.time() - (facts.launched or time.time()))
    managers = [m for m in queries.managers(run) if m["executor"] in {None, facts.executor}]
    blocks = [b for b in queries.blocks(run) if b["executor"] == facts.executor]
    active = [m for m in managers if m["active"]]
    details = _blocks(blocks)
    place = (
        f"has been with executor {facts.executor} for {since}, the {ordinal(int(before) + 1)} of {int(of_all)} tasks "
        "there that are not known to run"
    )
    if blocks and not active:
        return Cause(Reason.NO_WORKERS, f"{place}, and no worker is connected", details)
    if active:
        workers = sum(m["worker_count"] or 0 for m in active)
        details = [f"Connected: {plural(workers, 'worker')} on {plural(len(active), 'node')}.", *details]
    return Cause(Reason.QUEUED, place, details)


def _blocks(blocks: Sequence[dict[str, Any]]) -> list[str]:
    """Name the blocks that have not ended, or else the last one that has."""
    now = time.time()
    live = [b for b in blocks if b["status"] in {"PENDING", "RUNNING", "HELD", "UNKNOWN"}]
    chosen = live[:4] or blocks[-1:]
    job = "Block {block} (job {job}) has been {status} for {since}."
    lines = [job.format(**b, since=span(now - b["at"])) for b in chosen]
    if len(live) > len(chosen):
        lines.append(f"{plural(len(live) - len(chosen), 'block')} more are there.")
    return lines
