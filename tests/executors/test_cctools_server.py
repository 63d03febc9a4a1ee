"""The server that stays on a worker, reached in its three ways, with a worker of the tests."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl.dataflow.taskrecord import Error
from parsl.executors.cctools_command import command_line
from parsl.executors.cctools_task import as_text, outcome_in, run, wrap_call
from parsl.executors.remote_call import pack_call

ROOT = Path(__file__).parent.parent.parent
SECONDS = 30.0
SERVER = [sys.executable, "-m", "parsl.executors.cctools_server"]


def where() -> tuple[int, str, str | None]:
    import os

    return os.getpid(), os.getcwd(), os.environ.get("OF_THE_TASK")


def die() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def begin_and_wait(path: str) -> None:
    import os
    import signal

    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    signal.pause()


class Sandboxes:
    """The folders of tasks, beside one another as on a worker."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made = 0

    def new(self, function: Any, *args: Any) -> Path:
        self.made += 1
        folder = self.root / f"t.{self.made}"
        folder.mkdir()
        (folder / "call").write_bytes(wrap_call(pack_call(function, args, {})[0], [str(ROOT)]))
        return folder


@pytest.fixture
def sandboxes(tmp_path: Path) -> Sandboxes:
    return Sandboxes(tmp_path)


def outcome(folder: Path) -> Any:
    return outcome_in((folder / "answer").read_bytes(), 1)


def test_a_call_as_text_is_the_same_call(sandboxes: Sandboxes) -> None:
    folder = sandboxes.new(len, "four")
    (folder / "call").write_text(as_text((folder / "call").read_bytes()))
    run(str(folder / "call"), str(folder / "answer"))
    assert outcome(folder).result == 4
    assert sorted(p.name for p in folder.iterdir()) == ["answer", "call"]


class Worker:
    """Starts the commands of tasks as a worker does, and ends the servers that they have started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # The parent of all tasks, in whose place a server looks whether its worker is there.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", 'while read -r line; do (cd "$line" && exec /bin/sh ./command >out 2>&1); echo $?; done'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OF_THE_TASK": "yes"},
        )

    def run(self, folder: Path) -> int:
        (folder / "command").write_text(command_line(warm="test"))
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(SECONDS)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    yield worker
    worker.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="servers are started where there is /proc")


def warm_up(worker: Worker, sandboxes: Sandboxes) -> None:
    """Have the server start, and wait until it has said where it is."""
    folder = sandboxes.new(where)
    assert worker.run(folder) == 0
    assert outcome(folder).result[1] == str(folder)
    address = sandboxes.root / "parsl-test" / "address"
    while not address.exists():
        # A process that ends, ends this wait as well.
        assert worker.run(sandboxes.new(where)) == 0


@linux
def test_the_server_makes_calls_in_their_folders_with_their_variables(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    one, two = sandboxes.new(where), sandboxes.new(where)
    assert worker.run(one) == 0
    assert worker.run(two) == 0
    first, second = outcome(one).result, outcome(two).result
    assert first[0] == second[0], "one process makes both, as they do not run at once"
    assert (first[1], second[1]) == (str(one), str(two))
    assert first[2] == "yes"


@linux
def test_a_process_that_is_killed_is_told_and_replaced(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    assert worker.run(sandboxes.new(die)) == 128 + signal.SIGKILL
    folder = sandboxes.new(len, "four")
    assert worker.run(folder) == 0
    assert outcome(folder).result == 4


@linux
def test_what_the_task_raises_is_in_its_answer(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    folder = sandboxes.new(len, 3)
    assert worker.run(folder) == 0
    assert isinstance(outcome(folder), Error)


@linux
def test_a_call_that_cannot_be_read_fails_with_words(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    folder = sandboxes.new(len, "four")
    (folder / "call").write_bytes(b"nonsense")
    assert worker.run(folder) == 1
    assert "DeserializationError" in (folder / "out").read_text()


def address_of(sandboxes: Sandboxes) -> tuple[int, str]:
    port, token = (sandboxes.root / "parsl-test" / "address").read_text().split()
    return int(port), token


@linux
def test_a_stranger_is_turned_away(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    port, _ = address_of(sandboxes)
    folder = sandboxes.new(len, "four")
    for request in (f"guess {os.getpid()} {folder}\n", "\n", "x" * 100_000):
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(request.encode())
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert not (folder / "answer").exists()


@linux
def test_the_end_of_the_shell_is_the_end_of_the_call(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    fifo = sandboxes.root / "fifo"
    os.mkfifo(fifo)
    folder = sandboxes.new(begin_and_wait, str(fifo))
    port, token = address_of(sandboxes)
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(f"{token} {os.getpid()} {folder}\n".encode())
        with open(fifo) as file:
            process = int(file.readline())
        ended = os.pidfd_open(process)
    try:
        assert select.select([ended], [], [], SECONDS)[0]
    finally:
        os.close(ended)


@linux
def test_a_server_that_is_gone_is_done_without(worker: Worker, sandboxes: Sandboxes) -> None:
    warm_up(worker, sandboxes)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (sandboxes.root / "parsl-test" / "address").write_text(f"{unused.getsockname()[1]} token\n")
        folder = sandboxes.new(len, "four")
        assert worker.run(folder) == 0
    assert outcome(folder).result == 4


# -- the two protocols of the engines --------------------------------------------------------------------------------


def read_message(read: Any) -> str:
    """Read `LENGTH\\nTEXT` with a function that returns so many bytes."""
    length = b""
    while not length.endswith(b"\n"):
        length += read(1)
    return str(read(int(length)).decode())


def test_a_library_of_taskvine(sandboxes: Sandboxes) -> None:
    calls_out, calls_in = os.pipe()
    answers_out, answers_in = os.pipe()
    options = ["--in-pipe-fd", str(calls_out), "--out-pipe-fd", str(answers_in), "--task-id", "7"]
    options += ["--library-cores", "2", "--function-slots", "2", "--worker-pid", str(os.getpid())]
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    process = subprocess.Popen([*SERVER, *options], pass_fds=[calls_out, answers_in])
    try:
        os.close(calls_out)
        os.close(answers_in)

        def read(size: int) -> bytes:
            data = os.read(answers_out, size)
            assert data
            return data

        assert json.loads(read_message(read)) == {"name": "parsl", "taskid": 7, "exec_mode": "fork"}
        good, bad = sandboxes.new(len, "four"), sandboxes.new(die)
        for number, folder in ((1, good), (2, bad)):
            line = f"{number} run {folder} {folder}/stdout"
            os.write(calls_in, f"{len(line)}\n{line}".encode())
        answers = {read_message(read) for _ in range(2)}
        assert answers == {"1 0", f"2 {(128 + signal.SIGKILL) << 8}"}
        assert outcome(good).result == 4
    finally:
        os.close(calls_in)
        assert process.wait(SECONDS) == 0
        os.close(answers_out)
        signal.signal(signal.SIGCHLD, before)


def test_a_coprocess_of_work_queue(sandboxes: Sandboxes) -> None:
    process = subprocess.Popen([*SERVER, "--coprocess"], stdout=subprocess.PIPE, cwd=sandboxes.root)
    assert process.stdout is not None
    try:
        said = json.loads(read_message(process.stdout.read))
        assert said["name"] == "parsl"
        with socket.create_connection(("localhost", said["port"]), timeout=SECONDS) as connection:
            reader = connection.makefile("rb")
            good, bad = sandboxes.new(len, "four"), sandboxes.new(die)
            connection.sendall(b"run 1 2\n{}")
            assert json.loads(read_message(reader.read)) == {"Result": 0, "StatusCode": 200}
            assert outcome(good).result == 4
            connection.sendall(b"run 2 2\n{}")
            assert json.loads(read_message(reader.read)) == {"Result": 128 + signal.SIGKILL, "StatusCode": 500}
            assert not (bad / "answer").exists()
            reader.close()
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()
