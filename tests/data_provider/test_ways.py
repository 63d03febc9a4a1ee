"""The two ways of staging: what a task gets from each provider travels to workers and tells who wanted what."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parsl import File
from parsl.data_provider.data_manager import DataManager
from parsl.data_provider.fsspec import FsspecInTaskStaging
from parsl.data_provider.ftp import FTPInTaskStaging, FTPSeparateTaskStaging
from parsl.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging
from parsl.data_provider.rsync import RSyncStaging
from parsl.data_provider.transfer import Transfer
from parsl.data_provider.ways import SeparateTaskStaging, fetching_first
from parsl.data_provider.zip import ZipFileStaging

IN_TASK = [
    (HTTPInTaskStaging(), "http://h/x"),
    (FTPInTaskStaging(), "ftp://h/x"),
    (RSyncStaging("me@far"), "/data/x"),
    (FsspecInTaskStaging(["s3"], {"anon": True}), "s3://b/x"),
]
SEPARATE = [
    (HTTPSeparateTaskStaging(), "https://h/x"),
    (FTPSeparateTaskStaging(), "ftp://h/x"),
    (ZipFileStaging(), "zip:/a.zip/x"),
]


class Kernel:
    def __init__(self, folder: Path) -> None:
        self.executors = {"here": SimpleNamespace(working_dir=str(folder), storage_access=None)}
        self.submitted: list[Any] = []

    def submit(self, func: Any, app_args: Any, **options: Any) -> Any:
        self.submitted.append((func, app_args, options))
        from parsl.dataflow.futures import LazyFuture

        future: Any = LazyFuture()
        future.tid = 7
        return future


def app(folder: str) -> bool:
    return Path(folder).is_dir()


@pytest.mark.parametrize(("provider", "url"), IN_TASK, ids=lambda value: type(value).__name__)
def test_what_runs_in_the_task_travels(provider: Any, url: str, tmp_path: Path) -> None:
    dm = DataManager(Kernel(tmp_path))
    dm.asking(3, "analyse")
    for inbound in (True, False):
        file = File(url)
        assert provider.can_stage_in(file)
        assert provider.can_stage_out(file)
        assert provider.stage_in(dm, "here", file, None) is None
        hook = provider.replace_task if inbound else provider.replace_task_stage_out
        wrapped = pickle.loads(pickle.dumps(hook(dm, "here", file, app)))
        assert wrapped.func is app
        assert file.local_path == wrapped.transfer.path == str(tmp_path / "x")
        assert (wrapped.transfer.inbound, wrapped.transfer.asked_by) == (inbound, "task 3 (analyse)")
        assert (wrapped.transfer.provider, wrapped.transfer.url) == (type(provider).__name__, url)


@pytest.mark.parametrize(("provider", "url"), SEPARATE, ids=lambda value: type(value).__name__)
def test_what_is_a_task_of_its_own_travels(provider: Any, url: str, tmp_path: Path) -> None:
    dm = DataManager(kernel := Kernel(tmp_path / "new"))
    dm.asking(3, "analyse")
    file = File(url)
    staged = provider.stage_in(dm, "here", file, None)
    assert staged.file_obj is file
    assert staged.tid == 7
    app_fu: Any = kernel.submit(app, ())
    assert provider.stage_out(dm, "here", File(url), app_fu).tid == 7
    (fetch, (transfer,), _), _, (send, (back, after), options) = kernel.submitted
    assert (transfer.inbound, back.inbound) == (True, False)
    assert transfer.asked_by == back.asked_by == "task 3 (analyse)"
    assert pickle.loads(pickle.dumps((fetch, send, transfer))) == (fetch, send, transfer)
    assert after.parent is app_fu
    assert options["executors"] == ["here"]
    # The app finds the folder for its output.
    assert provider.replace_task(dm, "here", file, app) is None
    output = File(url)
    wrapped = pickle.loads(pickle.dumps(provider.replace_task_stage_out(dm, "here", output, app)))
    assert wrapped(str(tmp_path / "new")) is True
    assert output.local_path == str(tmp_path / "new" / "x")


def test_a_scheme_needs_its_functions() -> None:
    with pytest.raises(NotImplementedError):
        SeparateTaskStaging.fetch(None)  # type: ignore[arg-type]


def test_a_fetch_before_a_function_without_a_data_manager(tmp_path: Path) -> None:
    file = File("ftp://host/folder/x")
    wrapped = pickle.loads(pickle.dumps(fetching_first(FTPInTaskStaging, app, file, str(tmp_path))))
    assert wrapped.transfer == Transfer("FTPInTaskStaging", file.url, str(tmp_path / "x"), True, "app")
    assert wrapped.carry is FTPInTaskStaging.carry
    file.local_path = "/elsewhere/y"
    assert fetching_first(FTPInTaskStaging, app, file, None).transfer.path == "/elsewhere/y"
