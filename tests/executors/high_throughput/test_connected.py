from __future__ import annotations

import pytest

from parsl.executors.high_throughput.connected import Connected
from parsl.executors.high_throughput.messages import Managers, ManagerView


def view(name, block, draining=False):
    return ManagerView(name, block, 2, 0, 0.0, not draining, draining, "1", "3.12", "node", 1, 2)


@pytest.fixture
def connected():
    connected = Connected()
    assert connected.update(Managers([view("a", "0"), view("b", "0"), view("c", "1")], [])) == (True, False)
    return connected


def test_managers_make_blocks(connected):
    assert set(connected.managers) == {"a", "b", "c"}
    assert connected.blocks == {"0": {"a", "b"}, "1": {"c"}}
    assert connected.seen == {"0", "1"}
    assert connected.leaving == set()


def test_more_of_a_block_that_is_known_is_no_change(connected):
    assert connected.update(Managers([view("d", "1"), view("a", "0")], [])) == (False, False)
    assert connected.blocks["1"] == {"c", "d"}


def test_a_block_is_gone_with_its_last_manager_and_was_seen(connected):
    assert connected.update(Managers([], ["a"])) == (False, False)
    assert connected.update(Managers([], ["b"])) == (True, True)
    assert set(connected.blocks) == {"1"}
    assert set(connected.managers) == {"c"}
    assert connected.seen == {"0", "1"}


def test_a_block_leaves_when_all_its_managers_do(connected):
    assert connected.update(Managers([view("a", "0", draining=True)], [])) == (False, False)
    assert connected.leaving == set()
    assert connected.update(Managers([view("b", "0", draining=True)], [])) == (True, False)
    assert connected.leaving == {"0"}
    assert connected.update(Managers([], ["a", "b"])) == (True, True)
    assert connected.leaving == set()


def test_one_that_stays_makes_a_block_serve_again(connected):
    connected.update(Managers([view("c", "1", draining=True)], []))
    assert connected.update(Managers([view("d", "1")], [])) == (True, False)
    assert connected.leaving == set()


def test_strangers_that_go_are_no_news(connected):
    assert connected.update(Managers([], ["nobody"])) == (False, False)


def test_a_name_that_comes_back_from_another_block_has_left_the_first(connected):
    assert connected.update(Managers([view("c", "2", draining=True)], [])) == (True, True)
    assert connected.blocks == {"0": {"a", "b"}, "2": {"c"}}
    assert connected.leaving == {"2"}


def test_one_that_comes_and_goes_in_the_same_news_was_seen(connected):
    assert connected.update(Managers([view("x", "9")], ["x"])) == (False, False)
    assert "9" in connected.seen
    assert "9" not in connected.blocks


def test_the_size_of_a_node_is_that_of_the_first_and_lasts():
    connected = Connected()
    assert connected.workers is None
    for workers, name in ((4, "a"), (64, "b")):
        small = view(name, "0")
        small.worker_count = workers
        connected.update(Managers([small], []))
    assert connected.workers == 4
    connected.update(Managers([], ["a", "b"]))
    assert connected.workers == 4
    connected.update(Managers([view("c", "1")], []))
    assert connected.workers == 2


def test_what_changes_in_a_large_block_costs_no_look_at_all_of_it():
    """Each of 3,000 nodes comes, leaves and goes: with a look at all others each time, millions of steps."""
    connected, looks = Connected(), 0

    class Watched(set):
        def __iter__(self):
            nonlocal looks
            looks += 1
            return super().__iter__()

    connected.blocks["0"] = Watched()
    names = [str(n) for n in range(3000)]
    for name in names:
        connected.update(Managers([view(name, "0")], []))
    for name in names:
        connected.update(Managers([view(name, "0", draining=True)], []))
    assert connected.leaving == {"0"}
    assert looks == 0
