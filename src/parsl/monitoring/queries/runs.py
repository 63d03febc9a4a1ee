"""Questions that pages, terminals and reports ask about a run: read only, paged or aggregated in the database.

Each is answered from the compact tables and their keys, so that it stays quick at a million tasks. Values are bound,
never put into the text of a statement.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, States
from parsl.monitoring import migrations, schema
from parsl.monitoring.store import open_engine

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_TASK = (
    "SELECT t.task, t.app, t.state, t.try_id, t.executor, t.invoked, t.returned, y.launched, y.running, "
    "y.running_ended, w.block, w.hostname, w.pid FROM parsl_task t "
    "LEFT JOIN parsl_try y ON y.run = t.run AND y.task = t.task AND y.try_id = t.try_id "
    "LEFT JOIN parsl_worker w ON w.run = y.run AND w.worker = y.worker "
)


@dataclass(frozen=True)
class Run:
    """A run; times in seconds since the epoch, `completed` None while it goes on or when it was killed."""

    run: int
    run_id: str
    workflow_name: str | None
    workflow_version: str | None
    began: float | None
    completed: float | None
    host: str | None
    user_name: str | None
    rundir: str | None
    failed_count: int
    completed_count: int
    python_version: str | None
    parsl_version: str | None


@dataclass(frozen=True)
class Task:
    """A task with its last try; times in seconds since the epoch, None for what has not been."""

    task: int
    app: str | None
    state: States | None
    try_id: int
    executor: str | None
    invoked: float | None
    returned: float | None
    launched: float | None
    running: float | None
    running_ended: float | None
    block: str | None
    hostname: str | None
    pid: int | None


@dataclass(frozen=True)
class App:
    """An app of a run: its tasks by state, and the seconds that those that have ended well ran."""

    app: str | None
    states: dict[States, int]
    mean_seconds: float | None
    most_seconds: float | None
    total_seconds: float


class RunQueries:
    """A monitoring database, to be read.

    Args:
        url: SQLAlchemy's URL.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a monitoring database of this version: no reader changes it.
        OptionalModuleMissing: when SQLAlchemy is not installed.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url, read_only=True)
        with self.engine.connect() as connection:
            version = migrations.current_version(connection)
        if version != schema.VERSION:
            self.close()
            raise ValueError(
                f"the database has version {version}, and this release of parsl reads version {schema.VERSION}: a run "
                "with monitoring brings an older one up to date"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def select(self, statement: str, **values: Any) -> list[Any]:
        """Return the rows of a statement whose values, named `:name` in it, are bound."""
        with self.engine.connect() as connection:
            return list(connection.execute(schema.sqlalchemy().text(statement), values))

    def whole(self, expression: str) -> str:
        """Return the SQL expression for the whole part of another one, which is not negative."""
        # The same words round in one of them, and cut off in the other.
        floor = f"floor({expression})" if self.engine.dialect.name == "postgresql" else expression
        return f"CAST({floor} AS BIGINT)"

    # -- runs ----------------------------------------------------------------------------------------------------

    def runs(self, limit: int = 100, offset: int = 0) -> list[Run]:
        """Return the runs, the newest first."""
        columns = ", ".join(Run.__dataclass_fields__)
        statement = f"SELECT {columns} FROM parsl_run ORDER BY run DESC LIMIT :limit OFFSET :offset"
        return [Run(*row) for row in self.select(statement, limit=limit, offset=offset)]

    def run(self, run_id: str) -> Run | None:
        """Return a run by its id; None if there is none."""
        columns = ", ".join(Run.__dataclass_fields__)
        rows = self.select(f"SELECT {columns} FROM parsl_run WHERE run_id = :run_id", run_id=run_id)
        return Run(*rows[0]) if rows else None

    def stamps(self, limit: int = 500) -> dict[str, tuple[Any, ...]]:
        """Return for each of the newest runs, by id, a value that changes whenever rows of it do."""
        rows = self.select(
            "SELECT r.run_id, r.run, r.completed, j.segment, j.position FROM parsl_run r "
            "LEFT JOIN parsl_journal j ON j.run_id = r.run_id ORDER BY r.run DESC LIMIT :limit",
            limit=limit,
        )
        return {row[0]: tuple(row[1:]) for row in rows}

    def state_counts(self, run: int) -> dict[States, int]:
        """Return how many tasks of a run are in each state."""
        rows = [
            *self.select(
                "SELECT state, sum(number) FROM parsl_tally WHERE run = :run AND state >= 0 GROUP BY state", run=run
            ),
            *self.select(
                "SELECT state, count(*) FROM parsl_task WHERE run = :run AND returned IS NULL GROUP BY state", run=run
            ),
        ]
        return {States(state): int(count) for state, count in rows if state is not None and state >= 0}

    def apps(self, run: int) -> list[App]:
        """Return the apps of a run, those that took longest in all first."""
        states: dict[str, dict[States, int]] = {}
        done: dict[str, tuple[int, float, float]] = {}
        for app, state, number, seconds, longest in self.select(
            "SELECT app, state, number, seconds, longest FROM parsl_tally WHERE run = :run", run=run
        ):
            if state != schema.SUBMITTED_STATE:
                states.setdefault(app, {})[States(state)] = number
            if state == States.exec_done:
                done[app] = number, seconds, longest
        for app, state, number in self.select(
            "SELECT app, state, count(*) FROM parsl_task WHERE run = :run AND returned IS NULL GROUP BY app, state",
            run=run,
        ):
            states.setdefault(app, {})[States(state)] = number
        found = []
        for app, by_state in states.items():
            number, total, longest = done.get(app, (0, 0.0, None))
            found.append(App(app, by_state, total / number if number else None, longest, total))
        return sorted(found, key=lambda a: -a.total_seconds)

    # -- tasks ---------------------------------------------------------------------------------------------------

    def tasks(
        self,
        run: int,
        *,
        app: str | None = None,
        state: States | None = None,
        executor: str | None = None,
        after: int | None = None,
        limit: int = 100,
        newest: bool = False,
    ) -> list[Task]:
        """Return a page of the tasks of a run, by number.

        Args:
            run: number of the run.
            app: only those of this app, and `state` and `executor` likewise.
            state: see there.
            executor: see there.
            after: only those behind this number: the last one of the page before.
            limit: how many at most.
            newest: the largest number first.
        """
        wanted = {"app": app, "state": None if state is None else int(state), "executor": executor}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = "".join(f" AND t.{name} = :{name}" for name in given)
        if state is not None:
            # In the words of the partial indexes, so that they are used.
            if state in FINAL_FAILURE_STATES:
                where += f" AND t.state IN ({', '.join(str(int(s)) for s in sorted(FINAL_FAILURE_STATES))})"
            elif state not in FINAL_STATES:
                where += " AND t.returned IS NULL"
        if after is not None:
            where += f" AND t.task {'<' if newest else '>'} :after"
            given["after"] = after
        rows = self.select(
            f"{_TASK}WHERE t.run = :run{where} ORDER BY t.task {'DESC' if newest else 'ASC'} LIMIT :limit",
            run=run,
            limit=limit,
            **given,
        )
        return [_task(row) for row in rows]

    def tasks_of(self, run: int, numbers: Collection[int]) -> list[Task]:
        """Return the tasks with these numbers, as far as there are such, by number."""
        if not numbers:
            return []
        text = schema.sqlalchemy().text(f"{_TASK}WHERE t.run = :run AND t.task IN :numbers ORDER BY t.task")
        statement = text.bindparams(schema.sqlalchemy().bindparam("numbers", expanding=True))
        with self.engine.connect() as connection:
            rows = connection.execute(statement, {"run": run, "numbers": list(numbers)})
            return [_task(row) for row in rows]

    def slowest(self, run: int, limit: int = 20) -> list[Task]:
        """Return the tasks of a run with the tries that ran longest, at most `totals.SLOWEST` of them."""
        rows = self.select(
            f"{_TASK}JOIN parsl_slow s ON s.run = t.run AND s.task = t.task AND s.try_id = t.try_id "
            "WHERE t.run = :run ORDER BY s.seconds DESC LIMIT :limit",
            run=run,
            limit=limit,
        )
        return [_task(row) for row in rows]

    def task(self, run: int, task: int) -> dict[str, Any] | None:
        """Return all that is known of a task: `task`, and its rows in the tables of tries, moves, failures etc."""
        rows = self.select(f"{_TASK}WHERE t.run = :run AND t.task = :task", run=run, task=task)
        if not rows:
            return None
        found: dict[str, Any] = {"task": _task(rows[0])}
        for name in ("more", "try", "move", "failure", "file", "resource"):
            table = f"parsl_{name}"
            columns = schema.columns(table)
            of_task = self.select(
                f"SELECT {', '.join(columns)} FROM {table} WHERE run = :run AND task = :task",
                run=run,
                task=task,
            )
            found[name] = [dict(zip(columns, row, strict=True)) for row in of_task]
        return found

    def failures(self, run: int, limit: int = 100) -> list[dict[str, Any]]:
        """Return what went wrong in a run, grouped by kind and message of the error, the most frequent first.

        Each group has `kind`, `message`, `count`, and `task` and `traceback` of one of its tasks.
        """
        rows = self.select(
            "SELECT kind, message, count(*) AS number, min(task) FROM parsl_failure WHERE run = :run "
            "AND kind IS NOT NULL GROUP BY kind, message ORDER BY number DESC LIMIT :limit",
            run=run,
            limit=limit,
        )
        found = []
        for kind, message, count, task in rows:
            texts = self.select(
                "SELECT traceback FROM parsl_failure WHERE run = :run AND task = :task AND kind IS NOT NULL",
                run=run,
                task=task,
            )
            text = texts[0][0] if texts else None
            found.append({"kind": kind, "message": message, "count": count, "task": task, "traceback": text})
        return found

    # -- blocks, nodes, resources ---------------------------------------------------------------------------------

    def blocks(self, run: int) -> list[dict[str, Any]]:
        """Return the last status of each block of a run, with `executor`, `block`, `job`, `status`, `at`."""
        rows = self.select(
            "SELECT executor, block, job, status, at FROM parsl_block WHERE run = :run ORDER BY at", run=run
        )
        last = {(row[0], row[1]): row for row in rows}
        return [dict(zip(("executor", "block", "job", "status", "at"), row, strict=True)) for row in last.values()]

    def managers(self, run: int) -> list[dict[str, Any]]:
        """Return what was last told of each manager of a run; keys as the columns of `parsl_node`."""
        columns = schema.columns("parsl_node")
        rows = self.select(f"SELECT {', '.join(columns)} FROM parsl_node WHERE run = :run ORDER BY at", run=run)
        last = {row[columns.index("uid")]: row for row in rows}
        return [dict(zip(columns, row, strict=True)) for row in last.values()]

    def resources_by_node(self, run: int) -> list[dict[str, Any]]:
        """Return for each node of a run: `hostname`, `tries`, `cpu_seconds`, `most_resident` (bytes, of one try)."""
        ended = self.select(
            "SELECT w.hostname, sum(u.measured), sum(u.cpu_time), max(u.most_bytes) FROM parsl_use u "
            "JOIN parsl_worker w ON w.run = u.run AND w.worker = u.worker WHERE u.run = :run GROUP BY w.hostname",
            run=run,
        )
        # What has not ended is not among the sums yet.
        under_way = self.select(
            "SELECT hostname, count(*), sum(cpu), max(resident) FROM (SELECT w.hostname, "
            "max(s.user_time + s.system_time) AS cpu, max(s.resident) AS resident FROM parsl_task t "
            "JOIN parsl_resource s ON s.run = t.run AND s.task = t.task AND s.try_id = t.try_id "
            "JOIN parsl_worker w ON w.run = s.run AND w.worker = s.worker "
            "WHERE t.run = :run AND t.returned IS NULL AND t.state = :launched "
            "GROUP BY t.task, w.hostname) tries GROUP BY hostname",
            run=run,
            launched=int(States.launched),
        )
        found: dict[str | None, list[Any]] = {}
        for hostname, tries, cpu, most in (*ended, *under_way):
            row = found.setdefault(hostname, [0, 0.0, 0])
            row[:] = [row[0] + int(tries or 0), row[1] + float(cpu or 0), max(row[2], int(most or 0))]
        return [
            {"hostname": name, "tries": tries, "cpu_seconds": cpu, "most_resident": most or None}
            for name, (tries, cpu, most) in sorted(found.items(), key=lambda item: item[0] or "")
            if tries
        ]


def _task(row: Any) -> Task:
    values = list(row)
    values[2] = None if values[2] is None else States(values[2])
    return Task(*values)
