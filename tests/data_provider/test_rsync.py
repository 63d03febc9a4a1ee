"""Staging by rsync: the real command, over a stand-in of ssh that runs the other side on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.app.errors import MissingOutputs
from parsl.data_provider.rsync import RSyncStaging, in_task_stage_in_wrapper, in_task_stage_out_wrapper
from parsl.data_provider.transfer import TransferError
from parsl.errors import OptionalModuleMissing
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.apps import read, write
from tests.data_provider.servers import files_in
from tests.kernels import SOON, loaded

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="the command rsync is not installed")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ssh be a script that notes its calls and runs the command here; `fail` beside it has it fail."""
    script = tmp_path / "ssh"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {tmp_path}/calls\n'
        f"if [ -e {tmp_path}/fail ]; then cat {tmp_path}/fail >&2; exit 255; fi\n"
        'while [ "$1" != rsync ]; do shift; done; exec "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(script))
    return script


@pytest.fixture
def kernel(ssh: Path, tmp_path: Path) -> Iterator[Any]:
    executor = ThreadPoolExecutor(storage_access=[RSyncStaging("me@far")], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]) as kernel:
        yield kernel


@needs_rsync
def test_files_come_and_go(kernel: Any, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    names = ["x", "a b;c.txt", "-r", "colon:x", "$HOME"]
    (tmp_path / "far").mkdir()
    for name in names:
        (tmp_path / "far" / name).write_bytes(content)
    files = [File(str(tmp_path / "far" / name)) for name in names[:3]] + [File(tmp_path / "far" / n) for n in names[3:]]
    assert read(files[0], inputs=files).result(timeout=SOON) == [content] * 6
    assert files[0].local_path is None
    future = write(b"made", outputs=[File(str(tmp_path / "far" / "made here"))])
    future.outputs[0].result(timeout=SOON)
    assert (tmp_path / "far" / "made here").read_bytes() == b"made"
    assert files_in(tmp_path / "work") == {*names, "made here"}
    assert files_in(tmp_path / "far") == {*names, "made here"}
    assert all(call.startswith("-l me far rsync ") for call in (tmp_path / "calls").read_text().splitlines())


@needs_rsync
def test_a_program_stays_one(kernel: Any, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "program").chmod(0o755)
    run = bash_app(lambda program, stdout=None: f"{program}")
    run(File(str(tmp_path / "program")), stdout=File(str(tmp_path / "out"))).stdout.result(timeout=SOON)
    assert (tmp_path / "out").read_text() == "ran\n"


@needs_rsync
def test_folders_are_refused(kernel: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    make = python_app(lambda outputs: Path(outputs[0]).mkdir())
    for future in (read(File(str(tmp_path / "folder"))), make(outputs=[File(str(tmp_path / "other"))])):
        error = future.exception(timeout=SOON)
        assert isinstance(error, TransferError)
        assert "is a folder; only files are staged" in str(error)


@needs_rsync
def test_standard_output_goes_there(kernel: Any, tmp_path: Path) -> None:
    say = bash_app(lambda stdout=None: "echo said")
    say(stdout=File(str(tmp_path / "out"))).stdout.result(timeout=SOON)
    assert (tmp_path / "out").read_text() == "said\n"


@needs_rsync
def test_a_file_that_is_not_there(kernel: Any, tmp_path: Path, pauses: list[int]) -> None:
    future = read(File(str(tmp_path / "missing")))
    error = future.exception(timeout=SOON)
    assert isinstance(error, TransferError)
    for part in ("No such file", "me@far:", "RSyncStaging", f"task {future.tid} (read)"):
        assert part in str(error)
    assert pauses == []
    assert files_in(tmp_path / "work") == set()


@needs_rsync
@pytest.mark.parametrize(
    ("told", "attempts"),
    [("Permission denied (publickey)", 1), ("Connection reset by peer", 4)],
)
def test_a_host_that_does_not_answer(kernel: Any, tmp_path: Path, pauses: list[int], told: str, attempts: int) -> None:
    (tmp_path / "fail").write_text(told)
    (tmp_path / "x").touch()
    error = read(File(str(tmp_path / "x"))).exception(timeout=SOON)
    assert isinstance(error, TransferError)
    assert told in str(error)
    assert error.attempts == attempts
    assert files_in(tmp_path / "work") == set()


@needs_rsync
def test_a_folder_that_is_not_there_for_an_output(kernel: Any, tmp_path: Path, pauses: list[int]) -> None:
    error = write(b"x", outputs=[File(str(tmp_path / "no" / "such" / "x"))]).exception(timeout=SOON)
    assert isinstance(error, TransferError)
    assert "No such file" in str(error)


@needs_rsync
def test_an_output_that_was_not_made(kernel: Any, tmp_path: Path) -> None:
    error = python_app(lambda outputs: None)(outputs=[File(str(tmp_path / "x"))]).exception(timeout=SOON)
    assert isinstance(error, MissingOutputs)


def test_without_the_command(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    error = read(File(str(tmp_path / "x"))).exception(timeout=SOON)
    assert isinstance(error, OptionalModuleMissing)
    assert "rsync" in str(error)


@needs_rsync
def test_the_wrappers_as_functions(ssh: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    work = tmp_path / "work"
    func = in_task_stage_in_wrapper((work / "x").read_bytes, File(str(tmp_path / "x")), str(work), "far")
    assert func() == b"x"
    target = File(str(tmp_path / "y"))
    in_task_stage_out_wrapper(lambda: (work / "y").write_bytes(b"y"), target, str(work), "far")()
    assert (tmp_path / "y").read_bytes() == b"y"


def test_the_provider_itself() -> None:
    staging = RSyncStaging("me@far")
    assert repr(staging) == "RSyncStaging('me@far')"
    assert staging.can_stage_in(File("/x"))
    assert staging.can_stage_out(File("rsync://h:873/m/x"))
    assert not staging.can_stage_in(File("http://h/x"))
