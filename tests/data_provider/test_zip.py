"""Members of ZIP archives, staged in and out; archives that many processes use, some of which are killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl import File, bash_app, python_app
from parsl.app.errors import MissingOutputs
from parsl.data_provider.transfer import Transfer, TransferError
from parsl.data_provider.zip import ZipAuthorityError, ZipFileStaging, _zip_stage_in, _zip_stage_out, zip_path_split
from parsl.dataflow.errors import DependencyError
from parsl.errors import ParslError
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.servers import files_in
from tests.kernels import SOON, loaded


@python_app
def read(*files: Any, inputs: Any = ()) -> list[str]:
    return [Path(f).read_text() for f in (*files, *inputs)]


@python_app
def write(text: str, outputs: Any = ()) -> None:
    for output in outputs:
        Path(output).write_text(text)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    executor = ThreadPoolExecutor(max_threads=4, storage_access=[ZipFileStaging()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]) as kernel:
        yield kernel


def cause_of(future: Any) -> BaseException:
    error = future.exception(timeout=SOON)
    return error.dependent_exceptions_tids[0][0] if isinstance(error, DependencyError) else error


def archive(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in members.items():
            packed.writestr(name, text)
    return path


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name).decode() for name in packed.namelist()}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b.zip/c", ("/a/b.zip", "c")),
        ("/a/b.zip/c/d.txt", ("/a/b.zip", "c/d.txt")),
        ("/a/b.zip/c.zip/d", ("/a/b.zip", "c.zip/d")),
        ("rel.zip/x", ("rel.zip", "x")),
    ],
)
def test_zip_path_split(path: str, expected: tuple[str, str]) -> None:
    assert zip_path_split(path) == expected


@pytest.mark.parametrize("path", ["", "/a/b", "/a/b.zip", "/a/b.zip/", "/a/bzip/c"])
def test_what_names_no_member(path: str) -> None:
    with pytest.raises(ValueError, match="does not name a member"):
        zip_path_split(path)


@given(st.text(min_size=1).filter(lambda t: ".zip/" not in t and not t.startswith("/")))
def test_any_member_is_split_off(inner: str) -> None:
    assert zip_path_split(f"/dir/a.zip/{inner}") == ("/dir/a.zip", inner)


def test_several_members_of_several_archives_go_into_one_task(kernel: Any, tmp_path: Path) -> None:
    one, two = archive(tmp_path / "1.zip", x="1x", y="1y"), archive(tmp_path / "2.zip", x="2x")
    files = [File(f"zip:{one}/x"), File(f"zip:{one}/y"), File(f"zip:{two}/x")]
    assert read(*files).result(timeout=SOON) == ["1x", "1y", "2x"]
    assert read(inputs=files).result(timeout=SOON) == ["1x", "1y", "2x"]


def test_outputs_of_one_task_go_into_several_archives(kernel: Any, tmp_path: Path) -> None:
    files = [File(f"zip:{tmp_path}/new/{name}") for name in ("1.zip/a", "1.zip/deep/b", "2.zip/c")]
    future = write("made", outputs=files)
    assert [output.result(timeout=SOON) for output in future.outputs] == files
    assert contents(tmp_path / "new" / "1.zip") == {"a": "made", "deep/b": "made"}
    assert contents(tmp_path / "new" / "2.zip") == {"c": "made"}
    assert files_in(tmp_path / "new") == {"1.zip", "2.zip"}
    assert read(*future.outputs).result(timeout=SOON) == ["made"] * 3


def test_many_tasks_write_to_one_archive_at_once(kernel: Any, tmp_path: Path) -> None:
    target = archive(tmp_path / "all.zip", before="before")
    futures = [write(str(i), outputs=[File(f"zip:{target}/{i}")]) for i in range(30)]
    for future in futures:
        future.outputs[0].result(timeout=SOON)
    assert contents(target) == {"before": "before", **{str(i): str(i) for i in range(30)}}


def test_a_member_written_again_is_the_new_one(kernel: Any, tmp_path: Path) -> None:
    file = File(f"zip:{tmp_path}/a.zip/x")
    for text in ("old", "new"):
        write(text, outputs=[file]).outputs[0].result(timeout=SOON)
    assert read(file).result(timeout=SOON) == ["new"]


def test_standard_output_goes_into_an_archive(kernel: Any, tmp_path: Path) -> None:
    say = bash_app(lambda stdout=None: "echo said")
    say(stdout=File(f"zip:{tmp_path}/a.zip/log")).stdout.result(timeout=SOON)
    assert contents(tmp_path / "a.zip") == {"log": "said\n"}


def test_a_folder_goes_into_an_archive(kernel: Any, tmp_path: Path) -> None:
    @python_app
    def fill(outputs: Any) -> None:
        for name in ("a", "sub/b"):
            path = Path(outputs[0]) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    fill(outputs=[File(f"zip:{tmp_path}/a.zip/folder")]).outputs[0].result(timeout=SOON)
    assert contents(tmp_path / "a.zip") == {"folder/a": "a", "folder/sub/b": "sub/b"}


def test_a_host_is_refused_at_the_call(kernel: Any) -> None:
    file = File("zip://host/a.zip/x")
    for call in (lambda: read(file), lambda: write("x", outputs=[file])):
        with pytest.raises(ZipAuthorityError, match="'host'") as caught:
            call()
        assert caught.value.file == file
        assert isinstance(caught.value, ParslError)
    assert str(pickle.loads(pickle.dumps(ZipAuthorityError(file)))) == str(ZipAuthorityError(file))
    assert kernel.tasks == {}


def test_a_path_without_a_member_is_refused_at_the_call(kernel: Any) -> None:
    for call in (lambda: read(File("zip:/x/y")), lambda: write("x", outputs=[File("zip:/x.zip")])):
        with pytest.raises(ValueError, match="does not name a member"):
            call()


def test_other_schemes_are_not_for_it() -> None:
    staging = ZipFileStaging()
    assert staging.is_zip_url(File("zip:/a.zip/b"))
    assert not staging.is_zip_url(File("/a.zip/b"))
    assert not staging.can_stage_in(File("http://h/a.zip/b"))
    assert staging.can_stage_out(File("zip:/a.zip/b"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("zip:{0}/missing.zip/x", "no archive"),
        ("zip:{0}/a.zip/missing", "no member 'missing'"),
        ("zip:{0}/not.zip/x", "not a zip file"),
        ("zip:{0}/torn.zip/x", "zip file|CRC|magic"),
        ("zip:{0}/a.zip/../../evil", "would leave the folder"),
        ("zip:{0}/a.zip//etc/evil", "would leave the folder"),
    ],
)
def test_what_cannot_be_had(kernel: Any, tmp_path: Path, url: str, told: str) -> None:
    archive(tmp_path / "a.zip", **{"x": "x", "../../evil": "evil", "/etc/evil": "evil"})
    (tmp_path / "not.zip").write_text("no archive at all")
    whole = archive(tmp_path / "torn.zip", x="x" * 1000).read_bytes()
    (tmp_path / "torn.zip").write_bytes(whole[:200] + b"!" + whole[201:])
    good = read(File(f"zip:{tmp_path}/a.zip/x"))
    future = read(File(url.format(tmp_path)))
    error = cause_of(future)
    assert isinstance(error, TransferError)
    import re

    assert re.search(told, str(error))
    assert f"task {future.tid} (read)" in str(error)
    assert good.result(timeout=SOON) == ["x"]
    assert files_in(tmp_path / "work") == {"x"}
    assert not (tmp_path.parent / "evil").exists()


def test_a_member_that_would_leave_its_folder_is_not_made(kernel: Any, tmp_path: Path) -> None:
    error = cause_of(write("x", outputs=[File(f"zip:{tmp_path}/a.zip/../../evil")]).outputs[0])
    assert "would leave the folder" in str(error)
    assert not (tmp_path / "a.zip").exists()


def test_an_output_that_was_not_made(kernel: Any, tmp_path: Path) -> None:
    future = python_app(lambda outputs: None)(outputs=[File(f"zip:{tmp_path}/a.zip/x")])
    assert isinstance(cause_of(future.outputs[0]), MissingOutputs)
    assert not (tmp_path / "a.zip").exists()


# -- archives whose writer fails or is killed -------------------------------------------------------------------------


def put(path: Path, member: str, source: Path) -> None:
    _zip_stage_out(Transfer("ZipFileStaging", f"zip:{path}/{member}", str(source), False, "a test"))


def get(path: Path, member: str, target: Path) -> str:
    _zip_stage_in(Transfer("ZipFileStaging", f"zip:{path}/{member}", str(target), True, "a test"))
    return target.read_text()


@pytest.mark.parametrize("there", [True, False], ids=["archive", "new"])
def test_a_failure_half_way_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    target = tmp_path / "a.zip"
    before = archive(target, x="x" * 5000).read_bytes() if there else None
    (tmp_path / "source").write_bytes(os.urandom(100_000))

    def fail(source: Any, copy: Any, *_: object) -> None:
        copy.write(source.read(60_000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(TransferError, match="No space left"):
        put(target, "y", tmp_path / "source")
    assert (target.read_bytes() if there else target.exists()) == (before if there else False)
    assert files_in(tmp_path) == ({"source", "a.zip"} if there else {"source"})


KILLED = """
import os, shutil, signal, sys
from parsl.data_provider.transfer import Transfer
from parsl.data_provider.zip import _zip_stage_out

def half(source, copy, *_):
    copy.write(source.read(60_000))
    copy._fileobj.flush()
    print("half", flush=True)
    signal.pause()

shutil.copyfileobj = half
_zip_stage_out(Transfer("ZipFileStaging", f"zip:{sys.argv[1]}/y", sys.argv[2], False, "a test"))
"""


@pytest.mark.parametrize("next_one", ["reader", "writer"])
def test_a_writer_that_is_killed_leaves_the_archive_as_it_was(tmp_path: Path, next_one: str) -> None:
    target = archive(tmp_path / "a.zip", x="x" * 5000)
    before = target.read_bytes()
    (tmp_path / "source").write_bytes(os.urandom(100_000))
    command = [sys.executable, "-c", KILLED, str(target), str(tmp_path / "source")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert target.read_bytes() != before
    if next_one == "reader":
        assert get(target, "x", tmp_path / "copy") == "x" * 5000
        assert target.read_bytes() == before
    else:
        (tmp_path / "source").write_text("z")
        put(target, "z", tmp_path / "source")
        assert contents(target) == {"x": "x" * 5000, "z": "z"}
    assert not (tmp_path / "a.zip.undo").exists()


def test_a_saved_end_of_another_archive_is_not_put_back(tmp_path: Path) -> None:
    target = archive(tmp_path / "a.zip", x="x" * 5000)
    (tmp_path / "a.zip.undo").write_bytes(bytes(8) + b"\1\0\0\0" + b"nothing")
    assert get(target, "x", tmp_path / "copy") == "x" * 5000
    assert files_in(tmp_path) == {"a.zip", "copy"}


def test_a_reader_waits_for_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    target = archive(tmp_path / "a.zip", x="x")
    (tmp_path / "source").write_text("y")
    writing, go_on, real = threading.Event(), threading.Event(), shutil.copyfileobj

    def slow(source: Any, copy: Any, *size: Any) -> None:
        writing.set()
        go_on.wait(SOON)
        real(source, copy, *size)

    monkeypatch.setattr("shutil.copyfileobj", slow)
    writer = threading.Thread(target=put, args=(target, "y", tmp_path / "source"))
    writer.start()
    assert writing.wait(SOON)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(get(target, "y", tmp_path / "copy")))
    reader.start()
    go_on.set()
    writer.join(SOON)
    reader.join(SOON)
    assert found == ["y"]
