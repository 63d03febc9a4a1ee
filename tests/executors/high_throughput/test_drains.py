from __future__ import annotations

from parsl.executors.high_throughput.drains import Drains


def test_a_block_is_emptied_once_all_its_managers_have_left():
    drains = Drains()
    drains.begin("0", [b"a", b"b"])
    assert drains.take_emptied() == []
    drains.left([b"b", b"somebody else"])
    assert drains.take_emptied() == []
    drains.left([b"a"])
    assert drains.take_emptied() == ["0"]
    assert drains.take_emptied() == []
    drains.left([b"a", b"b"])
    assert drains.take_emptied() == []


def test_a_block_without_managers_is_empty_at_once():
    drains = Drains()
    drains.begin("7", [])
    assert drains.take_emptied() == ["7"]


def test_a_block_is_remembered():
    drains = Drains()
    assert "0" not in drains
    drains.begin("0", [])
    assert "0" in drains
    assert "1" not in drains


def test_blocks_are_told_apart():
    drains = Drains()
    drains.begin("0", [b"a"])
    drains.begin("1", [b"b"])
    drains.left([b"b"])
    assert drains.take_emptied() == ["1"]
    drains.left([b"a"])
    assert drains.take_emptied() == ["0"]


def test_a_manager_that_joins_another_block_has_left_its_own():
    drains = Drains()
    drains.begin("0", [b"a"])
    drains.joined(b"a", "0")
    drains.joined(b"b", "1")
    assert drains.take_emptied() == []
    drains.joined(b"a", "1")
    assert drains.take_emptied() == ["0"]
