"""Where the files of a call are for its task."""

from __future__ import annotations

import os
from pathlib import Path

from parsl import File
from parsl.executors.cctools_files import Files
from parsl.executors.cctools_messages import Transfer


def test_files_get_names_in_the_task_s_folder_and_the_arguments_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_text("x")
    given, made = File(str(path)), File(str(tmp_path / "deep" / "out.csv"))
    files = Files(shared=False, cache=True)
    args, kwargs = files.of_call((given, 3), {"inputs": [given, "text"], "outputs": (made,)})
    assert args[0].filepath == "f0-a_b.csv"
    assert args[0].url == given.url
    assert kwargs["inputs"][0].filepath == "f0-a_b.csv"
    assert kwargs["inputs"][1] == "text"
    assert kwargs["outputs"][0].filepath == "f1-out.csv"
    assert given.local_path is None
    assert made.local_path is None
    assert files.inputs == [Transfer(str(path), "f0-a_b.csv", cache=True)]
    assert files.outputs == [Transfer(str(tmp_path / "deep" / "out.csv"), "f1-out.csv")]
    assert (tmp_path / "deep").is_dir()


def test_two_files_of_one_name_are_two(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text(folder)
    files = Files(shared=False, cache=False)
    args, _ = files.of_call((File(str(tmp_path / "one" / "x")), File(str(tmp_path / "two" / "x"))), {})
    assert len({a.filepath for a in args}) == 2


def test_a_file_that_is_not_here_is_left_to_the_task(tmp_path: Path) -> None:
    files = Files(shared=False, cache=False)
    args, _ = files.of_call((File("/no/such/file"), File("https://example.org/x")), {})
    assert args[0].filepath == "/no/such/file"
    assert args[1].local_path is None
    assert files.inputs == []


def test_a_file_read_and_written_has_one_name(tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_text("x")
    files = Files(shared=False, cache=False)
    _, kwargs = files.of_call((), {"inputs": [File(str(path))], "outputs": [File(str(path))]})
    assert kwargs["inputs"][0].filepath == kwargs["outputs"][0].filepath


def test_a_stream_that_is_appended_to_is_brought_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x")
    files = Files(shared=False, cache=False)
    _, kwargs = files.of_call((), {"stdout": (str(log), "a"), "stderr": (str(tmp_path / "err"), "w")})
    assert kwargs["stdout"] == ("f0-log", "a")
    assert kwargs["stderr"] == ("f1-err", "w")
    assert [t.remote for t in files.inputs] == ["f0-log"]
    assert [t.remote for t in files.outputs] == ["f0-log", "f1-err"]


def test_on_a_shared_file_system_paths_are_absolute_and_nothing_is_brought(tmp_path: Path) -> None:
    files = Files(shared=True, cache=False)
    args, kwargs = files.of_call((File("x.csv"),), {"stdout": "log", "stderr": None})
    assert args[0].filepath == os.path.abspath("x.csv")
    assert kwargs["stdout"][0] == os.path.abspath("log")
    assert kwargs["stderr"] is None
    assert files.inputs == []
    assert files.outputs == []
