"""What a resource specification may hold, and what is said of one that makes no sense."""

from __future__ import annotations

import math
from typing import Any

import pytest

from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification
from parsl.executors.high_throughput.specification import check_specification

RANKS = {"num_nodes": 2, "ranks_per_node": 4}


def check(specification: dict[str, Any], *, with_ranks: bool = False, block_seconds: float | None = None) -> None:
    check_specification(specification, "htex", with_ranks=with_ranks, block_seconds=block_seconds)


@pytest.mark.parametrize(
    ("specification", "entry"),
    [
        ({"cores": 1}, "cores"),
        ({"priority": "1"}, "priority"),
        ({"priority": None}, "priority"),
        ({"priority": math.nan}, "priority"),
        ({"priority": 1, "x": 2}, "x"),
        ({"walltime": "1h"}, "walltime"),
        ({"walltime": None}, "walltime"),
        ({"walltime": math.nan}, "walltime"),
        (RANKS, "num_nodes"),
    ],
)
def test_what_makes_no_sense_is_named(specification: dict[str, Any], entry: str) -> None:
    with pytest.raises(InvalidResourceSpecification) as error:
        check(specification)
    assert entry in error.value.invalid_keys
    assert error.value.message


@pytest.mark.parametrize(
    "specification",
    [
        {},
        {"priority": 1},
        {"priority": -0.5},
        {"priority": math.inf},
        {"walltime": 1e9},
        {"priority": 1, "walltime": 2},
    ],
)
def test_a_priority_is_any_number_and_so_is_a_walltime_where_blocks_do_not_end(specification: dict[str, Any]) -> None:
    check(specification)


def test_a_time_has_to_fit_into_what_of_a_block_can_be_used() -> None:
    check({"walltime": 570}, block_seconds=600)
    check({"priority": 1}, block_seconds=0)
    with pytest.raises(InvalidResourceSpecification, match=r"declares 571 s.*executor htex last 600 s.*570 s can be"):
        check({"walltime": 571}, block_seconds=600)


def test_ranks_are_wanted_where_tasks_are_of_mpi_and_nowhere_else() -> None:
    check({**RANKS, "priority": 2, "walltime": 60}, with_ranks=True)
    with pytest.raises(MissingResourceSpecification):
        check({"priority": 1}, with_ranks=True)
    with pytest.raises(InvalidResourceSpecification, match="'num_nodes'"):
        check({**RANKS, "gpus": 2}, with_ranks=True)
    with pytest.raises(InvalidResourceSpecification, match="priority"):
        check({**RANKS, "priority": "high"}, with_ranks=True)
