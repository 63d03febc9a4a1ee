"""AUTO_LOGNAME: files for standard output and error that the kernel names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import parsl
from parsl import AUTO_LOGNAME, File, bash_app, python_app
from parsl.app.futures import DataFuture
from parsl.dataflow.autopath import default_std_autopath
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.taskrecord import TaskRecord
from tests.kernels import SOON, loaded


@bash_app
def say(word: str, stdout: Any = AUTO_LOGNAME, stderr: Any = AUTO_LOGNAME, label: str | None = None) -> str:
    return f"echo {word}; echo {word}-error >&2"


def record(number: int, **kwargs: Any) -> TaskRecord:
    return TaskRecord(number, None, say.func, (), kwargs, "threads", {})  # type: ignore[arg-type]


def test_the_name_holds_task_app_and_label(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert default_std_autopath(folder, record(7), "stdout") == f"{folder}/task_logs/0000/task_0007_say.stdout"
    assert (
        default_std_autopath(folder, record(12_345, label="x"), "stderr")
        == f"{folder}/task_logs/0001/task_12345_say_x.stderr"
    )


def test_the_path_is_absolute_wherever_runs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        default_std_autopath("runs/000", record(0), "stdout")
        == f"{tmp_path}/runs/000/task_logs/0000/task_0000_say.stdout"
    )


def test_files_are_made_where_the_future_says(kernel: DataFlowKernel) -> None:
    future = say("hello", label="greeting")
    assert future.result(timeout=SOON) == 0
    assert os.path.isabs(future.stdout)
    assert future.stdout.endswith("/task_0000_say_greeting.stdout")
    assert future.stderr.endswith("/task_0000_say_greeting.stderr")
    assert future.stdout.startswith(kernel.run_dir)
    assert Path(future.stdout).read_text() == "hello\n"
    assert Path(future.stderr).read_text() == "hello-error\n"


def test_the_kernel_names_files_as_a_method(kernel: DataFlowKernel) -> None:
    future = say("x")
    assert kernel.default_std_autopath(future.task_record, "stdout") == future.stdout


def test_python_apps_get_the_path_as_an_argument(kernel: DataFlowKernel) -> None:
    future = python_app(lambda stdout=None: stdout)(stdout=AUTO_LOGNAME)
    assert future.result(timeout=SOON) == future.stdout


def test_other_numbers_are_not_taken_for_the_name(kernel: DataFlowKernel) -> None:
    assert python_app(lambda stdout: stdout)(stdout=-1.0).result(timeout=SOON) == -1.0


def test_a_function_of_the_user_chooses_instead_at_the_call(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def choose(task: TaskRecord, kind: str) -> Any:
        asked.append((task["func_name"], kind))
        return (str(tmp_path / f"{task['kwargs']['label']}.{kind}"), "w")

    with loaded(tmp_path / "runs", std_autopath=choose):
        (tmp_path / "mine.stdout").write_text("old")
        future = say("new", label="mine", stderr=None)
        assert asked == [("say", "stdout")]
        assert future.stdout == (str(tmp_path / "mine.stdout"), "w")
        assert future.result(timeout=SOON) == 0
    assert (tmp_path / "mine.stdout").read_text() == "new\n"


def test_that_function_may_choose_a_file_to_wait_for(tmp_path: Path) -> None:
    with loaded(tmp_path / "runs", std_autopath=lambda task, kind: File(str(tmp_path / kind))):
        future = say("out")
        assert isinstance(future.stdout, DataFuture)
        assert Path(future.stdout.result(timeout=SOON).filepath).read_text() == "out\n"
        assert Path(future.stderr.result(timeout=SOON).filepath).read_text() == "out-error\n"


def test_what_that_function_raises_is_raised_at_the_call(tmp_path: Path) -> None:
    def refuse(task: TaskRecord, kind: str) -> str:
        raise LookupError("no room")

    with loaded(tmp_path, std_autopath=refuse) as kernel:
        with pytest.raises(LookupError, match="no room"):
            say("x")
        assert kernel.tasks == {}
        assert say("x", stdout=None, stderr=None).result(timeout=SOON) == 0


def test_two_names_for_the_same() -> None:
    assert parsl.AUTO_LOGNAME == AUTO_LOGNAME == -1
