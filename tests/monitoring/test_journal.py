from __future__ import annotations

import errno
import os
import threading

import pytest

from parsl.monitoring import journal
from parsl.monitoring.journal import JournalReader, JournalWriter, segment_path, segments
from parsl.monitoring.records import Batch
from tests.monitoring.databases import SOON


def writer(folder, **options):
    woken = threading.Semaphore(0)
    made = JournalWriter(str(folder), woken.release, gather=0.0, **options)
    return made, woken


def test_records_come_out_in_the_order_in_which_they_went_in(tmp_path):
    made, woken = writer(tmp_path)
    made.put(Batch([(1, "a"), (2, "b")]))
    assert woken.acquire(timeout=SOON)
    reader = JournalReader(str(tmp_path))
    assert reader.read(100) == [[1, "a"], [2, "b"]]
    assert reader.read(100) == []
    made.put(Batch([(3, "c")]))
    assert woken.acquire(timeout=SOON)
    assert reader.read(100) == [[3, "c"]]
    assert made.close(SOON)
    assert reader.rest == 0


def test_what_was_put_before_the_end_is_written(tmp_path):
    made, _ = writer(tmp_path)
    for number in range(100):
        made.put(Batch([(number,)]))
    assert made.close(SOON)
    assert JournalReader(str(tmp_path)).read(1000) == [[n] for n in range(100)]


def test_a_reader_goes_on_where_another_one_got_to(tmp_path):
    made, woken = writer(tmp_path, segment_bytes=50)
    for number in range(20):
        made.put(Batch([(number, "x" * 30)]))
        assert woken.acquire(timeout=SOON)
    made.close(SOON)
    assert len(segments(str(tmp_path))) > 5
    reader = JournalReader(str(tmp_path))
    first = reader.read(7)
    rest = JournalReader(str(tmp_path), reader.segment, reader.position).read(100)
    assert [r[0] for r in first + rest] == list(range(20))


def test_read_segments_are_removed_and_no_others(tmp_path):
    made, woken = writer(tmp_path, segment_bytes=50)
    for number in range(10):
        made.put(Batch([(number, "x" * 30)]))
        assert woken.acquire(timeout=SOON)
    made.close(SOON)
    reader = JournalReader(str(tmp_path))
    reader.read(5)
    reader.forget(reader.segment)
    assert segments(str(tmp_path))[0] == reader.segment
    assert len(reader.read(100)) == 10 - 5


def test_half_a_frame_is_not_read(tmp_path):
    made, woken = writer(tmp_path)
    made.put(Batch([(1, "whole")]))
    assert woken.acquire(timeout=SOON)
    made.put(Batch([(2, "cut")]))
    made.close(SOON)
    path = segment_path(str(tmp_path), 1)
    os.truncate(path, os.path.getsize(path) - 1)
    reader = JournalReader(str(tmp_path))
    assert reader.read(100) == [[1, "whole"]]
    assert reader.read(100) == []


def test_a_writer_never_writes_over_an_earlier_segment(tmp_path):
    first, _ = writer(tmp_path)
    first.put(Batch([(1,)]))
    first.close(SOON)
    second, _ = writer(tmp_path)
    second.put(Batch([(2,)]))
    second.close(SOON)
    assert JournalReader(str(tmp_path)).read(100) == [[1], [2]]


@pytest.mark.parametrize("cut", [True, False], ids=["half a write", "no write"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, caplog, cut):
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.01)
    full = threading.Event()
    real, failed = os.pwrite, threading.Event()

    def pwrite(fd, data, at):
        if not full.is_set():
            return real(fd, data, at)
        failed.set()
        if cut:
            return real(fd, data[:3], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "pwrite", pwrite)
    made, woken = writer(tmp_path)
    made.put(Batch([(1,)]))
    assert woken.acquire(timeout=SOON)
    full.set()
    made.put(Batch([(2,)]))
    assert failed.wait(SOON)
    assert JournalReader(str(tmp_path)).read(100) == [[1]]
    full.clear()
    assert woken.acquire(timeout=SOON)
    made.close(SOON)
    assert JournalReader(str(tmp_path)).read(100) == [[1], [2]]
    assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING"]


def test_a_stuck_disk_makes_put_wait_a_little_and_then_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MOST_WAITING", 10)
    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    go_on = threading.Event()
    real = os.pwrite
    monkeypatch.setattr(journal.os, "pwrite", lambda *args: go_on.wait() and real(*args))
    made, _ = writer(tmp_path)
    done = threading.Event()

    def put():
        for number in range(1000):
            made.put(Batch([(number,)]))
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    assert done.wait(SOON)
    thread.join()
    assert not made.close(0.01)
    go_on.set()
    assert made.close(SOON)
    assert len(JournalReader(str(tmp_path)).read(10_000)) == 1000
