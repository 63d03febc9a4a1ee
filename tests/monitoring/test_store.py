from __future__ import annotations

import os
import sqlite3

import pytest

from parsl.monitoring import schema
from parsl.monitoring.migrations import NewerDatabaseError
from parsl.monitoring.queries import plots
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.records import FILE, Batch
from parsl.monitoring.store import Store
from tests.live.pilot import wait_for
from tests.monitoring.databases import VIEWS, hub, records

PUBLIC = {
    "workflow": "run_id workflow_name workflow_version time_began time_completed host user rundir tasks_failed_count "
    "tasks_completed_count",
    "task": "task_id run_id task_depends task_func_name task_memoize task_hashsum task_inputs task_outputs task_stdin "
    "task_stdout task_stderr task_time_invoked task_time_returned task_fail_count task_fail_cost",
    "try": "try_id task_id run_id block_id hostname task_executor task_try_time_launched task_try_time_running "
    "task_try_time_returned task_fail_history task_joins",
    "status": "task_id task_status_name timestamp run_id try_id",
    "node": "run_id hostname uid block_id cpu_count total_memory active worker_count python_v timestamp last_heartbeat",
    "block": "run_id executor_label block_id job_id timestamp status",
    "resource": "try_id task_id run_id timestamp resource_monitoring_interval psutil_process_pid "
    "psutil_process_memory_percent psutil_process_children_count psutil_process_time_user psutil_process_time_system "
    "psutil_process_memory_virtual psutil_process_memory_resident psutil_process_disk_read psutil_process_disk_write "
    "psutil_process_status psutil_cpu_num psutil_process_num_ctx_switches_voluntary "
    "psutil_process_num_ctx_switches_involuntary",
}


def test_users_find_the_tables_and_columns_that_they_know(url):
    store = Store(url)
    store.prepare()
    with store.engine.connect() as connection:
        for table, columns in PUBLIC.items():
            found = connection.exec_driver_sql(f'SELECT * FROM "{table}"').keys()
            assert set(columns.split()) <= set(found), table
    store.close()


def test_preparing_again_changes_nothing(url):
    for _ in range(2):
        store = Store(url)
        store.prepare()
        assert store.open_run("a") == (1, 1, 0, 0)
        store.close()


def test_odd_texts_are_held(url, tmp_path):
    made = hub(tmp_path, logging_endpoint=url)
    made.send_records(Batch([(FILE, 1, 0, "a\0b", "\udc80", None)]))
    made.close()
    with RunQueries(url) as queries:
        ((name, file_url),) = queries.select("SELECT file_name, file_url FROM input_file")
        assert name in {"a\0b", "a\\0b"}
        assert file_url == "\\udc80"


def test_a_run_in_it_is_answered_for(url, tmp_path):
    made = hub(tmp_path, logging_endpoint=url)
    made.send_records(records(0, 1000))
    made.close()
    with RunQueries(url) as queries:
        assert [(r.run_id, r.completed_count, r.failed_count) for r in queries.runs()] == [("run-1", 1000, 0)]
        assert queries.run("run-1").run == 1
        assert queries.run("other") is None
        assert {s.name: n for s, n in queries.state_counts(1).items()} == {"exec_done": 1000}
        assert [(a.app, a.mean_seconds) for a in queries.apps(1)] == [("app", 1.0)]
        assert [t.task for t in queries.tasks(1, after=500, limit=3)] == [501, 502, 503]
        assert queries.tasks(1, app="'; DROP TABLE parsl_task; --") == []
        assert queries.task(1, 7)["task"].executor == "htex"
        assert queries.task(1, 10**6) is None
        assert plots.states_over_time(queries, 1)[-1][1:] == (0, 0, 1000, 0)
        assert queries.slowest(1) == queries.failures(1) == queries.blocks(1) == queries.managers(1) == []
        assert queries.resources_by_node(1) == []
        for view in VIEWS:
            queries.select(f'SELECT * FROM "{view}" LIMIT 1')
        status = queries.select("SELECT task_status_name, count(*) FROM status GROUP BY task_status_name ORDER BY 1")
        assert [tuple(row) for row in status] == [("exec_done", 1000), ("launched", 1000), ("pending", 1000)]


@pytest.mark.services
@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.services)], indirect=True)
def test_a_lock_on_a_server_delays_rows_and_loses_none(url, tmp_path):
    made = hub(tmp_path, logging_endpoint=url)
    other = Store(url)
    log = tmp_path / "run-1" / "database_manager.log"
    with other.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE parsl_task IN ACCESS EXCLUSIVE MODE")
        made.send_records(records(0, 100))
        wait_for(lambda: "tried again" in log.read_text())
        os.kill(made._database.pid, 9)
    made.close()
    other.close()
    with RunQueries(url) as queries:
        assert queries.select("SELECT count(*) FROM status")[0][0] == 300


def test_a_database_of_a_later_release_is_left_alone(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/monitoring.db")
    store.prepare()
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE parsl_schema SET version = {schema.VERSION + 1}")
    with pytest.raises(NewerDatabaseError, match="newer release"):
        store.prepare()
    store.close()
    with pytest.raises(ValueError, match="version"):
        RunQueries(f"sqlite:///{tmp_path}/monitoring.db")


def test_reading_makes_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no monitoring database"):
        RunQueries(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_reading_changes_nothing(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/monitoring.db")
    store.prepare()
    store.close()
    with RunQueries(f"sqlite:///{tmp_path}/monitoring.db") as queries, pytest.raises(Exception, match="readonly"):
        queries.select("DELETE FROM parsl_schema")


def test_the_rows_of_the_released_package_are_taken_over(tmp_path):
    old = sqlite3.connect(tmp_path / "monitoring.db")
    for table in ("workflow", "task", "try", "status"):
        columns = ", ".join(f'"{c}"' for c in PUBLIC[table].split())
        old.execute(f'CREATE TABLE "{table}" ({columns})')
    began = "2024-05-01 10:00:00.250000"
    old.execute(
        'INSERT INTO workflow (run_id, workflow_name, time_began, rundir, "user") VALUES (?, ?, ?, ?, ?)',
        ("old", "name", began, "dir", "me"),
    )
    old.execute(
        "INSERT INTO task (run_id, task_id, task_func_name, task_time_invoked, task_inputs) VALUES (?, ?, ?, ?, ?)",
        ("old", 0, "f", began, "[1]"),
    )
    old.execute('INSERT INTO "try" (run_id, task_id, try_id, task_executor) VALUES (?, ?, ?, ?)', ("old", 0, 0, "htex"))
    for name, at in [("pending", began), ("exec_done", "2024-05-01 10:00:01.5")]:
        row = (0, "old", name, at, 0)
        old.execute("INSERT INTO status (task_id, run_id, task_status_name, timestamp, try_id) VALUES (?,?,?,?,?)", row)
    old.commit()
    old.close()
    store = Store(f"sqlite:///{tmp_path}/monitoring.db")
    store.prepare()
    assert store.open_run("new")[0] == 2
    store.close()
    with RunQueries(f"sqlite:///{tmp_path}/monitoring.db") as queries:
        assert queries.run("old").workflow_name == "name"
        assert [tuple(r) for r in queries.select("SELECT time_began FROM workflow WHERE run_id = 'old'")] == [(began,)]
        assert [(t.app, t.state.name) for t in queries.tasks(1)] == [("f", "exec_done")]
        assert [tuple(r) for r in queries.select("SELECT task_inputs FROM task")] == [("[1]",)]
