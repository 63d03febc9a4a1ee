"""The tables of the monitoring database, once: for the writer, for queries and for the pages.

What is written is compact: tables whose names begin with `parsl_`, in which a run is a number and times are seconds
since the epoch. What users query (`workflow`, `task`, `try`, `status`, `resource`, `node`, `block`, `input_file`,
`output_file`) are views of them, with the columns that the released package has. A row for each state of each task is
not stored where the task's and its tries' own times tell it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, States
from parsl.errors import OptionalModuleMissing

if TYPE_CHECKING:
    from sqlalchemy import MetaData

VERSION = 2

NEEDS_SQLALCHEMY = "Monitoring needs it: pip install 'parsl[monitoring]'"

# In parsl_tally, the state under which submitted tasks are counted.
SUBMITTED_STATE = -1

# Columns of each table by type; the first `keys` of them are its primary key.
# i: whole number, r: real number, t: text
TABLES: dict[str, tuple[int, str]] = {
    "parsl_schema": (1, "i:version"),
    "parsl_journal": (1, "t:run_id i:segment i:position"),
    "parsl_run": (
        1,
        (
            "i:run t:run_id t:workflow_name t:workflow_version r:began r:completed t:host t:user_name t:rundir "
            "i:failed_count i:completed_count r:interval t:python_version t:parsl_version"
        ),
    ),
    "parsl_task": (2, "i:run i:task i:state i:try_id t:app t:executor r:invoked r:returned"),
    # What only some tasks have.
    "parsl_more": (
        2,
        (
            "i:run i:task i:memoize i:is_join t:depends t:inputs t:outputs t:stdin t:stdout t:stderr t:hashsum "
            "i:fail_count r:fail_cost t:joins"
        ),
    ),
    # The CPU seconds are those of short tries, which have no row in parsl_resource.
    "parsl_try": (
        3,
        "i:run i:task i:try_id i:state t:executor r:launched r:running r:running_ended r:returned i:worker r:cpu_time",
    ),
    # A worker, and what its short tries have in common.
    "parsl_worker": (2, "i:run i:worker t:block t:hostname i:pid i:resident i:virtual r:memory_percent"),
    # For each app how many tasks ended in each state, with the seconds that they ran, in all and the longest; and under
    # state -1 how many were submitted. So a page need not count a million rows.
    "parsl_tally": (3, "i:run t:app i:state i:number r:seconds r:longest"),
    # What plots show, added up as rows come: see totals.py. A bin is `2.0**level` seconds wide, and all of a run are of
    # one level; `late` and what ends so is the sum of the weights times the seconds since the begin of the bin.
    "parsl_flow": (3, "i:run i:level i:bin i:came i:launched i:ended i:failed"),
    "parsl_use": (
        5,
        (
            "i:run i:level i:bin i:worker t:executor i:tries r:tries_late r:cores r:cores_late i:bytes r:bytes_late "
            "i:measured r:cpu_time i:most_bytes"
        ),
    ),
    # How many tries of an app took how long, by the classes of `totals.DURATIONS`.
    "parsl_durations": (3, "i:run t:app i:step i:number"),
    # The longest tries.
    "parsl_slow": (3, "i:run i:task i:try_id r:seconds"),
    # How often tasks of one app waited for those of another.
    "parsl_edge": (4, "i:run t:earlier t:later i:is_join i:number"),
    "parsl_move": (5, "i:run i:task i:try_id r:at i:state"),
    # What the kernel says of tasks that wait for long: the newest word on each, its details one a line.
    "parsl_waiting": (2, "i:run i:task r:at t:reason t:text t:details"),
    "parsl_failure": (3, "i:run i:task i:try_id t:kind t:message t:traceback"),
    "parsl_resource": (
        4,
        (
            "i:run i:task i:try_id r:at i:worker r:user_time r:system_time i:resident i:virtual r:memory_percent "
            "i:children i:read_bytes i:written_bytes i:voluntary i:involuntary i:cpu t:status r:gpu_percent "
            "i:gpu_memory"
        ),
    ),
    "parsl_node": (
        0,
        (
            "i:run r:at t:uid t:hostname t:executor t:block i:cpu_count i:total_memory i:active i:worker_count "
            "t:python_version r:heartbeat t:what"
        ),
    ),
    "parsl_block": (0, "i:run r:at t:executor t:block t:job t:status"),
    "parsl_file": (0, "i:run i:task i:direction t:name t:url t:local_path"),
}

INDEXES: dict[str, tuple[str, list[str]]] = {
    "parsl_run_by_id": ("parsl_run", ["run_id"]),
    # Of failed tasks only, so that the many that end well cost nothing.
    "parsl_task_failed": ("parsl_task", ["run", "state", "app"]),
    # Of those that have not ended.
    "parsl_task_open": ("parsl_task", ["run", "state", "app"]),
    "parsl_node_by_run": ("parsl_node", ["run"]),
    "parsl_block_by_run": ("parsl_block", ["run"]),
    "parsl_file_by_task": ("parsl_file", ["run", "task"]),
}

# Tables whose rows are added to those that are there; and of their columns those in which the largest stays.
SUMS = frozenset({"parsl_tally", "parsl_flow", "parsl_use", "parsl_durations", "parsl_edge"})
LARGEST = frozenset({"longest", "most_bytes"})

_PARTIAL = {
    "parsl_task_failed": "state IN ({}, {})".format(*sorted(map(int, FINAL_FAILURE_STATES))),
    "parsl_task_open": "returned IS NULL",
}


def columns(table: str) -> list[str]:
    """Name the columns of a table, in order."""
    return [word.partition(":")[2] for word in TABLES[table][1].split()]


def metadata() -> MetaData:
    """Make the SQLAlchemy description of all tables and indexes.

    Raises:
        OptionalModuleMissing: when SQLAlchemy is not installed.
    """
    sa = sqlalchemy()
    types = {"i": sa.BigInteger, "r": sa.Double, "t": sa.Text}
    found = sa.MetaData()
    for name, (keys, text) in TABLES.items():
        words = [word.partition(":") for word in text.split()]
        sa.Table(
            name,
            found,
            *(
                sa.Column(column, types[kind], primary_key=at < keys, autoincrement=False, nullable=at >= keys)
                for at, (kind, _, column) in enumerate(words)
            ),
            # Rows lie in the order of the key, and there is no second copy of it.
            sqlite_with_rowid=not keys,
        )
    for name, (table, names) in INDEXES.items():
        column = found.tables[table].c
        some: dict[str, Any] = {}
        if name in _PARTIAL:
            where = sa.text(_PARTIAL[name])
            some = {"sqlite_where": where, "postgresql_where": where}
        sa.Index(name, *(column[n] for n in names), **some)
    made: MetaData = found
    return made


def sqlalchemy() -> Any:
    """Import SQLAlchemy.

    Raises:
        OptionalModuleMissing: when it is not installed.
    """
    try:
        import sqlalchemy
    except ImportError as e:
        raise OptionalModuleMissing(["sqlalchemy"], NEEDS_SQLALCHEMY) from e
    return sqlalchemy


# -- what users query --------------------------------------------------------------------------------------------------


def _sqlite_time(column: str) -> str:
    # Whole seconds and microseconds apart: the function rounds to milliseconds.
    whole = f"CAST({column} AS INTEGER)"
    return (
        f"(strftime('%Y-%m-%d %H:%M:%S', {whole}, 'unixepoch', 'localtime') "
        f"|| printf('.%06d', CAST(({column} - {whole}) * 1000000 AS INTEGER)))"
    )


def _postgresql_time(column: str) -> str:
    return f"CAST(to_timestamp({column}) AS timestamp)"


_OF_WORKER = "LEFT JOIN parsl_worker w ON w.run = t.run AND w.worker = t.worker"

_TIME: dict[str, Callable[[str], str]] = {"sqlite": _sqlite_time, "postgresql": _postgresql_time}


def state_name(column: str) -> str:
    """Return the SQL expression for the name of the state whose number a column holds."""
    cases = " ".join(f"WHEN {s.value} THEN '{s.name}'" for s in States)
    return f"CASE {column} {cases} END"


def views(dialect: str) -> dict[str, str]:
    """Return the SELECT of each view that users query.

    Args:
        dialect: 'sqlite' or 'postgresql'.
    """
    time = _TIME[dialect]
    final = ", ".join(str(s.value) for s in sorted(FINAL_STATES))
    truth = {"sqlite": "{0}", "postgresql": "({0} <> 0)"}[dialect]

    def of_run(table: str, what: str, extra: str = "") -> str:
        return f"SELECT {what} FROM {table} t JOIN parsl_run r ON r.run = t.run {extra}"

    def state(table: str, state: str, try_id: str, at: str, where: str) -> str:
        what = f"r.run_id, t.task AS task_id, {try_id} AS try_id, {state} AS task_status_name, {time(at)} AS timestamp"
        return of_run(table, what, f"WHERE {where}")

    return {
        "workflow": (
            "SELECT run_id, workflow_name, workflow_version, "
            f'{time("began")} AS time_began, {time("completed")} AS time_completed, host, user_name AS "user", '
            "rundir, failed_count AS tasks_failed_count, completed_count AS tasks_completed_count FROM parsl_run"
        ),
        "task": of_run(
            "parsl_task",
            "t.task AS task_id, r.run_id, m.depends AS task_depends, t.app AS task_func_name, "
            f"{truth.format('coalesce(m.memoize, 0)')} AS task_memoize, m.hashsum AS task_hashsum, "
            "m.inputs AS task_inputs, m.outputs AS task_outputs, m.stdin AS task_stdin, m.stdout AS task_stdout, "
            f"m.stderr AS task_stderr, {time('t.invoked')} AS task_time_invoked, "
            f"{time('t.returned')} AS task_time_returned, coalesce(m.fail_count, 0) AS task_fail_count, "
            "coalesce(m.fail_cost, 0.0) AS task_fail_cost",
            "LEFT JOIN parsl_more m ON m.run = t.run AND m.task = t.task",
        ),
        "try": of_run(
            "parsl_try",
            "t.try_id, t.task AS task_id, r.run_id, w.block AS block_id, w.hostname, t.executor AS task_executor, "
            f"{time('t.launched')} AS task_try_time_launched, {time('t.running')} AS task_try_time_running, "
            f"{time('t.returned')} AS task_try_time_returned, f.message AS task_fail_history, m.joins AS task_joins",
            "LEFT JOIN parsl_worker w ON w.run = t.run AND w.worker = t.worker "
            "LEFT JOIN parsl_failure f ON f.run = t.run AND f.task = t.task AND f.try_id = t.try_id "
            "LEFT JOIN parsl_more m ON m.run = t.run AND m.task = t.task",
        ),
        "status": " UNION ALL ".join(
            [
                state("parsl_task", "'pending'", "0", "t.invoked", "t.invoked IS NOT NULL"),
                state("parsl_try", "'launched'", "t.try_id", "t.launched", "t.launched IS NOT NULL"),
                state("parsl_try", "'running'", "t.try_id", "t.running", "t.running IS NOT NULL"),
                state("parsl_try", "'running_ended'", "t.try_id", "t.running_ended", "t.running_ended IS NOT NULL"),
                state("parsl_move", state_name("t.state"), "t.try_id", "t.at", "1 = 1"),
                state("parsl_task", state_name("t.state"), "t.try_id", "t.returned", f"t.state IN ({final})"),
            ]
        ),
        "resource": of_run(
            "parsl_resource",
            f"t.try_id, t.task AS task_id, r.run_id, {time('t.at')} AS timestamp, "
            "r.interval AS resource_monitoring_interval, w.pid AS psutil_process_pid, "
            "t.memory_percent AS psutil_process_memory_percent, t.children AS psutil_process_children_count, "
            "t.user_time AS psutil_process_time_user, t.system_time AS psutil_process_time_system, "
            "t.virtual AS psutil_process_memory_virtual, t.resident AS psutil_process_memory_resident, "
            "t.read_bytes AS psutil_process_disk_read, t.written_bytes AS psutil_process_disk_write, "
            "t.status AS psutil_process_status, t.cpu AS psutil_cpu_num, "
            "t.voluntary AS psutil_process_num_ctx_switches_voluntary, "
            "t.involuntary AS psutil_process_num_ctx_switches_involuntary, t.gpu_percent, t.gpu_memory",
            _OF_WORKER,
        )
        + " UNION ALL "
        + of_run(
            "parsl_try",
            f"t.try_id, t.task, r.run_id, {time('t.running_ended')}, r.interval, w.pid, w.memory_percent, 0, "
            "t.cpu_time, 0.0, w.virtual, w.resident, 0, 0, NULL, NULL, 0, 0, NULL, NULL",
            f"{_OF_WORKER} WHERE t.cpu_time IS NOT NULL",
        ),
        "node": of_run(
            "parsl_node",
            "r.run_id, t.hostname, t.uid, t.block AS block_id, t.cpu_count, t.total_memory, "
            f"{truth.format('t.active')} AS active, t.worker_count, t.python_version AS python_v, "
            f"{time('t.at')} AS timestamp, {time('t.heartbeat')} AS last_heartbeat",
        ),
        "block": of_run(
            "parsl_block",
            "r.run_id, t.executor AS executor_label, t.block AS block_id, t.job AS job_id, "
            f"{time('t.at')} AS timestamp, t.status",
        ),
        **{
            f"{name}_file": of_run(
                "parsl_file",
                "r.run_id, t.task AS task_id, t.name AS file_name, t.url AS file_url, t.local_path AS file_path",
                f"WHERE t.direction = {number}",
            )
            for number, name in enumerate(("input", "output"))
        },
    }
