"""From what a user names to a database and a run."""

from __future__ import annotations

import os

import pytest

from parsl.monitoring.monitoring import MonitoringHub
from parsl.monitoring.queries.opening import NoSuchRunError, open_queries, open_run
from tests.monitoring.databases import hub, records


@pytest.fixture
def folder(tmp_path):
    """A folder with two runs, of which the newer is `run-2`."""
    for name in ("run-1", "run-2"):
        made = hub(tmp_path, name, workflow_name=name)
        made.send_records(records(0, 2))
        made.close()
    return tmp_path


def named(target, run_id=None):
    queries, run = open_run(target, run_id)
    with queries:
        return run.workflow_name


def test_whatever_names_a_run(folder):
    assert named(folder) == "run-2"
    assert named(folder / "monitoring.db") == "run-2"
    assert named(f"sqlite:///{folder}/monitoring.db") == "run-2"
    assert named(folder / "run-1") == "run-1"
    assert named(folder, "run-1") == "run-1"


def test_queries_alone(folder):
    queries, run = open_queries(folder)
    with queries:
        assert run is None
        assert len(queries.runs()) == 2


def test_a_database_elsewhere(tmp_path):
    made = hub(tmp_path, logging_endpoint=f"sqlite:///{tmp_path}/deep/other.db", workflow_name="elsewhere")
    made.close()
    assert named(tmp_path / "run-1") == "elsewhere"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "there is no "),
        ("", r"holds no monitoring\.db, and is no run folder"),
        ("000", "a run without monitoring"),
    ],
)
def test_what_is_no_run(tmp_path, name, words):
    (tmp_path / "000").mkdir()
    (tmp_path / "000" / "parsl.log").touch()
    with pytest.raises(NoSuchRunError, match=words):
        open_run(os.path.join(tmp_path, name))


def test_a_url_of_no_file(tmp_path):
    with pytest.raises(NoSuchRunError, match="there is no monitoring database at"):
        open_run(f"sqlite:///{tmp_path}/none.db")


def test_a_file_that_is_no_database_of_ours(tmp_path):
    import sqlite3

    sqlite3.connect(tmp_path / "some.db").close()
    (tmp_path / "some.db").touch()
    with pytest.raises(ValueError, match="version 0"):
        open_run(tmp_path / "some.db")


def test_names_that_do_not_tell_which(folder):
    with pytest.raises(NoSuchRunError, match=r"2 runs in .* have a name that begins with 'run'"):
        open_run(folder, "run")
    with pytest.raises(NoSuchRunError, match="0 runs"):
        open_run(folder, "other")


def test_a_run_that_is_not_in_its_database(folder):
    (folder / "run-1" / "monitoring" / "about.json").write_text(
        f'{{"run_id": "gone", "url": "sqlite:///{folder}/monitoring.db"}}'
    )
    with pytest.raises(NoSuchRunError, match="not in its database yet"):
        open_run(folder / "run-1")
    (folder / "run-1" / "monitoring" / "about.json").write_text("{")
    with pytest.raises(NoSuchRunError, match="does not tell its database"):
        open_run(folder / "run-1")


def test_a_hub_is_what_makes_these(folder):
    assert isinstance(MonitoringHub(), MonitoringHub)
    assert (folder / "run-1" / "monitoring" / "about.json").exists()
