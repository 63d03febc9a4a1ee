"""The sums of a run in the database: added to with each batch, and made of rows that were there before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl.monitoring import schema, totals
from parsl.monitoring.totals import FINEST, SLOWEST, Sums, Totals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from parsl.monitoring.upserts import Upserts

# Two bins become one: by the new bin, everything is added up, and what is late is later by where its old bin began.
_COARSER = {
    "parsl_flow": (
        "INSERT INTO parsl_flow SELECT run, :level, bin / :of, sum(came), sum(launched), sum(ended), sum(failed) "
        "FROM parsl_flow WHERE run = :run AND level < :level GROUP BY run, bin / :of"
    ),
    "parsl_use": (
        "INSERT INTO parsl_use SELECT run, :level, bin / :of, worker, executor, sum(tries), {}, sum(cores), {}, "
        "sum(bytes), {}, sum(measured), sum(cpu_time), max(most_bytes) "
        "FROM parsl_use WHERE run = :run AND level < :level GROUP BY run, bin / :of, worker, executor"
    ).format(*(f"sum({n}_late + {n} * (bin % :of) * :width)" for n in ("tries", "cores", "bytes"))),
}

# What is longer than this is cut off when it is recorded, maybe within a number.
LONGEST_TEXT = 4000

# Rows that are read at a time where all of a run are.
_ROWS_AT_A_TIME = 20_000


def write(connection: Connection, upsert: Upserts, run: int, sums: Sums | None) -> int:
    """Add sums to those of a run.

    Args:
        connection: in the transaction of the rows that were added up.
        upsert: adds rows to a table.
        run: number of the run.
        sums: None for nothing.

    Returns:
        The level of the bins that the run has now.
    """
    if sums is None:
        return FINEST
    level = _write_bins(connection, upsert, run, sums)
    upsert(connection, "parsl_durations", [[run, *key, number] for key, number in sums.durations.items()])
    upsert(connection, "parsl_edge", [[run, *key, number] for key, number in sums.edges.items()])
    if sums.slow:
        upsert(connection, "parsl_slow", [[run, *row] for row in sums.slow])
        _execute(
            connection,
            "DELETE FROM parsl_slow WHERE run = :run AND seconds < (SELECT min(seconds) FROM (SELECT seconds "
            "FROM parsl_slow WHERE run = :run ORDER BY seconds DESC LIMIT :limit) longest)",
            run=run,
            limit=SLOWEST,
        )
    return level


def _write_bins(connection: Connection, upsert: Upserts, run: int, sums: Sums) -> int:
    """Add what is counted by bins, all of which are made coarser when they would be too many."""
    had, first, last = _execute(
        connection, "SELECT max(level), min(bin), max(bin) FROM parsl_flow WHERE run = :run", run=run
    ).one()
    level = sums.level if had is None else max(sums.level, had)
    # The kernel's clock says how long the run is; those of workers may be far off.
    edges = [at >> (level - sums.level) for at in totals.bounds(n for (n,) in sums.flow) or ()]
    if had is not None:
        edges += [first >> (level - had), last >> (level - had)]
    if not edges:
        edges = [at >> (level - sums.level) for at in totals.bounds(key[0] for key in sums.use) or ()]
    if not edges:
        return level
    target = totals.level_for(min(edges), max(edges), level)
    if had is not None and target > had:
        _coarsen(connection, run, had, target)
    first, steps = min(edges) >> (target - level), target - sums.level
    flow = totals.coarser_flow(sums.flow, steps) if steps else sums.flow
    use = totals.coarser_use(sums.use, sums.level, steps, first, first + totals.BINS - 1)
    upsert(connection, "parsl_flow", [[run, target, *key, *row] for key, row in flow.items()])
    upsert(connection, "parsl_use", [[run, target, *key, *row] for key, row in use.items()])
    return target


def _coarsen(connection: Connection, run: int, level: int, target: int) -> None:
    given = {"run": run, "level": target, "of": 2 ** (target - level), "width": 2.0**level}
    for table, statement in _COARSER.items():
        _execute(connection, statement, **{name: value for name, value in given.items() if f":{name}" in statement})
        _execute(connection, f"DELETE FROM {table} WHERE run = :run AND level < :level", run=run, level=target)


def refill(connection: Connection, upsert: Upserts, run: int) -> None:
    """Make the sums of a run from its rows in the other tables; it has none yet."""
    made = Totals()

    def store() -> None:
        made.level = write(connection, upsert, run, made.take())

    tasks = "SELECT invoked, returned, state FROM parsl_task WHERE run = :run"
    for rows in _in_parts(connection, tasks, run):
        for invoked, returned, state in rows:
            if invoked is not None:
                made.came(invoked)
            if returned is not None:
                made.ended(returned, -1 if state is None else state)
        store()
    lanes = _lanes(connection, run)
    for rows in _in_parts(connection, _TRIES, run):
        for row in rows:
            _again(made, lanes, *row)
        store()
    for table, join in (("depends", 0), ("joins", 1)):
        _execute(connection, _edges(connection.dialect.name, table), run=run, join=join)


_OF_TRY = "FROM parsl_resource s WHERE s.run = y.run AND s.task = y.task AND s.try_id = y.try_id"
_TRIES = (
    "SELECT y.task, y.try_id, t.app, y.executor, y.launched, y.running, y.running_ended, y.returned, y.worker, "
    f"w.resident, y.cpu_time, (SELECT max(s.user_time + s.system_time) {_OF_TRY}), (SELECT max(s.resident) {_OF_TRY}) "
    "FROM parsl_try y LEFT JOIN parsl_task t ON t.run = y.run AND t.task = y.task "
    "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker WHERE y.run = :run"
)


def _again(
    made: Totals,
    lanes: dict[int, int],
    task: int,
    try_id: int,
    app: str | None,
    executor: str | None,
    launched: float | None,
    running: float | None,
    running_ended: float | None,
    returned: float | None,
    worker: int | None,
    resident: int | None,
    short: float | None,
    full: float | None,
    most: int | None,
) -> None:
    """Tell of a try what its rows say."""
    if try_id == 0 and launched is not None:
        made.launched(launched)
    start, end = launched if launched is not None else running, returned if returned is not None else running_ended
    if start is None or end is None:
        return
    seen = None
    if worker is not None:
        cpu = short if short is not None else full
        seen = lanes[worker], running, running_ended, cpu or 0.0, most or resident or 0, most is not None
    made.closed(task, try_id, app or "", executor or "", start, end, seen)


def _lanes(connection: Connection, run: int) -> dict[int, int]:
    """Return in whose place each worker of a run counts, as `rows.Workers` does."""
    found: dict[int, int] = {}
    of_nodes: dict[str | None, int] = {}
    statement = "SELECT worker, hostname FROM parsl_worker WHERE run = :run ORDER BY worker"
    for worker, hostname in _execute(connection, statement, run=run):
        first = of_nodes.setdefault(hostname, worker)
        found[worker] = worker if worker <= totals.MOST_LANES else first
    return found


def _edges(dialect: str, column: str) -> str:
    """Return the statement that counts which apps wait for which by the texts of dependencies."""
    whole = (
        f"CASE WHEN length({column}) >= {LONGEST_TEXT} THEN rtrim(rtrim({column}, '0123456789'), ',') ELSE {column} END"
    )
    sqlite = dialect == "sqlite"
    each = f"json_each('[' || {whole} || ']') e" if sqlite else f"unnest(string_to_array({whole}, ',')) AS e(value)"
    # A join app may wait for futures that are no tasks: nothing stands between the commas.
    plain = f"{column} <> '' AND ',' || {column} || ',' NOT LIKE '%,,%'"
    return (
        # CROSS JOIN keeps the order of the joins: from the edges to their tasks.
        "INSERT INTO parsl_edge SELECT CAST(:run AS BIGINT), before, after, CAST(:join AS BIGINT), sum(number) FROM ("
        "SELECT coalesce(b.app, '') AS before, coalesce(a.app, '') AS after, e.number FROM ("
        "SELECT m.task, CAST(e.value AS BIGINT) AS before, count(*) AS number "
        f"FROM parsl_more m CROSS JOIN {each} WHERE m.run = :run AND {plain} GROUP BY m.task, CAST(e.value AS BIGINT)"
        ") e CROSS JOIN parsl_task a CROSS JOIN parsl_task b WHERE a.run = :run AND a.task = e.task "
        "AND b.run = :run AND b.task = e.before) edges GROUP BY before, after"
    )


def _in_parts(connection: Connection, statement: str, run: int) -> Any:
    text = schema.sqlalchemy().text(statement).execution_options(yield_per=_ROWS_AT_A_TIME)
    return connection.execute(text, {"run": run}).partitions(_ROWS_AT_A_TIME)


def _execute(connection: Connection, statement: str, **values: Any) -> Any:
    return connection.execute(schema.sqlalchemy().text(statement), values)
