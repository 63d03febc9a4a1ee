"""Staging by FTP, against a server of this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, python_app
from parsl.data_provider.ftp import FTPInTaskStaging, FTPSeparateTaskStaging, in_task_transfer_wrapper
from parsl.data_provider.transfer import TransferError
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.servers import QUOTED, files_in, free_port
from tests.kernels import SOON, loaded


@python_app
def read(file: Any) -> bytes:
    return Path(file).read_bytes()


@python_app
def write(content: bytes, outputs: Any = ()) -> None:
    for output in outputs:
        Path(output).write_bytes(content)


@pytest.fixture(params=[FTPSeparateTaskStaging, FTPInTaskStaging])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    executor = ThreadPoolExecutor(storage_access=[request.param()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]) as kernel:
        yield kernel


def cause_of(future: Any) -> BaseException:
    error = future.exception(timeout=SOON)
    return error.dependent_exceptions_tids[0][0] if isinstance(error, DependencyError) else error


def url(server: Any, path: str, who: str = "") -> File:
    return File(f"ftp://{who}{'@' if who else ''}127.0.0.1:{server.port}/{path}")


@pytest.mark.parametrize("who", ["", QUOTED], ids=["anonymous", "user"])
def test_a_file_is_fetched(kernel: Any, ftp: Any, who: str, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (ftp.root / "a b.bin").write_bytes(content)
    assert read(url(ftp, "a%20b.bin", who)).result(timeout=SOON) == content
    assert files_in(tmp_path / "work") == {"a%20b.bin"}
    assert ftp.faults.of("QUIT")


@pytest.mark.parametrize("fault", ["cut", 426, 450])
def test_what_may_pass_is_tried_again(
    kernel: Any, ftp: Any, fault: str | int, pauses: list[int], tmp_path: Path
) -> None:
    (ftp.root / "x").write_bytes(bytes(100_000))
    ftp.faults.planned.extend([fault, fault])
    assert read(url(ftp, "x")).result(timeout=SOON) == bytes(100_000)
    assert pauses == [1, 2]
    assert files_in(tmp_path / "work") == {"x"}


def test_a_transfer_that_is_cut_each_time(kernel: Any, ftp: Any, pauses: list[int], tmp_path: Path) -> None:
    (ftp.root / "x").write_bytes(bytes(100_000))
    ftp.faults.planned.extend(["cut"] * 4)
    error = cause_of(read(url(ftp, "x")))
    assert isinstance(error, TransferError)
    assert "50000 of 100000 bytes" in str(error)
    assert files_in(tmp_path / "work") == set()


@pytest.mark.parametrize(("path", "who", "told"), [("missing", "", "550"), ("x", "user:wrong", "530")])
def test_what_cannot_be_had(kernel: Any, ftp: Any, pauses: list[int], path: str, who: str, told: str) -> None:
    (ftp.root / "x").write_bytes(b"x")
    future = read(url(ftp, path, who))
    error = cause_of(future)
    assert isinstance(error, TransferError)
    for part in (told, "127.0.0.1", "FTP", f"task {future.tid} (read)"):
        assert part in str(error)
    assert "wrong@" not in str(error)
    assert pauses == []


def test_a_server_that_is_not_there(kernel: Any, pauses: list[int]) -> None:
    assert "refused" in str(cause_of(read(File(f"ftp://127.0.0.1:{free_port()}/x"))))
    assert pauses == [1, 2, 3]


def test_a_path_with_a_line_break_is_no_second_command(kernel: Any, ftp: Any, pauses: list[int]) -> None:
    (ftp.root / "x").write_bytes(b"x")
    assert isinstance(cause_of(read(url(ftp, "x%0D%0ADELE%20x"))), TransferError)
    assert (ftp.root / "x").exists()


def test_an_output_is_sent_and_gets_its_name_at_the_end(kernel: Any, ftp: Any) -> None:
    future = write(b"content", outputs=[url(ftp, "made", QUOTED)])
    future.outputs[0].result(timeout=SOON)
    assert (ftp.root / "made").read_bytes() == b"content"
    (temporary,) = ftp.faults.of("STOR")
    assert temporary.startswith("/.made.")
    assert ftp.faults.of("RNTO") == ["/made"]


def test_an_output_that_is_cut_leaves_nothing(kernel: Any, ftp: Any, pauses: list[int]) -> None:
    ftp.faults.planned.extend(["cut"] * 4)
    error = cause_of(write(b"content", outputs=[url(ftp, "made")]).outputs[0])
    assert "3 of 7 bytes" in str(error)
    assert files_in(ftp.root) == set()
    assert len(ftp.faults.of("DELE")) == 4


def test_an_output_that_is_refused(kernel: Any, ftp: Any, pauses: list[int]) -> None:
    ftp.faults.planned.append(550)
    assert "550" in str(cause_of(write(b"content", outputs=[url(ftp, "made")]).outputs[0]))
    assert files_in(ftp.root) == set()
    assert pauses == []


def test_the_wrapper_as_a_function(ftp: Any, tmp_path: Path) -> None:
    (ftp.root / "x").write_bytes(b"x")
    func = in_task_transfer_wrapper((tmp_path / "x").read_bytes, url(ftp, "x"), str(tmp_path))
    assert func() == b"x"
