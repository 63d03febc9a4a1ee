"""How a database of an earlier version is brought up to date.

A migration is a function that takes the database from one version to the next, in the transaction of all. Version 0 is
an empty database, or one that the released package made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.dataflow.states import States
from parsl.monitoring import schema, totals_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

    from parsl.monitoring.upserts import Upserts

logger = logging.getLogger(__name__)

# What the tables of the released package are called once theirs are the names of views.
EARLIER = "earlier_"


class NewerDatabaseError(ValueError):
    """A later release has written the database."""


def migrate(connection: Connection, metadata: MetaData, upsert: Upserts) -> None:
    """Bring the database up to date; nothing happens when it is.

    Args:
        connection: in a transaction.
        metadata: the description of the tables, and `upsert` what adds rows to them.
        upsert: see there.

    Raises:
        NewerDatabaseError: when a later release has written it.
    """
    version = current_version(connection)
    if version > schema.VERSION:
        raise NewerDatabaseError(
            f"the database has version {version}, and this release of parsl knows versions up to {schema.VERSION}: "
            "use a newer release, or another database"
        )
    for step in range(version, schema.VERSION):
        logger.info("Bringing the database from version %d to %d", step, step + 1)
        MIGRATIONS[step](connection, metadata, upsert)
    if version < schema.VERSION:
        text = schema.sqlalchemy().text
        connection.execute(text("DELETE FROM parsl_schema"))
        connection.execute(text("INSERT INTO parsl_schema VALUES (:version)"), {"version": schema.VERSION})


def current_version(connection: Connection) -> int:
    """Return the version of a database; 0 when it has none of our tables."""
    sa = schema.sqlalchemy()
    if not sa.inspect(connection).has_table("parsl_schema"):
        return 0
    found = connection.execute(sa.text("SELECT version FROM parsl_schema")).first()
    return 0 if found is None else int(found[0])


def make_views(connection: Connection) -> None:
    """Make the views that users query, in place of those that there are."""
    preparer = connection.dialect.identifier_preparer
    for name, select in schema.views(connection.dialect.name).items():
        quoted = preparer.quote_identifier(name)
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {quoted}")
        # The driver of PostgreSQL takes a single percent sign for a placeholder.
        escaped = select.replace("%", "%%") if connection.dialect.name == "postgresql" else select
        connection.exec_driver_sql(f"CREATE VIEW {quoted} AS {escaped}")


def _first(connection: Connection, metadata: MetaData, _upsert: Upserts) -> None:
    """Make all tables, and take over the rows of the released package's."""
    sa = schema.sqlalchemy()
    tables = set(sa.inspect(connection).get_table_names())
    earlier = tables.intersection(schema.views(connection.dialect.name))
    for name in sorted(earlier):
        connection.exec_driver_sql(f'ALTER TABLE "{name}" RENAME TO "{EARLIER}{name}"')
    metadata.create_all(connection)
    make_views(connection)
    if "workflow" in earlier:
        logger.warning("The tables of an earlier release are kept as %s..., and their rows are taken over", EARLIER)
        _take_over(connection, earlier)


def _take_over(connection: Connection, earlier: set[str]) -> None:
    sqlite = connection.dialect.name == "sqlite"

    def seconds(column: str) -> str:
        if sqlite:
            # Local time, as text; the part of a second apart, since the function rounds it off.
            return (
                f"(CAST(strftime('%s', substr({column}, 1, 19), 'utc') AS REAL) "
                f"+ CAST('0' || substr({column}, 20) AS REAL))"
            )
        return f"CAST(extract(epoch FROM CAST({column} AS timestamptz)) AS double precision)"

    states = " ".join(f"WHEN '{s.name}' THEN {s.value}" for s in States)
    run = "JOIN parsl_run r ON r.run_id = t.run_id"
    # The state of a task is that of its newest row; where two are of one time, the one with the larger number is final
    # or nearer to it, save for those that only monitoring sees.
    statements = {
        "workflow": (
            "INSERT INTO parsl_run (run, run_id, workflow_name, workflow_version, began, completed, host, user_name, "
            "rundir, failed_count, completed_count) SELECT row_number() OVER (ORDER BY time_began), run_id, "
            f'workflow_name, workflow_version, {seconds("time_began")}, {seconds("time_completed")}, host, "user", '
            f"rundir, coalesce(tasks_failed_count, 0), coalesce(tasks_completed_count, 0) FROM {EARLIER}workflow"
        ),
        "task": (
            "INSERT INTO parsl_task (run, task, try_id, app, invoked, returned) SELECT r.run, t.task_id, 0, "
            f"t.task_func_name, {seconds('t.task_time_invoked')}, {seconds('t.task_time_returned')} "
            f"FROM {EARLIER}task t {run}"
        ),
        "task ": (
            "INSERT INTO parsl_more (run, task, memoize, is_join, hashsum, depends, inputs, outputs, stdin, stdout, "
            "stderr, fail_count, fail_cost) SELECT r.run, t.task_id, 0, 0, t.task_hashsum, t.task_depends, "
            "t.task_inputs, t.task_outputs, t.task_stdin, t.task_stdout, t.task_stderr, t.task_fail_count, "
            f"t.task_fail_cost FROM {EARLIER}task t {run}"
        ),
        "try": (
            "INSERT INTO parsl_try (run, task, try_id, executor, launched, running, returned) "
            f"SELECT r.run, t.task_id, t.try_id, t.task_executor, {seconds('t.task_try_time_launched')}, "
            f"{seconds('t.task_try_time_running')}, {seconds('t.task_try_time_returned')} FROM {EARLIER}try t {run}"
        ),
        "status": (
            f"UPDATE parsl_task SET state = (SELECT CASE s.task_status_name {states} END FROM {EARLIER}status s "
            "JOIN parsl_run r ON r.run_id = s.run_id WHERE r.run = parsl_task.run AND s.task_id = parsl_task.task "
            "AND s.task_status_name NOT IN ('running', 'running_ended') ORDER BY s.timestamp DESC LIMIT 1)"
        ),
    }
    for table, statement in statements.items():
        if table.strip() in earlier:
            escaped = statement if sqlite else statement.replace("%", "%%")
            connection.exec_driver_sql(escaped)


def _sums(connection: Connection, metadata: MetaData, upsert: Upserts) -> None:
    """Add up what plots show of the runs that are there; from then on that is done as rows come."""
    metadata.create_all(connection)
    for (run,) in connection.execute(schema.sqlalchemy().text("SELECT run FROM parsl_run ORDER BY run")).all():
        totals_tables.refill(connection, upsert, run)


MIGRATIONS: list[Callable[[Any, Any, Any], None]] = [_first, _sums]
