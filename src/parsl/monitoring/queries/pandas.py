"""Tables of one run as pandas data frames. `db` is a connection or engine of SQLAlchemy, or the database's URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.schema import sqlalchemy

if TYPE_CHECKING:
    from pandas import DataFrame


def _read(db: Any, statement: str, **values: Any) -> DataFrame:
    """Run a query whose values are bound, never put into its text."""
    text = sqlalchemy().text(statement)
    try:
        import pandas
    except ImportError as e:
        raise OptionalModuleMissing(["pandas"], "Data frames need it: pip install 'parsl[visualization]'") from e
    return pandas.read_sql_query(text, db, params=values)


def app_counts_for_workflow(workflow_id: Any, db: Any) -> DataFrame:
    """Return how many tasks each app of a run has: `task_func_name`, `count`."""
    return _read(
        db,
        "SELECT task_func_name, count(*) AS count FROM task WHERE run_id = :run GROUP BY task_func_name",
        run=workflow_id,
    )


def tasks_for_workflow(workflow_id: Any, db: Any) -> DataFrame:
    """Return the rows of table `task` of a run."""
    return _read(db, "SELECT * FROM task WHERE run_id = :run", run=workflow_id)


def nodes_for_workflow(workflow_id: Any, db: Any) -> DataFrame:
    """Return the rows of table `node` of a run."""
    return _read(db, "SELECT * FROM node WHERE run_id = :run", run=workflow_id)


def resources_for_workflow(workflow_id: Any, db: Any) -> DataFrame:
    """Return the rows of table `resource` of a run."""
    return _read(db, "SELECT * FROM resource WHERE run_id = :run", run=workflow_id)


def resources_for_task(workflow_id: Any, task_id: Any, db: Any) -> DataFrame:
    """Return the rows of table `resource` of a task."""
    return _read(
        db, "SELECT * FROM resource WHERE run_id = :run AND task_id = :task", run=workflow_id, task=int(task_id)
    )


def status_for_task(workflow_id: Any, task_id: Any, db: Any) -> DataFrame:
    """Return the rows of table `status` of a task, in order of time."""
    return _read(
        db,
        "SELECT * FROM status WHERE run_id = :run AND task_id = :task ORDER BY timestamp",
        run=workflow_id,
        task=int(task_id),
    )


def completion_times_for_workflow(workflow_id: Any, db: Any) -> DataFrame:
    """Return when each task of a run ended, in order: `task_id`, `task_time_returned`."""
    return _read(
        db,
        "SELECT task_id, task_time_returned FROM task WHERE run_id = :run AND task_time_returned IS NOT NULL "
        "ORDER BY task_time_returned",
        run=workflow_id,
    )


def full_task_info(workflow_id: Any, task_id: Any, db: Any) -> DataFrame:
    """Return the row of table `task` of a task."""
    return _read(db, "SELECT * FROM task WHERE run_id = :run AND task_id = :task", run=workflow_id, task=int(task_id))
