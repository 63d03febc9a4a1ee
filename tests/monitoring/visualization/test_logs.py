from __future__ import annotations

import os

from parsl.monitoring.visualization import logs


def test_logs_are_found_and_what_is_none_is_not(tmp_path):
    (tmp_path / "htex" / "block-0").mkdir(parents=True)
    (tmp_path / "htex" / "block-0" / "worker_0.log").write_text("a\n")
    (tmp_path / "parsl.log").write_text("b\n")
    (tmp_path / "tasks.pkl").write_text("c")
    (tmp_path / "secret.log").symlink_to("/etc/passwd")
    assert [f.name for f in logs.find(str(tmp_path))] == ["parsl.log", "htex/block-0/worker_0.log"]


def test_no_folder_has_no_logs(tmp_path):
    assert logs.find(None) == logs.find("") == logs.find(str(tmp_path / "none")) == []


def test_there_are_not_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_MOST_FILES", 3)
    for n in range(9):
        (tmp_path / f"{n}.log").touch()
    assert len(logs.find(str(tmp_path))) == 3


def test_a_tail_begins_with_a_line(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"first line\nsecond \xff line\nthird\n")
    assert logs.tail(str(path)) == "first line\nsecond � line\nthird\n"
    assert logs.tail(str(path), 20) == "third\n"


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert logs.tail(str(tmp_path / "none")) is None
    assert logs.tail(str(tmp_path)) is None
    assert logs.tail(str(tmp_path / "pipe")) is None
