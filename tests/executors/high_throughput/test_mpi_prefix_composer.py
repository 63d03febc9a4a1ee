"""Specifications of MPI tasks, and the commands made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification
from parsl.executors.high_throughput.mpi_prefix_composer import (
    LAUNCHERS,
    Ranks,
    compose_environment,
    read_specification,
)

# -- specifications ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specification", "ranks"),
    [
        ({"num_nodes": 2, "ranks_per_node": 3, "num_ranks": 6}, Ranks(2, 3)),
        ({"num_nodes": 2, "ranks_per_node": 3}, Ranks(2, 3)),
        ({"num_nodes": 2, "num_ranks": 6}, Ranks(2, 3)),
        ({"ranks_per_node": 3, "num_ranks": 6}, Ranks(2, 3)),
        ({"num_nodes": 1, "ranks_per_node": 1, "num_ranks": None}, Ranks(1, 1)),
        ({"num_nodes": 1, "num_ranks": 1, "launcher_options": "--bind-to core"}, Ranks(1, 1, "--bind-to core")),
        ({"num_nodes": 1, "num_ranks": 1, "launcher_options": None, "priority": 3}, Ranks(1, 1)),
    ],
)
def test_two_counts_imply_the_third(specification, ranks):
    assert read_specification(specification) == ranks


@pytest.mark.parametrize("nothing", [None, {}, {"priority": 2}, {"num_nodes": None}])
def test_there_must_be_one(nothing):
    with pytest.raises(MissingResourceSpecification, match="num_nodes, num_ranks, ranks_per_node"):
        read_specification(nothing)
    assert issubclass(MissingResourceSpecification, InvalidResourceSpecification)


@pytest.mark.parametrize(
    ("specification", "at_fault", "text"),
    [
        ({"num_nodes": 2}, {"ranks_per_node", "num_ranks"}, "At least two"),
        ({"num_nodes": 2, "ranks_per_node": 2, "num_ranks": 5}, None, "num_ranks=5 is not"),
        ({"num_nodes": 2, "num_ranks": 5}, {"num_nodes", "num_ranks"}, "num_nodes=2, num_ranks=5 is not"),
        ({"num_nodes": 3, "num_ranks": 2}, {"num_nodes", "num_ranks"}, "is not"),
        ({"ranks_per_node": 3, "num_ranks": 2}, {"ranks_per_node", "num_ranks"}, "is not"),
        ({"num_nodes": 0, "num_ranks": 2}, {"num_nodes"}, "at least 1, but is 0"),
        ({"num_nodes": 1, "num_ranks": -2}, {"num_ranks"}, "at least 1"),
        ({"num_nodes": True, "num_ranks": 2}, {"num_nodes"}, "but is True"),
        ({"num_nodes": 1.0, "num_ranks": 2}, {"num_nodes"}, "whole number"),
        ({"num_nodes": "2", "num_ranks": 2}, {"num_nodes"}, "but is '2'"),
        ({"num_nodes": 1, "num_ranks": 1, "launcher_options": ["-v"]}, {"launcher_options"}, "must be a string"),
    ],
)
def test_what_makes_no_sense_is_told(specification, at_fault, text):
    with pytest.raises(InvalidResourceSpecification, match=text) as caught:
        read_specification(specification)
    if at_fault is not None:
        assert caught.value.invalid_keys == at_fault


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(["num_nodes", "ranks_per_node", "num_ranks", ""]))
def test_any_one_count_may_be_left_out(nodes, per_node, left_out):
    counts = {"num_nodes": nodes, "ranks_per_node": per_node, "num_ranks": nodes * per_node}
    counts.pop(left_out, None)
    ranks = read_specification(counts)
    assert (ranks.nodes, ranks.per_node, ranks.total) == (nodes, per_node, nodes * per_node)


# -- commands ----------------------------------------------------------------------------------------------------------


def test_every_variable_of_a_task():
    assert compose_environment("mpiexec", Ranks(2, 3), ["a", "b"]) == {
        "PARSL_NUM_NODES": "2",
        "PARSL_NUM_RANKS": "6",
        "PARSL_RANKS_PER_NODE": "3",
        "PARSL_MPI_NODELIST": "a,b",
        "PARSL_MPI_PREFIX": "mpiexec -n 6 -ppn 3 -hosts a,b",
        "PARSL_MPIEXEC_PREFIX": "mpiexec -n 6 -ppn 3 -hosts a,b",
        "PARSL_SRUN_PREFIX": "srun --ntasks 6 --ntasks-per-node 3 --nodes 2 --nodelist a,b",
        "PARSL_APRUN_PREFIX": "aprun -n 6 -N 3 -L a,b",
    }


def test_open_mpi_has_options_of_its_own():
    variables = compose_environment("mpiexec", Ranks(2, 3, "--bind-to core"), ["a", "b"], open_mpi=True)
    assert variables["PARSL_MPI_PREFIX"] == "mpiexec -n 6 --host a:3,b:3 --bind-to core"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_prefix_is_that_of_the_launcher_with_the_options_of_the_task(launcher):
    variables = compose_environment(launcher, Ranks(1, 1, "--cpu-bind cores"), ["a"])
    assert variables["PARSL_MPI_PREFIX"] == variables[f"PARSL_{launcher.upper()}_PREFIX"]
    assert variables["PARSL_MPI_PREFIX"].split()[0] == launcher
    assert variables["PARSL_MPI_PREFIX"].endswith(" --cpu-bind cores")


def test_aprun_is_given_numbers_of_nodes():
    nodes = ["nid00012", "nid000", "nid12x", "login1"]
    prefix = compose_environment("aprun", Ranks(4, 1), nodes)["PARSL_APRUN_PREFIX"]
    assert prefix.endswith("-L 12,0,nid12x,login1")
