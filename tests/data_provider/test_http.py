"""Staging by HTTP, against a server of this process."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.app.errors import MissingOutputs
from parsl.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging, in_task_transfer_wrapper
from parsl.data_provider.transfer import TransferError
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor
from tests.data_provider.apps import read, write
from tests.data_provider.servers import QUOTED, files_in, free_port
from tests.kernels import SOON, loaded


@pytest.fixture(params=[HTTPSeparateTaskStaging, HTTPInTaskStaging])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    executor = ThreadPoolExecutor(
        label="threads", max_threads=4, storage_access=[request.param()], working_dir=str(tmp_path / "work")
    )
    with loaded(tmp_path / "runs", executors=[executor]) as kernel:
        yield kernel


def cause_of(future: Future[Any]) -> BaseException:
    """Return what a task failed of: its own error, or that of the transfer it waited for."""
    error = future.exception(timeout=SOON)
    assert error is not None
    if isinstance(error, DependencyError):
        ((first, who),) = error.dependent_exceptions_tids
        assert who.startswith("task ")
        return first
    return error


def url(server: Any, path: str, who: str = "") -> File:
    return File(f"http://{who}{'@' if who else ''}127.0.0.1:{server.port}/{path}")


def test_a_file_is_fetched(kernel: Any, served: Any, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (served.root / "big.bin").write_bytes(content)
    (served.root / "a b.txt").write_bytes(b"blanks")
    big = url(served, "big.bin")
    assert read(big, inputs=[url(served, "a b.txt"), url(served, "a%20b.txt")]).result(timeout=SOON) == [
        content,
        b"blanks",
        b"blanks",
    ]
    assert big.local_path is None
    assert (tmp_path / "work" / "big.bin").read_bytes() == content
    assert not [name for name in files_in(tmp_path) if name.endswith(".part")]


def test_an_empty_file_is_a_file(kernel: Any, served: Any) -> None:
    (served.root / "empty").touch()
    assert read(url(served, "empty")).result(timeout=SOON) == [b""]


def test_files_of_one_name_do_not_take_each_others_place(kernel: Any, served: Any) -> None:
    for name in "ab":
        (served.root / name).mkdir()
        (served.root / name / "data").write_text(name)
    futures = [read(url(served, f"{name}/data")) for name in "abab"]
    assert [f.result(timeout=SOON) for f in futures] == [[b"a"], [b"b"], [b"a"], [b"b"]]


@pytest.mark.parametrize("way", ["redirect/x", "chunked/x", "redirect/chunked/x", "auth/x", "redirect/auth/x"])
def test_ways_of_answering(kernel: Any, served: Any, way: str) -> None:
    (served.root / "x").write_bytes(b"the file")
    future = read(url(served, way, who=QUOTED if way == "auth/x" else ""))
    if way == "redirect/auth/x":
        assert "401" in str(cause_of(future))  # a password is not passed on
    else:
        assert future.result(timeout=SOON) == [b"the file"]


@pytest.mark.parametrize(
    ("path", "fault"),
    [("x", "cut"), ("x", "longer"), ("x", "drop"), ("x", 503), ("x", 429), ("chunked/x", "cut"), ("chunked/x", 500)],
)
def test_what_may_pass_is_tried_again(
    kernel: Any, served: Any, path: str, fault: str | int, pauses: list[int], tmp_path: Path
) -> None:
    (served.root / "x").write_bytes(bytes(100_000))
    served.faults.planned.extend([fault, fault])
    assert read(url(served, path)).result(timeout=SOON) == [bytes(100_000)]
    assert pauses == [1, 2]
    assert files_in(tmp_path / "work") == {"x"}


@pytest.mark.parametrize("fault", ["cut", "longer", 503])
def test_what_stays_wrong_is_an_error(
    kernel: Any, served: Any, fault: str | int, pauses: list[int], tmp_path: Path
) -> None:
    (served.root / "x").write_bytes(bytes(100_000))
    served.faults.planned.extend([fault] * 4)
    future = read(file := url(served, "x"))
    error = cause_of(future)
    assert isinstance(error, TransferError)
    assert error.attempts == 4
    told = {"cut": "50000 of 100000 bytes", "longer": "100000 of 100007 bytes", 503: "503 Service Unavailable"}[fault]
    for part in (told, file.url, "HTTP", f"task {future.tid} (read)"):
        assert part in str(error)
    assert files_in(tmp_path / "work") == set()


@pytest.mark.parametrize(
    ("path", "who", "told"), [("missing", "", "404"), ("auth/x", "user:wrong", "401"), ("auth/x", "", "401")]
)
def test_what_cannot_be_had(kernel: Any, served: Any, pauses: list[int], path: str, who: str, told: str) -> None:
    (served.root / "x").write_bytes(b"x")
    other = read(url(served, "x"))
    error = cause_of(read(url(served, path, who=who)))
    assert told in str(error)
    assert "wrong" not in str(error)
    assert pauses == []
    assert other.result(timeout=SOON) == [b"x"]


def test_a_server_that_is_not_there(kernel: Any, pauses: list[int]) -> None:
    error = cause_of(read(File(f"http://127.0.0.1:{free_port()}/x")))
    assert "cannot be reached" in str(error)
    assert pauses == [1, 2, 3]


def test_an_output_is_put(kernel: Any, served: Any) -> None:
    target = url(served, "made", who=QUOTED)
    future = write(b"content", outputs=[target])
    assert future.outputs[0].result(timeout=SOON) is target
    assert (served.root / "made").read_bytes() == b"content"
    assert read(future.outputs[0]).result(timeout=SOON) == [b"content"]


def test_an_output_that_is_not_taken(kernel: Any, served: Any, pauses: list[int]) -> None:
    served.faults.planned.append(403)
    future = write(b"content", outputs=[url(served, "made")])
    assert "403" in str(cause_of(future.outputs[0]))
    assert files_in(served.root) == set()


def test_an_output_that_was_not_made(kernel: Any, served: Any) -> None:
    future = python_app(lambda outputs: None)(outputs=[url(served, "made")])
    error = cause_of(future.outputs[0])
    assert isinstance(error, MissingOutputs)
    assert "made" in str(error)
    assert served.faults.seen == []


def test_nothing_is_put_of_a_task_that_failed(kernel: Any, served: Any) -> None:
    future = python_app(lambda outputs: 1 // 0)(outputs=[url(served, "made")])
    assert isinstance(cause_of(future.outputs[0]), ZeroDivisionError)
    assert served.faults.seen == []


def test_standard_output_and_error_are_put(kernel: Any, served: Any) -> None:
    say = bash_app(lambda stdout=None, stderr=None: "echo out; echo err >&2")
    future = say(stdout=url(served, "out"), stderr=url(served, "err"))
    for stream, text in ((future.stdout, "out\n"), (future.stderr, "err\n")):
        assert stream.result(timeout=SOON)
        assert (served.root / text.strip()).read_text() == text


def test_separate_transfers_are_tasks_of_their_own(served: Any, tmp_path: Path) -> None:
    (served.root / "x").write_bytes(b"x")
    big = bytes(1 << 20)
    executor = ThreadPoolExecutor(
        label="threads", storage_access=[HTTPSeparateTaskStaging()], working_dir=str(tmp_path)
    )
    with loaded(tmp_path / "runs", executors=[executor], garbage_collect=False) as kernel:
        assert read(url(served, "x")).result(timeout=SOON) == [b"x"]
        write(big, outputs=[url(served, "y")]).outputs[0].result(timeout=SOON)
        tasks = list(kernel.tasks.values())
        names = [task.func_name for task in tasks]
        assert sorted(names) == ["_http_stage_in", "_http_stage_out", "read", "write"]
        assert {task.executor for task in tasks} == {"threads"}
        out = tasks[names.index("_http_stage_out")]
        assert all(getattr(argument, "result", lambda: None)() is not big for argument in out.args)


def test_tasks_that_ask_for_a_file_meanwhile_share_its_transfer(served: Any, tmp_path: Path) -> None:
    (served.root / "x").write_bytes(b"x")
    served.faults.allowed = threading.Semaphore(0)
    executor = ThreadPoolExecutor(storage_access=[HTTPSeparateTaskStaging()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        futures = [read(url(served, "x")) for _ in range(20)]
        served.faults.allowed.release()
        assert [future.result(timeout=SOON) for future in futures] == [[b"x"]] * 20
        assert served.faults.of("GET") == ["/x"]
        served.faults.allowed.release()
        (served.root / "x").write_bytes(b"new")
        assert read(url(served, "x")).result(timeout=SOON) == [b"new"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    path = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    with open(path, "ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_https(
    served: Any, tmp_path: Path, certificate: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    served.socket = context.wrap_socket(served.socket, server_side=True, do_handshake_on_connect=False)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    content = os.urandom(1 << 20)
    (served.root / "x").write_bytes(content)
    executor = ThreadPoolExecutor(storage_access=[HTTPInTaskStaging()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        future = read(File(f"https://127.0.0.1:{served.port}/x"))
        if trusted:
            assert future.result(timeout=SOON) == [content]
        else:
            assert "certificate verify failed" in str(cause_of(future))
            assert pauses == []
            assert files_in(tmp_path / "work") == set()


def test_transfers_are_retried_as_tasks_are(served: Any, tmp_path: Path) -> None:
    (served.root / "x").write_bytes(b"x")
    served.faults.planned.append(404)
    executor = ThreadPoolExecutor(storage_access=[HTTPSeparateTaskStaging()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor], retries=1):
        assert read(url(served, "x")).result(timeout=SOON) == [b"x"]


def test_by_default_http_is_fetched_into_the_current_folder(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (served.root / "x.txt").write_bytes(b"x")
    with loaded(tmp_path / "runs"):
        assert read(url(served, "x.txt")).result(timeout=SOON) == [b"x"]
    assert (tmp_path / "x.txt").exists()


@pytest.mark.parametrize("bad", ["", "folder/", "folder/..", "."])
def test_a_url_without_a_name_is_refused_at_the_call(kernel: Any, served: Any, bad: str) -> None:
    with pytest.raises(ValueError, match="ends in no name"):
        read(url(served, bad))


def test_a_transfer_that_waits_for_a_call_that_was_refused_ends(kernel: Any, served: Any) -> None:
    with pytest.raises(ValueError, match="gopher"):
        write(b"x", outputs=[url(served, "a"), File("gopher://h/x")])
    kernel.wait_for_current_tasks()
    assert read(write(b"y", outputs=[url(served, "b")]).outputs[0]).result(timeout=SOON) == [b"y"]


def test_the_wrapper_as_a_function(served: Any, tmp_path: Path) -> None:
    (served.root / "x").write_bytes(b"x")
    func = in_task_transfer_wrapper((tmp_path / "x").read_bytes, url(served, "x"), str(tmp_path))
    assert func() == b"x"
