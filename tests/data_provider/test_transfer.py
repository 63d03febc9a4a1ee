"""One transfer: attempts, temporary names, errors that tell who wanted what."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl.app.errors import MissingOutputs
from parsl.data_provider import transfer
from parsl.data_provider.transfer import (
    ATTEMPTS,
    Interrupted,
    Refused,
    Transfer,
    TransferError,
    WithTransfer,
    carry_out,
    check_length,
    landing,
    may_pass,
    pause_after,
    without_password,
)
from parsl.errors import OptionalModuleMissing, ParslError
from tests.data_provider.servers import files_in


def incoming(path: Path) -> Transfer:
    return Transfer("SomeStaging", "far://me:secret@host/x", str(path), True, "task 3 (analyse)")


def outgoing(path: Path) -> Transfer:
    return Transfer("SomeStaging", "far://host/x", str(path), False, "task 3 (analyse)")


class Move:
    """A transfer that raises what it is told to, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[str, str]] = []

    def __call__(self, source: str, target: str) -> None:
        self.calls.append((source, target))
        with open(target, "w") as file:
            file.write("half ")
            if self.errors:
                raise self.errors.pop(0)
            file.write("whole")


def test_a_file_arrives_under_a_temporary_name_first(tmp_path: Path) -> None:
    move = Move()
    carry_out(incoming(tmp_path / "new" / "x"), move)
    assert (tmp_path / "new" / "x").read_text() == "half whole"
    ((source, temporary),) = move.calls
    assert source == "far://me:secret@host/x"
    assert os.path.dirname(temporary) == str(tmp_path / "new")
    assert os.path.basename(temporary).startswith(".x.")
    assert files_in(tmp_path) == {"new/x"}


def test_what_may_pass_is_tried_again(tmp_path: Path, pauses: list[int]) -> None:
    move = Move(*[Interrupted("busy")] * (ATTEMPTS - 1))
    carry_out(incoming(tmp_path / "x"), move)
    assert pauses == [1, 2, 3]
    assert len({target for _, target in move.calls}) == ATTEMPTS
    assert files_in(tmp_path) == {"x"}


def test_but_not_for_ever(tmp_path: Path, pauses: list[int]) -> None:
    move = Move(*[Interrupted("busy")] * 10)
    with pytest.raises(TransferError, match=r"failed on .* after 4 attempts: busy") as caught:
        carry_out(incoming(tmp_path / "x"), move)
    assert caught.value.attempts == len(move.calls) == ATTEMPTS
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("error", [Refused("no such file"), OSError(errno.ENOSPC, "disk full"), ValueError("odd")])
def test_what_will_not_change_is_not_tried_again(tmp_path: Path, pauses: list[int], error: Exception) -> None:
    (tmp_path / "x").write_text("of before")
    with pytest.raises(TransferError, match=str(error.args[-1])) as caught:
        carry_out(incoming(tmp_path / "x"), Move(error))
    assert caught.value.attempts == 1
    assert pauses == []
    assert files_in(tmp_path) == {"x"}
    assert (tmp_path / "x").read_text() == "of before"


def test_an_error_tells_who_wanted_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(TransferError) as caught:
        carry_out(incoming(tmp_path / "x"), Move(Refused("no such file")))
    text = str(caught.value)
    for part in ("SomeStaging", "far://me:***@host/x", str(tmp_path / "x"), "task 3 (analyse)", socket.gethostname()):
        assert part in text
    assert "secret" not in text
    assert isinstance(caught.value, ParslError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


def test_the_cause_is_kept(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "disk full")
    with pytest.raises(TransferError) as caught:
        carry_out(incoming(tmp_path / "x"), Move(error))
    assert caught.value.__cause__ is error


def test_a_missing_library_comes_through_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OptionalModuleMissing):
        carry_out(incoming(tmp_path / "x"), Move(OptionalModuleMissing(["a"], "b")))
    assert files_in(tmp_path) == set()


def test_an_output_that_was_not_made(tmp_path: Path) -> None:
    with pytest.raises(MissingOutputs, match="task 3") as caught:
        carry_out(outgoing(tmp_path / "x"), Move())
    assert caught.value.outputs == [str(tmp_path / "x")]


def test_an_output_is_sent_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("made")
    sent = []
    carry_out(outgoing(tmp_path / "x"), lambda source, url: sent.append((source, url)))
    assert sent == [(str(tmp_path / "x"), "far://host/x")]


def test_names_may_be_as_long_as_they_can_be(tmp_path: Path) -> None:
    with landing(str(tmp_path / ("n" * 255))) as temporary:
        Path(temporary).write_text("x")
    assert files_in(tmp_path) == {"n" * 255}


def test_an_interrupt_leaves_nothing_either(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), landing(str(tmp_path / "x")) as temporary:
        Path(temporary).write_text("half")
        raise KeyboardInterrupt
    assert files_in(tmp_path) == set()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 64 kB."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk(tmp_path: Path, small_disk: None, pauses: list[int]) -> None:
    def move(_: str, target: str) -> None:
        with open(target, "wb") as file:
            file.write(bytes(1 << 20))

    with pytest.raises(TransferError, match="File too large"):
        carry_out(incoming(tmp_path / "x"), move)
    assert files_in(tmp_path) == set()
    assert pauses == []


def test_pauses_grow_and_differ() -> None:
    for attempt, low in ((1, 0.125), (2, 0.375), (3, 1.125)):
        pauses = {pause_after(attempt) for _ in range(20)}
        assert len(pauses) > 1
        assert all(low <= pause <= 3 * low for pause in pauses)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.EHOSTUNREACH, "x"), True),
        (socket.gaierror(socket.EAI_AGAIN, "x"), True),
        (socket.gaierror(socket.EAI_NONAME, "x"), False),
        (OSError(errno.ENOSPC, "x"), False),
        (ValueError(), False),
        ("a text", False),
    ],
    ids=repr,
)
def test_what_may_pass(error: object, passing: bool) -> None:
    assert may_pass(error) is passing


def test_lengths() -> None:
    check_length(5, 5)
    check_length(5, None)
    with pytest.raises(Interrupted, match="5 of 6 bytes"):
        check_length(5, 6)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/x", "http://h/x"),
        ("http://u@h/x", "http://u@h/x"),
        ("ftp://u:p%40@h:21/x?y", "ftp://u:***@h:21/x?y"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


_events: list[str] = []


def _carry(transfer: Transfer) -> None:
    _events.append("in" if transfer.inbound else "out")


def _work(fails: bool = False) -> int:
    """Do the task's work."""
    _events.append("work")
    return 1 // (not fails)


@pytest.fixture
def events() -> Iterator[list[str]]:
    _events.clear()
    yield _events
    _events.clear()


def test_transfers_come_before_and_after_the_function(events: list[str]) -> None:
    func = WithTransfer(_work, incoming(Path("x")), _carry)
    func = WithTransfer(func, outgoing(Path("y")), _carry)
    assert func() == 1
    assert events == ["in", "work", "out"]
    assert (func.__name__, func.__doc__) == ("_work", "Do the task's work.")  # type: ignore[attr-defined]


def test_nothing_is_sent_of_a_function_that_failed(events: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        WithTransfer(_work, outgoing(Path("y")), _carry)(fails=True)
    assert events == ["work"]


def test_a_function_with_a_transfer_travels(events: list[str]) -> None:
    func = WithTransfer(len, incoming(Path("x")), transfer.carry_out)  # type: ignore[arg-type]  # not called
    copy = pickle.loads(pickle.dumps(func))
    assert (copy.func, copy.transfer, copy.carry) == (len, func.transfer, transfer.carry_out)
    assert "stage-in of far://me:***@host/x" in repr(copy)
