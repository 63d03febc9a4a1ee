"""The manager's process: its start, in whichever way it goes, and its end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parsl.executors import cctools_process
from parsl.executors.cctools_messages import ManagerConfig, Stop
from parsl.executors.cctools_process import ManagerProcess
from parsl.executors.high_throughput.streams import LENGTH

ROOT = Path(__file__).parent.parent.parent


class Failure(Exception):
    """What an executor raises."""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the manager's process find the engine of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerProcess]:
    manager = ManagerProcess("wq", str(tmp_path), Failure)
    yield manager
    manager.wait()


def config(folder: Path, **options: Any) -> ManagerConfig:
    return ManagerConfig("tests.executors.fake_engine:FakeEngine", "wq", str(folder), options, project=False)


def test_it_listens_once_it_is_started_and_ends_when_told(manager: ManagerProcess, tmp_path: Path) -> None:
    assert manager.wait() is None, "there is none yet"
    with manager.start(config(tmp_path)) as connection:
        socket.create_connection(("127.0.0.1", manager.port)).close()
        data = msgspec.msgpack.encode(Stop())
        connection.sendall(LENGTH.pack(len(data)) + data)
        assert manager.wait() == 0


def test_it_ends_with_the_connection(manager: ManagerProcess, tmp_path: Path) -> None:
    manager.start(config(tmp_path)).close()
    assert manager.wait() == 0


def test_an_engine_that_cannot_be_made_says_why(manager: ManagerProcess, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"executor wq did not start: .*port 9123 is taken"):
        manager.start(config(tmp_path, broken="port 9123 is taken"))


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true"])
def test_one_that_ends_at_once_did_not_start(
    manager: ManagerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr("sys.executable", program)
    with pytest.raises(Failure, match="executor wq did not start"):
        manager.start(config(tmp_path))


def test_its_last_words_are_in_its_obituary(
    manager: ManagerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(Failure, match=r"(?s)did not start.*out of order"):
        manager.start(config(tmp_path))
    obituary = manager.obituary()
    assert isinstance(obituary, Failure)
    assert str(obituary) == "The manager of executor wq has ended with exit code 3. It said:\nout of order"


def test_one_that_does_not_end_is_killed(
    manager: ManagerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cctools_process, "STOP_SECONDS", 0.2)
    with manager.start(config(tmp_path)):
        assert manager.wait() == -signal.SIGKILL


@pytest.mark.parametrize("missing", ["folder", "python"])
def test_what_is_not_there_is_told_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")
    manager = ManagerProcess("wq", str(tmp_path / "none" if missing == "folder" else tmp_path), Failure)
    with pytest.raises(FileNotFoundError, match="none" if missing == "folder" else "python"):
        manager.start(config(tmp_path))
