from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.manager_selector import (
    BlockIdManagerSelector,
    ManagerSelector,
    RandomManagerSelector,
)
from parsl.executors.high_throughput.messages import Register


def records(blocks):
    return {
        name: ManagerRecord(name, Register(name.decode(), 1, block, "node", 1, 1, "3.12", "1", "", "", 1), 0.0)
        for name, block in blocks.items()
    }


@pytest.mark.parametrize(
    ("blocks", "order"),
    [
        ({b"a": "2", b"b": "10", b"c": "0"}, [b"c", b"a", b"b"]),
        ({b"a": "1", b"b": "named", b"c": ""}, [b"c", b"b", b"a"]),
        ({b"a": "0", b"b": "²"}, [b"b", b"a"]),
        ({b"a": "3"}, [b"a"]),
        ({}, []),
    ],
)
def test_lowest_block_first_by_number(blocks, order):
    assert BlockIdManagerSelector().sort_managers(records(blocks), set(blocks)) == order


def test_only_managers_that_want_tasks_are_named():
    known = records({b"a": "0", b"b": "1", b"c": "2"})
    for selector in (BlockIdManagerSelector(), RandomManagerSelector()):
        assert sorted(selector.sort_managers(known, {b"c", b"b"})) == [b"b", b"c"]


@given(st.sets(st.binary(min_size=1), max_size=8))
def test_random_names_each_once_and_leaves_the_set_alone(names):
    given_names = set(names)
    assert sorted(RandomManagerSelector().sort_managers({}, given_names)) == sorted(names)
    assert given_names == names


def test_random_gives_each_its_turn():
    random.seed(7)
    first = [RandomManagerSelector().sort_managers({}, {b"a", b"b", b"c"})[0] for _ in range(300)]
    assert all(50 < first.count(name) < 150 for name in (b"a", b"b", b"c"))


def test_the_contract_is_abstract():
    with pytest.raises(TypeError):
        ManagerSelector()


@pytest.mark.parametrize("kind", [RandomManagerSelector, BlockIdManagerSelector])
def test_selectors_travel_to_the_interchange(kind):
    assert type(pickle.loads(pickle.dumps(kind()))) is kind
