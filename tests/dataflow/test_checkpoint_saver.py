"""When results reach the disk."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from parsl.dataflow.checkpoint_saver import Saver
from parsl.dataflow.checkpoints import CheckpointWriter, open_checkpoints
from tests.kernels import SOON


def hash_of(n: int) -> str:
    return f"{n:032x}"


def saved(folder: Path) -> set[int]:
    if not (folder / "checkpoint").exists():
        return set()
    known = open_checkpoints([folder / "checkpoint"])
    try:
        return {known[hashsum].result(timeout=0) for hashsum in known}
    finally:
        known.close()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were written together, each time."""
    sizes: list[int] = []
    append = CheckpointWriter.append

    def counted(self: CheckpointWriter, entries: Any) -> None:
        sizes.append(len(entries))
        append(self, entries)

    monkeypatch.setattr(CheckpointWriter, "append", counted)
    return sizes


def test_at_once_who_waits_is_told_when_it_is_on_disk(tmp_path: Path) -> None:
    saver = Saver(str(tmp_path), at_once=True)
    told = threading.Event()
    found: list[set[int]] = []

    def tell() -> None:
        found.append(saved(tmp_path))
        told.set()

    assert not saver.when_written(tell), "nothing is on its way"
    saver.put_result(hash_of(1), 1)
    assert saver.when_written(tell)
    assert not saver.when_written(tell), "it has been asked for already"
    assert told.wait(SOON)
    assert found == [{1}]
    saver.close(write=False)


def test_what_gathers_during_a_write_is_written_together(tmp_path: Path, groups: list[int]) -> None:
    saver = Saver(str(tmp_path), at_once=True)
    go, busy = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        assert go.wait(SOON)

    saver.put_result(hash_of(0), 0)
    assert saver.when_written(hold)
    assert busy.wait(SOON)
    for n in range(1, 100):
        saver.put_result(hash_of(n), n)
    go.set()
    saver.flush()
    assert groups == [1, 99]
    assert saved(tmp_path) == set(range(100))
    saver.close(write=False)


def test_results_wait_to_be_asked_for(tmp_path: Path, groups: list[int]) -> None:
    saver = Saver(str(tmp_path), at_once=False)
    for n in range(3):
        saver.put_result(hash_of(n), n)
        assert not saver.when_written(lambda: None)
    saver.put_again(hash_of(3), 3)
    assert saved(tmp_path) == set()
    saver.write()
    saver.write()
    assert (saved(tmp_path), groups) == ({0, 1, 2, 3}, [4])
    saver.put_result(hash_of(4), 4)
    saver.close(write=True)
    assert (saved(tmp_path), groups) == ({0, 1, 2, 3, 4}, [4, 1])


@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_after_the_end_is_left_out(tmp_path: Path, at_once: bool) -> None:
    saver = Saver(str(tmp_path), at_once=at_once)
    saver.close(write=True)
    saver.put_result(hash_of(1), 1)
    saver.put_again(hash_of(2), 2)
    assert not saver.when_written(lambda: None)
    assert saved(tmp_path) == set()


def test_no_file_is_made_for_nothing(tmp_path: Path) -> None:
    for at_once in (True, False):
        saver = Saver(str(tmp_path), at_once=at_once)
        saver.write()
        saver.close(write=True)
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_is_kept_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(str(tmp_path), at_once=False)
    for n in range(3):
        saver.put_result(hash_of(n), n)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "append", full)
        with pytest.raises(OSError, match="No space"):
            saver.write()
    saver.put_result(hash_of(3), 3)
    saver.close(write=True)
    assert saved(tmp_path) == {0, 1, 2, 3}


@pytest.mark.parametrize("at_once", [True, False])
def test_a_full_disk_is_told_and_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CheckpointWriter, "append", full)
    saver = Saver(str(tmp_path), at_once=at_once)
    told = threading.Event()
    saver.put_result(hash_of(1), 1)
    if saver.when_written(told.set):
        assert told.wait(SOON)
    saver.close(write=True)
    assert "No space left on device" in caplog.text
    assert "could not be saved" in caplog.text


class Odd:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("at_once", [True, False])
def test_what_cannot_be_packed_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        saver = Saver(str(tmp_path), at_once=at_once)
        saver.put_result(hash_of(1), Odd())
        saver.put_again(hash_of(2), Odd())
        saver.put_result(hash_of(3), 3)
        saver.write()
        saver.close(write=True)
    assert saved(tmp_path) == {3}
    assert caplog.text.count("A result of type Odd cannot be saved (ZeroDivisionError") == 2


def test_results_put_in_by_many_threads_while_others_write(tmp_path: Path) -> None:
    saver = Saver(str(tmp_path), at_once=False)

    def put(first: int) -> None:
        for n in range(first, first + 200):
            saver.put_again(hash_of(n), n)
            if n % 20 == 0:
                saver.write()

    threads = [threading.Thread(target=put, args=(first,)) for first in range(0, 1000, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saver.close(write=True)
    assert saved(tmp_path) == set(range(1000))
