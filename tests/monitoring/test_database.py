"""The database process under faults: whatever happens to it, no row is lost and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

from parsl.monitoring import database
from parsl.monitoring.db_manager import apply_journal
from parsl.monitoring.errors import MonitoringHubStartError
from tests.monitoring.databases import SOON, counts, hub, records, select


def wait_for(condition, seconds=SOON):
    """Return what `condition` returns once it is true: for changes of other processes, which tell nobody."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def tasks_in(folder):
    return counts(folder / "monitoring.db", ["task"])["task"]


def test_rows_are_there_while_the_run_goes_on(tmp_path):
    made = hub(tmp_path)
    made.send_records(records(0, 100))
    assert wait_for(lambda: tasks_in(tmp_path) == 100)
    made.close()
    assert select(tmp_path / "monitoring.db", "SELECT time_completed IS NOT NULL FROM workflow") == [(1,)]
    assert counts(tmp_path / "monitoring.db", ["task", "try", "status"]) == {"task": 100, "try": 100, "status": 300}


def test_a_killed_process_is_replaced_and_nothing_is_lost_or_doubled(tmp_path):
    made = hub(tmp_path)
    made.send_records(records(0, 1000))
    for first in (1000, 2000, 3000):
        pid = made._database.pid
        os.kill(pid, signal.SIGKILL)
        made.send_records(records(first, 1000))
        wait_for(lambda pid=pid: made._database.pid != pid)
    assert wait_for(lambda: tasks_in(tmp_path) == 4000)
    made.close()
    assert counts(tmp_path / "monitoring.db", ["task", "try", "status"]) == {"task": 4000, "try": 4000, "status": 12000}
    assert select(tmp_path / "monitoring.db", "SELECT tasks_completed_count FROM workflow") == [(4000,)]


def test_one_killed_at_the_very_end_is_replaced_as_well(tmp_path):
    made = hub(tmp_path)
    os.kill(made._database.pid, signal.SIGSTOP)
    made.send_records(records(0, 1000))
    pid = made._database.pid
    os.kill(pid, signal.SIGKILL)
    made.close()
    assert tasks_in(tmp_path) == 1000


def test_a_frozen_process_is_replaced_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SILENT_SECONDS", 2.0)
    made = hub(tmp_path)
    pid = made._database.pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    made.send_records(records(0, 1000))
    assert time.monotonic() - began < 1  # nobody waits for it
    made.close()
    assert not psutil.pid_exists(pid)
    assert tasks_in(tmp_path) == 1000


def test_a_reader_with_a_lock_delays_rows_and_nothing_else(tmp_path):
    made = hub(tmp_path)
    made.send_records(records(0, 10))
    wait_for(lambda: tasks_in(tmp_path) == 10)
    other = sqlite3.connect(tmp_path / "monitoring.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    made.send_records(records(10, 10))
    log = tmp_path / "run-1" / "database_manager.log"
    wait_for(lambda: "tried again" in log.read_text())
    other.execute("COMMIT")
    other.close()
    made.close()
    assert tasks_in(tmp_path) == 20


def test_a_lock_that_stays_is_not_waited_for_for_ever(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(database, "LOCKED_SECONDS", 0.5)
    made = hub(tmp_path)
    other = sqlite3.connect(tmp_path / "monitoring.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    made.send_records(records(0, 10))
    made.close()
    assert "goes on trying" in caplog.text
    left = database._left_alone.pop()
    assert left.poll() is None
    other.execute("COMMIT")
    other.close()
    # It finishes by itself.
    assert left.wait(SOON) == 0
    assert tasks_in(tmp_path) == 10


def test_a_process_that_cannot_be_had_leaves_a_journal_that_can_be_applied(tmp_path, monkeypatch, caplog):
    made = hub(tmp_path)
    monkeypatch.setattr(database.sys, "executable", "/bin/false")
    os.kill(made._database.pid, signal.SIGKILL)
    made.send_records(records(0, 100))
    made.close()
    assert "python -m parsl.monitoring.db_manager" in caplog.text
    monkeypatch.undo()
    assert tasks_in(tmp_path) == 0
    command = [sys.executable, "-m", "parsl.monitoring.db_manager", str(tmp_path / "run-1")]
    assert subprocess.run(command, check=False, timeout=SOON).returncode == 0
    assert tasks_in(tmp_path) == 100
    # A second time changes nothing.
    assert apply_journal(str(tmp_path / "run-1"))
    assert counts(tmp_path / "monitoring.db", ["task", "status"]) == {"task": 100, "status": 300}


def test_a_killed_script_loses_nothing_that_was_written(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from tests.monitoring.databases import hub, records\n"
        f"made = hub(Path({str(tmp_path)!r})); made.send_records(records(0, 500))\n"
        "made._journal.close(60); print(made._database.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=SOON)
    pid = int(done.stdout)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    assert tasks_in(tmp_path) == 500


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////proc/nothing/there.db", "/proc/nothing"),
        ("nonsense", "no URL"),
        ("mysql://host/name", "not in 'mysql'"),
        ("postgresql://nobody:x@127.0.0.1:1/none", "refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_at_the_start(tmp_path, url, words):
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg2", reason="PostgreSQL's library is of the extra 'services'")
    with pytest.raises(MonitoringHubStartError, match=words):
        hub(tmp_path, logging_endpoint=url)


def test_a_file_that_is_no_database_is_told_at_the_start(tmp_path):
    (tmp_path / "monitoring.db").write_text("these are not the rows that you are looking for" * 100)
    with pytest.raises(MonitoringHubStartError, match="not a database"):
        hub(tmp_path)


def test_two_runs_write_one_database_at_once(tmp_path):
    hubs = [hub(tmp_path, f"run-{n}") for n in range(2)]
    for first in range(0, 1000, 100):
        for made in hubs:
            made.send_records(records(first, 100))
    for made in hubs:
        made.close()
    assert tasks_in(tmp_path) == 2000
    assert select(tmp_path / "monitoring.db", "SELECT count(DISTINCT run_id) FROM task") == [(2,)]


def test_a_journal_that_cannot_be_read_hangs_nobody(tmp_path, caplog):
    made = hub(tmp_path)
    made.send_records(records(0, 10))
    wait_for(lambda: tasks_in(tmp_path) == 10)
    made._journal.close(SOON)
    path = tmp_path / "run-1" / "monitoring" / "journal-000001"
    with path.open("ab") as file:
        file.write(b"\x04\x00\x00\x00\xc1\xc1\xc1\xc1")
    made.close()
    assert "Not all of what monitoring knows" in caplog.text
    assert tasks_in(tmp_path) == 10
