"""Run folders and their numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import parsl.dataflow.rundirs
from parsl.dataflow.rundirs import make_rundir
from parsl.errors import ConfigurationError

SRC = Path(parsl.dataflow.rundirs.__file__).parents[2]


def test_numbers_follow_one_another(tmp_path: Path) -> None:
    home = tmp_path / "a" / "runinfo"
    assert [make_rundir(str(home)) for _ in range(3)] == [str(home / n) for n in ("000", "001", "002")]
    assert (home / "002").is_dir()


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["004", "002"], "005"),
        (["998"], "999"),
        (["999"], "1000"),
        (["999", "1000"], "1001"),
        (["7"], "008"),
        (["monitoring.db", "latest", "12a", "-5", "\u0663"], "000"),
    ],
    ids=["largest", "998", "999", "1000", "one digit", "other names"],
)
def test_the_number_after_the_largest(tmp_path: Path, present: list[str], expected: str) -> None:
    for name in present:
        (tmp_path / name).mkdir()
    assert make_rundir(str(tmp_path)) == str(tmp_path / expected)


def test_plain_files_count(tmp_path: Path) -> None:
    (tmp_path / "041").touch()
    assert make_rundir(tmp_path) == str(tmp_path / "042")


def test_a_relative_path_gives_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_rundir("runs") == str(tmp_path / "runs" / "000")


def test_another_process_comes_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "000").mkdir()
    (tmp_path / "001").mkdir()
    monkeypatch.setattr(os, "listdir", lambda _path: [])  # what it saw before the other one made its folders
    assert make_rundir(tmp_path) == str(tmp_path / "002")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"No run folder can be made in .*file.*run_dir") as caught:
        make_rundir(str(tmp_path / "file" / "runinfo"))
    assert isinstance(caught.value.__cause__, OSError)


def test_twenty_processes_at_once_get_twenty_folders(tmp_path: Path) -> None:
    code = "import sys; from parsl.dataflow.rundirs import make_rundir as m; sys.stdin.read(); print(m(sys.argv[1]))"
    read_end, write_end = os.pipe()
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-S", "-c", code, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=read_end, stdout=subprocess.PIPE, env=env, text=True) for _ in range(20)
    ]
    os.close(read_end)
    os.close(write_end)  # the end of their common input starts them all
    made = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 20
    assert sorted(made) == [str(tmp_path / f"{n:03}") for n in range(20)]
