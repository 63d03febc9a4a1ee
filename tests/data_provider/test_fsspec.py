"""Staging by fsspec: its in-memory and local file systems, and what happens without it."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app
from parsl.data_provider import fsspec as ours
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.fsspec import FsspecInTaskStaging
from parsl.data_provider.transfer import TransferError
from parsl.errors import OptionalModuleMissing
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.apps import read, write
from tests.data_provider.servers import files_in
from tests.kernels import SOON, loaded

fsspec = pytest.importorskip("fsspec", reason="the extra fsspec is not installed")


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder of the in-memory file system, which all of this process shares."""
    path = f"/{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.makedirs(path)
    yield path
    memory.rm(path, recursive=True)


def kernel(tmp_path: Path, *staging: Any) -> Any:
    executor = ThreadPoolExecutor(storage_access=list(staging) or None, working_dir=str(tmp_path / "work"))
    return loaded(tmp_path / "runs", executors=[executor])


def test_files_come_and_go_by_default(tmp_path: Path, folder: str) -> None:
    content = os.urandom(3 << 20)
    fsspec.filesystem("memory").pipe_file(f"{folder}/x", content)
    file = File(f"memory:/{folder}/x")
    with kernel(tmp_path):
        assert read(file, inputs=[file]).result(timeout=SOON) == [content, content]
        future = write(content, outputs=[File(f"memory:/{folder}/y")])
        future.outputs[0].result(timeout=SOON)
        assert read(future.outputs[0]).result(timeout=SOON) == [content]
        say = bash_app(lambda stdout=None: "echo said")
        say(stdout=File(f"memory:/{folder}/out")).stdout.result(timeout=SOON)
    assert fsspec.filesystem("memory").cat_file(f"{folder}/out") == b"said\n"
    assert file.local_path is None
    assert files_in(tmp_path / "work") == {"x", "y", "out"}


def test_a_file_that_is_not_there(tmp_path: Path, folder: str) -> None:
    with kernel(tmp_path):
        future = read(File(f"memory:/{folder}/missing"))
        error = future.exception(timeout=SOON)
    assert isinstance(error, TransferError)
    for part in ("there is no", "missing", "FsspecInTaskStaging", f"task {future.tid} (read)"):
        assert part in str(error)
    assert files_in(tmp_path / "work") == set()


def test_a_file_that_is_cut(tmp_path: Path, folder: str, pauses: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe_file(f"{folder}/x", b"12345678")
    monkeypatch.setattr("shutil.copyfileobj", lambda source, target, _: target.write(source.read(4)))
    with kernel(tmp_path):
        error = read(File(f"memory:/{folder}/x")).exception(timeout=SOON)
        assert "4 of 8 bytes" in str(error)
        assert pauses == [1, 2, 3]
        assert files_in(tmp_path / "work") == set()


def test_an_output_that_is_cut_leaves_nothing(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Any, target: Any, _: int) -> None:
        target.write(source.read(4))
        raise OSError(28, "No space left")

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with kernel(tmp_path):
        error = write(b"12345678", outputs=[File(f"memory:/{folder}/x")]).exception(timeout=SOON)
    assert isinstance(error, TransferError)
    assert "No space left" in str(error)
    assert fsspec.filesystem("memory").ls(folder) == []


@pytest.mark.parametrize("options", [{"auto_mkdir": True}, {"file": {"auto_mkdir": True}}], ids=["plain", "by scheme"])
def test_schemes_and_options(tmp_path: Path, options: dict[str, Any]) -> None:
    target = tmp_path / "new" / "x"
    for given, works in (({}, False), (options, True)):
        staging = FsspecInTaskStaging(schemes=["file"], storage_options=given)
        assert not staging.can_stage_in(File("memory://x"))
        with kernel(tmp_path, staging):
            future = write(b"x", outputs=[File(f"file://{target}")])
            assert (future.exception(timeout=SOON) is None) == works
    assert target.read_bytes() == b"x"
    assert "schemes=['file']" in repr(FsspecInTaskStaging(schemes=["file"]))


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("s3://bucket/x", True),
        ("gs://bucket/x", True),
        ("abfs://c/x", True),
        ("sftp://h/x", True),
        ("memory://x", True),
        ("/x", False),
        ("http://h/x", False),
        ("zip:/a.zip/x", False),
        ("globus://e/x", False),
        ("gopher://h/x", False),
    ],
)
def test_what_it_takes_by_itself(url: str, taken: bool) -> None:
    staging = FsspecInTaskStaging()
    assert staging.can_stage_in(File(url)) is taken
    assert staging.can_stage_out(File(url)) is taken
    assert [type(s).__name__ for s in default_staging if s.can_stage_in(File(url))] == (
        ["FsspecInTaskStaging"] if taken else [name for name in _others(url) if name]
    )


def _others(url: str) -> list[str]:
    table = {"/": "NoOpFileStaging", "http:": "HTTPSeparateTaskStaging", "zip:": "ZipFileStaging"}
    return [name for begin, name in table.items() if url.startswith(begin)]


def test_without_fsspec_nothing_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours._known.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    try:
        with kernel(tmp_path), pytest.raises(ValueError, match=r"no staging provider for s3://bucket/x"):
            read(File("s3://bucket/x"))
    finally:
        ours._known.cache_clear()


def test_a_plug_in_that_is_missing_where_tasks_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with kernel(tmp_path):
        error = read(File("s3://bucket/x")).exception(timeout=SOON)
    assert isinstance(error, OptionalModuleMissing)
    assert "'s3'" in str(error)
    assert "s3fs" in str(error)
