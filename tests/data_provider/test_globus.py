"""Staging by Globus, with globus_sdk's own clients against a stand-in of the service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, python_app
from parsl.data_provider import globus_transfers
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.globus import (
    CLIENT_ID,
    CLIENT_SECRET,
    GlobusStaging,
    allowed_label,
    cli_run,
    globus_app,
    transfer_client,
)
from parsl.data_provider.transfer import TransferError
from parsl.dataflow.errors import DependencyError
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.globus_service import HERE, THERE, Globus, globus_service
from tests.kernels import SOON, loaded

globus_sdk = pytest.importorskip("globus_sdk", reason="the extra globus_transfer is not installed")


@python_app
def read(file: Any, inputs: Any = ()) -> list[str]:
    return [Path(f).read_text() for f in (file, *inputs)]


@python_app
def write(text: str, outputs: Any = ()) -> None:
    for output in outputs:
        Path(output).write_text(text)


@pytest.fixture
def globus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Globus]:
    monkeypatch.setattr(globus_transfers, "FIRST_PERIOD_S", 0.01)
    monkeypatch.setattr(globus_transfers, "LAST_PERIOD_S", 0.05)
    monkeypatch.setenv(CLIENT_ID, HERE)
    monkeypatch.setenv(CLIENT_SECRET, "secret")
    with globus_service(tmp_path / "globus") as (service, url):
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", url)
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", url)
        yield service


@pytest.fixture
def kernel(globus: Globus, tmp_path: Path) -> Iterator[Any]:
    root = globus.folders[HERE]
    staging = GlobusStaging(HERE, endpoint_path="/", local_path=str(root))
    executor = ThreadPoolExecutor(storage_access=[staging, NoOpFileStaging()], working_dir=str(root / "work"))
    with loaded(tmp_path / "runs", executors=[executor]) as kernel:
        yield kernel


def cause_of(future: Any) -> BaseException:
    error = future.exception(timeout=SOON)
    return error.dependent_exceptions_tids[0][0] if isinstance(error, DependencyError) else error


def test_files_come_and_go(kernel: Any, globus: Globus) -> None:
    (globus.folders[THERE] / "x").write_text("from there")
    source = File(f"globus://{THERE}/x")
    assert read(source, inputs=[source]).result(timeout=SOON) == ["from there"] * 2
    assert source.local_path is None
    future = write("from here", outputs=[File(f"globus://{THERE}/deep/y")])
    future.outputs[0].result(timeout=SOON)
    assert (globus.folders[THERE] / "deep" / "y").read_text() == "from here"
    assert read(future.outputs[0]).result(timeout=SOON) == ["from here"]
    assert {task["status"] for task in globus.tasks.values()} == {"SUCCEEDED"}
    data = next(iter(globus.data.values()))
    assert data["verify_checksum"] is True
    assert "task 0 -read" in data["label"]


def test_a_transfer_takes_as_long_as_it_takes(kernel: Any, globus: Globus) -> None:
    (globus.folders[THERE] / "x").write_text("slow")
    globus.hold = True
    futures = [read(File(f"globus://{THERE}/x")) for _ in range(3)]
    assert globus.asked_after.wait(SOON)
    assert not any(future.done() for future in futures)
    while len(globus.data) < 3:
        globus.asked_after.clear()
        assert globus.asked_after.wait(SOON)
    for task_id in list(globus.data):
        globus.finish(task_id)
    assert [future.result(timeout=SOON) for future in futures] == [["slow"]] * 3


def test_a_missing_file_is_known_at_once_and_concerns_one_future(kernel: Any, globus: Globus) -> None:
    (globus.folders[THERE] / "x").write_text("good")
    good, future = read(File(f"globus://{THERE}/x")), read(File(f"globus://{THERE}/missing"))
    error = cause_of(future)
    assert isinstance(error, TransferError)
    for part in ("FILE_NOT_FOUND", f"globus://{THERE}/missing", f"task {future.tid} (read)"):
        assert part in str(error)
    assert good.result(timeout=SOON) == ["good"]
    assert any(path.endswith("/cancel") for _, path in globus.requests)


def test_a_collection_that_is_not_there(kernel: Any) -> None:
    error = cause_of(read(File("globus://00000000-0000-0000-0000-000000000009/x")))
    assert "no such collection" in str(error)


def test_an_output_of_a_task_that_failed_is_not_sent(kernel: Any, globus: Globus) -> None:
    future = python_app(lambda outputs: 1 // 0)(outputs=[File(f"globus://{THERE}/y")])
    assert isinstance(cause_of(future.outputs[0]), ZeroDivisionError)
    assert globus.data == {}


def test_a_kernel_that_ends_takes_its_transfers_with_it(globus: Globus, tmp_path: Path) -> None:
    root = globus.folders[HERE]
    globus.hold = True
    executor = ThreadPoolExecutor(storage_access=[GlobusStaging(HERE, local_path=str(root))], working_dir=str(root))
    with loaded(tmp_path / "runs", executors=[executor]):
        future = read(File(f"globus://{THERE}/x"))
        assert globus.asked_after.wait(SOON)
    assert "cleaned up" in str(future.exception(timeout=SOON))
    assert [task["status"] for task in globus.tasks.values()] == ["FAILED"]


@pytest.mark.parametrize(
    ("working_dir", "local_path", "told"),
    [(None, "/", "needs a working_dir"), ("/scratch/work", "/home", "is not within local_path='/home'")],
)
def test_a_folder_that_globus_does_not_reach_is_refused_at_the_call(
    globus: Globus, tmp_path: Path, working_dir: str | None, local_path: str, told: str
) -> None:
    executor = ThreadPoolExecutor(storage_access=[GlobusStaging(HERE, local_path=local_path)], working_dir=working_dir)
    with loaded(tmp_path / "runs", executors=[executor]), pytest.raises(ConfigurationError, match=told):
        read(File(f"globus://{THERE}/x"))


def test_paths_are_mapped(globus: Globus, tmp_path: Path) -> None:
    root = globus.folders[HERE]
    (globus.folders[THERE] / "x").write_text("x")
    staging = GlobusStaging(HERE, endpoint_path="/sub", local_path=str(root / "sub"))
    executor = ThreadPoolExecutor(storage_access=[staging], working_dir=str(root / "sub" / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        assert read(File(f"globus://{THERE}/x")).result(timeout=SOON) == ["x"]
    ((item,),) = [data["DATA"] for data in globus.data.values()]
    assert item["destination_path"] == "/sub/work/x"


def test_an_application_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT_ID, raising=False)
    with pytest.raises(ConfigurationError, match=CLIENT_ID):
        globus_app()


def test_nobody_is_asked_to_log_in_by_a_workflow(
    globus: Globus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(CLIENT_SECRET)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="parsl-globus-auth"):
        transfer_client()


def test_without_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    with pytest.raises(OptionalModuleMissing, match="globus_transfer"):
        globus_app()


def test_the_command_logs_in(globus: Globus, capsys: pytest.CaptureFixture[str]) -> None:
    cli_run([HERE])
    assert "logged in" in capsys.readouterr().out
    assert ("POST", "/v2/oauth2/token") in globus.requests


def test_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT_ID, raising=False)
    with pytest.raises(SystemExit, match=CLIENT_ID):
        cli_run([])


def test_labels_are_as_the_service_allows_them() -> None:
    assert allowed_label("globus://a/b.txt for task 3 (f)") == "globus---a-b-txt for task 3 -f-"
    assert len(allowed_label("x" * 1000)) == 128


def test_the_provider_itself() -> None:
    staging = GlobusStaging(endpoint_uuid=HERE, endpoint_path="/a", local_path="/b")
    assert staging.can_stage_in(File(f"globus://{THERE}/x"))
    assert staging.can_stage_out(File(f"globus://{THERE}/x"))
    assert not staging.can_stage_in(File("/x"))
    assert "endpoint_path='/a'" in repr(staging)
    with pytest.raises(TypeError):
        GlobusStaging(endpoint_uuid=3)  # type: ignore[arg-type]
