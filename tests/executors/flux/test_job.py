from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parsl.executors.flux.job import answer_path, main
from parsl.executors.flux.messages import CallFile, read_result
from parsl.executors.remote_call import CallFailed, failure_of, pack_call, value_of
from tests.executors.contract import add, fail


def call_file(folder: Path, function: Any, *args: Any) -> str:
    packed, _ = pack_call(function, args, {})
    path = folder / "7"
    path.write_bytes(msgspec.msgpack.encode(CallFile((), packed)))
    return str(path)


def answer(path: str, rank: int) -> Any:
    return read_result(Path(answer_path(path, rank)).read_bytes())


def test_the_first_rank_writes_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = call_file(tmp_path, add, 1, 2)
    monkeypatch.setenv("FLUX_TASK_RANK", "1")
    assert main(path) == 0
    assert os.listdir(tmp_path) == ["7"]
    monkeypatch.setenv("FLUX_TASK_RANK", "0")
    assert main(path) == 0
    result: Any = value_of(answer(path, 0).returnval)
    assert result.result == 3
    assert sorted(os.listdir(tmp_path)) == ["7", "7.0"]


def test_any_rank_writes_its_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = call_file(tmp_path, fail, 5)
    monkeypatch.setenv("FLUX_TASK_RANK", "3")
    assert main(path) == 1
    found = answer(path, 3)
    assert found.returnval is None
    exception: Any = failure_of(CallFailed(found.exception), 7).exception
    assert exception.number == 5


def test_outside_of_a_job_it_is_the_only_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUX_TASK_RANK", raising=False)
    path = call_file(tmp_path, add, 1)
    assert main(path) == 0
    assert answer(path, 0).exception is None


def test_a_folder_that_is_not_shared_is_an_error_of_the_job(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main(str(tmp_path / "none"))
