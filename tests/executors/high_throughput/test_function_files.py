"""Functions as files: written once, removed when forgotten."""

from __future__ import annotations

import logging
import os

import pytest

from parsl.executors.high_throughput.function_files import FunctionFiles


@pytest.fixture
def files(tmp_path):
    return FunctionFiles(f"{tmp_path}/node-f")


def test_each_function_is_a_file_of_its_number(files, tmp_path):
    files.keep({5: b"five", 12: b"twelve"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"node-f5": b"five", "node-f12": b"twelve"}
    files.forget([5, 99])
    assert os.listdir(tmp_path) == ["node-f12"]
    files.close()
    assert os.listdir(tmp_path) == []
    files.close()


def test_what_is_there_is_not_written_again(files, tmp_path):
    files.keep({5: b"five"})
    with open(tmp_path / "node-f5", "rb") as reader:
        files.keep({5: b"FIVE", 6: b"six"})
        assert reader.read() == b"five"
    assert (tmp_path / "node-f6").read_bytes() == b"six"
    files.forget([5])
    files.keep({5: b"another"})
    assert (tmp_path / "node-f5").read_bytes() == b"another"


def test_one_that_cannot_be_written_is_told_and_holds_up_no_other(files, tmp_path, caplog):
    (tmp_path / "node-f5").mkdir()
    with caplog.at_level(logging.ERROR):
        files.keep({5: b"five", 6: b"six"})
    assert "Function 5 cannot be kept" in caplog.text
    assert (tmp_path / "node-f6").read_bytes() == b"six"
