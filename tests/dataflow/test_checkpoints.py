"""The log and its index: what is written is found, whatever happened to the files."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl.dataflow import checkpoints
from parsl.dataflow.checkpoints import INDEX, RECORDS, CheckpointReader, CheckpointWriter, open_checkpoints, pack
from parsl.dataflow.errors import BadCheckpoint


def hash_of(n: int) -> str:
    return hashlib.md5(str(n).encode()).hexdigest()


def entries(*numbers: int) -> list[tuple[str, bytes]]:
    return [(hash_of(n), pack(hash_of(n), {"number": n})) for n in numbers]


def write(folder: Path, *numbers: int) -> None:
    writer = CheckpointWriter(str(folder))
    try:
        writer.append(entries(*numbers))
    finally:
        writer.close()


def numbers_in(*folders: Path, most: int = 100) -> set[int]:
    known = open_checkpoints(folders)
    try:
        found = {n for n in range(most) if hash_of(n) in known}
        for n in found:
            assert known[hash_of(n)].result(timeout=0) == {"number": n}
        return found
    finally:
        known.close()


def test_what_is_written_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a", 1, 2, 3)
    write(tmp_path / "a", 4)
    assert numbers_in(tmp_path / "a") == {1, 2, 3, 4}
    known = open_checkpoints([tmp_path / "a"])
    assert (len(known), sorted(known)) == (4, sorted(map(hash_of, (1, 2, 3, 4))))
    assert known.packed(hash_of(5)) is None
    with pytest.raises(KeyError):
        known[hash_of(5)]
    known.close()
    assert len(known) == 0


def test_the_log_is_a_row_of_pickles_as_in_earlier_releases(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    with open(tmp_path / RECORDS, "rb") as file:
        read = [pickle.load(file), pickle.load(file)]
        assert file.read() == b""
    assert read == [{"hash": hash_of(n), "exception": None, "result": {"number": n}} for n in (1, 2)]


def of_earlier_release(folder: Path, *records: dict[str, Any], protocol: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / RECORDS, "ab") as file:
        for record in records:
            pickle.dump(record, file, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_log_of_an_earlier_release_is_read_and_continued(tmp_path: Path, protocol: int) -> None:
    records = [{"hash": hash_of(n), "exception": None, "result": {"number": n}} for n in range(5)]
    of_earlier_release(tmp_path, *records, protocol=protocol)
    assert numbers_in(tmp_path) == {0, 1, 2, 3, 4}
    write(tmp_path, 7)
    assert numbers_in(tmp_path) == {0, 1, 2, 3, 4, 7}
    with open(tmp_path / RECORDS, "rb") as file:
        assert [pickle.load(file)["hash"] for _ in range(6)] == [hash_of(n) for n in (0, 1, 2, 3, 4, 7)]
    with CheckpointReader(tmp_path) as reader:
        assert reader.listed == 6, "by now the index lists them all"


class Point:
    def __init__(self, x):
        raise AssertionError("opening a checkpoint must not make the user's objects")

    def __reduce__(self):
        return Point, (1,)


def test_values_are_not_made_while_a_log_is_opened(tmp_path: Path) -> None:
    point = Point.__new__(Point)
    of_earlier_release(tmp_path, {"hash": hash_of(1), "exception": None, "result": [point, {point: {point}}]})
    with CheckpointReader(tmp_path) as reader:
        assert len(reader) == 1


def test_a_value_whose_class_is_gone_is_told_and_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of_earlier_release(tmp_path, {"hash": hash_of(1), "exception": None, "result": Point.__new__(Point)})
    known = open_checkpoints([tmp_path])
    assert known.record(hash_of(1)) is None
    assert "cannot be used (AssertionError" in caplog.text
    known.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(cut=st.integers(0, 10_000), index_cut=st.integers(0, 10_000))
def test_cut_off_anywhere_only_the_tail_is_lost(tmp_path: Path, cut: int, index_cut: int) -> None:
    for name in (RECORDS, INDEX):
        (tmp_path / name).unlink(missing_ok=True)
    write(tmp_path, *range(6))
    length, index_length = ((tmp_path / name).stat().st_size for name in (RECORDS, INDEX))
    sizes = [len(record) for _, record in entries(*range(6))]
    cut, index_cut = cut % (length + 1), index_cut % (index_length + 1)
    os.truncate(tmp_path / RECORDS, cut)
    os.truncate(tmp_path / INDEX, index_cut)
    whole = {n for n in range(6) if sum(sizes[: n + 1]) <= cut}
    assert numbers_in(tmp_path) == whole
    # What is written next stands behind the last whole record, and all can be read in order.
    write(tmp_path, 9)
    assert numbers_in(tmp_path) == whole | {9}
    (tmp_path / INDEX).unlink()
    assert numbers_in(tmp_path) == whole | {9}


def test_a_torn_tail_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 1, 2)
    os.truncate(tmp_path / RECORDS, (tmp_path / RECORDS).stat().st_size - 3)
    assert numbers_in(tmp_path) == {1}
    assert f"{tmp_path / RECORDS} has lost its last 1 records" in caplog.text
    assert "ends within a record: 1 records are good" in caplog.text


def damage(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.parametrize("indexed", [True, False])
def test_damage_in_the_middle_costs_that_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, indexed: bool
) -> None:
    write(tmp_path, 1, 2, 3)
    size = len(entries(1)[0][1])
    damage(tmp_path / RECORDS, size + 1)  # the number of the protocol
    if not indexed:
        (tmp_path / INDEX).unlink()
    known = open_checkpoints([tmp_path])
    assert [known.record(hash_of(n)) is not None for n in (1, 2, 3)] == [True, False, True]
    known.close()
    assert "damaged" in caplog.text


def test_an_index_of_something_else_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / INDEX).write_bytes(b"something else")
    assert numbers_in(tmp_path) == {1, 2}
    assert "is not an index" in caplog.text


def test_a_log_that_was_replaced_gives_no_wrong_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a", 1, 2)
    write(tmp_path / "b", 3, 4)
    os.replace(tmp_path / "b" / RECORDS, tmp_path / "a" / RECORDS)
    known = open_checkpoints([tmp_path / "a"])
    assert known.record(hash_of(1)) is None
    known.close()
    assert "is damaged; its task will run again" in caplog.text


def test_more_runs_than_files_that_may_be_open(tmp_path: Path) -> None:
    folders = [tmp_path / f"{n:03}" for n in range(60)]
    for n, folder in enumerate(folders):
        write(folder, n)
    script = f"""
import os, resource, sys
from tests.dataflow.test_checkpoints import *
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
known = open_checkpoints(sorted(Path({str(tmp_path)!r}).iterdir()))
print(len(known), known[hash_of(59)].result())
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("60 {'number': 59}\n", "")


def test_a_log_that_is_gone_is_told_and_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 1)
    known = open_checkpoints([tmp_path])
    (tmp_path / RECORDS).unlink()
    assert known.record(hash_of(1)) is None
    assert "cannot be used (FileNotFoundError" in caplog.text
    known.close()


def test_later_checkpoints_count_first(tmp_path: Path) -> None:
    for name, result in (("a", "old"), ("b", "new")):
        writer = CheckpointWriter(str(tmp_path / name))
        writer.append([(hash_of(1), pack(hash_of(1), result))])
        writer.close()
    for order, result in ((["a", "b"], "new"), (["b", "a"], "old")):
        known = open_checkpoints([tmp_path / name for name in order])
        assert known[hash_of(1)].result(timeout=0) == result
        known.close()


def test_exceptions_and_odd_hashes_can_be_kept(tmp_path: Path) -> None:
    writer = CheckpointWriter(str(tmp_path))
    writer.append([(h, pack(h, None, ValueError(h))) for h in ("short", "g" * 32, "\ud800", hash_of(1))])
    writer.close()
    known = open_checkpoints([tmp_path])
    for h in ("short", "g" * 32, "\ud800", hash_of(1)):
        assert known[h].exception(timeout=0).args == (h,)
    known.close()


def test_folders_without_a_checkpoint_are_named(tmp_path: Path) -> None:
    write(tmp_path / "good", 1)
    with pytest.raises(BadCheckpoint, match=r"There is no checkpoint in '.*missing': No such file.*tasks\.pkl"):
        open_checkpoints([tmp_path / "good", tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadCheckpoint, match="empty"):
        open_checkpoints([tmp_path / "empty"])
    (tmp_path / "empty" / RECORDS).touch()
    assert numbers_in(tmp_path / "empty") == set()


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(str(tmp_path))
    writer.append(entries(1))

    def half(file, data):
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write", half)
        with pytest.raises(OSError, match="No space"):
            writer.append(entries(2))
    assert numbers_in(tmp_path) == {1}
    writer.append(entries(3))
    writer.close()
    assert numbers_in(tmp_path) == {1, 3}


WRITE_MANY = """
import sys
from tests.dataflow.test_checkpoints import *
writer = CheckpointWriter(sys.argv[1])
for n in range(int(sys.argv[2]), int(sys.argv[3]), 5):
    writer.append(entries(*range(n, n + 5)))
"""


def test_several_processes_write_to_one_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WRITE_MANY, str(tmp_path)]
    bounds = [(0, 500), (500, 1000), (1000, 1500)]
    running = [subprocess.Popen([*command, str(a), str(b)], cwd=root) for a, b in bounds]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    with caplog.at_level(logging.WARNING):
        assert numbers_in(tmp_path, most=1500) == set(range(1500))
        (tmp_path / INDEX).unlink()
        assert numbers_in(tmp_path, most=1500) == set(range(1500))
    assert caplog.text == ""


def test_without_locks_one_process_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write(tmp_path, 1)
    write(tmp_path, 2)
    assert numbers_in(tmp_path) == {1, 2}


def test_a_million_entries_open_without_reading_values(tmp_path: Path) -> None:
    record = pack(hash_of(0), 0)
    with open(tmp_path / RECORDS, "wb") as log:
        log.truncate(1_000_000 * len(record))  # a hole: there is nothing to read
    rows = b"".join(
        checkpoints._ROW.pack(n.to_bytes(16, "big"), n * len(record), len(record), 0) for n in range(1_000_000)
    )
    (tmp_path / INDEX).write_bytes(checkpoints._MAGIC + rows)
    begin = time.process_time()
    known = open_checkpoints([tmp_path])
    assert time.process_time() - begin < 1
    assert len(known) == 1_000_000
    known.close()
