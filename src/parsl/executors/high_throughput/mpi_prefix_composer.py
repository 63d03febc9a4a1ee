"""What an MPI task asks for, and the commands that start its ranks on the nodes that it gets. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification

LAUNCHERS = ("aprun", "mpiexec", "srun")

_COUNTS = ("num_nodes", "ranks_per_node", "num_ranks")

# What the specification of an MPI task says besides what that of any other may.
ENTRIES = (*_COUNTS, "launcher_options")


class Ranks(NamedTuple):
    """The shape of an MPI task.

    Attributes:
        nodes: on how many nodes it runs.
        per_node: ranks on each of them.
        options: further options of the launcher, as text for the shell.
    """

    nodes: int
    per_node: int
    options: str = ""

    @property
    def total(self) -> int:
        """Ranks on all nodes together."""
        return self.nodes * self.per_node


def read_specification(specification: Mapping[str, Any] | None) -> Ranks:
    """Read what the resource specification of an MPI task says of nodes and ranks; other entries are passed over.

    Args:
        specification: at least two of `num_nodes`, `ranks_per_node` and `num_ranks`, which imply the third; also
            `launcher_options`.

    Raises:
        MissingResourceSpecification: when it says nothing of them, or there is none.
        InvalidResourceSpecification: when it says too little, or what makes no sense.
    """
    specification = specification or {}
    counts = {name: _count(name, specification[name]) for name in _COUNTS if specification.get(name) is not None}
    if not counts:
        raise MissingResourceSpecification(
            set(_COUNTS), "An MPI task needs parsl_resource_specification with two of them, or all three."
        )
    if len(counts) < 2:
        raise InvalidResourceSpecification(set(_COUNTS) - set(counts), "At least two of the three must be given.")
    options = specification.get("launcher_options") or ""
    if not isinstance(options, str):
        raise InvalidResourceSpecification({"launcher_options"}, f"It must be a string, but is {options!r}.")
    return _consistent(counts, options)


def too_large(ranks: Ranks, have: str) -> InvalidResourceSpecification:
    """Make the error of a task that needs more nodes than its block has; `have` says in words which those are."""
    return InvalidResourceSpecification(
        {"num_nodes"},
        f"The task needs {ranks.nodes} nodes, more than the block has ({have}). A task does not go beyond one block: "
        "ask for fewer nodes, or set the provider's nodes_per_block to as many.",
    )


def _count(name: str, value: Any) -> int:
    # A truth value is an int too, and says nothing about how many.
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidResourceSpecification({name}, f"It must be a whole number of at least 1, but is {value!r}.")
    return int(value)


def _consistent(counts: dict[str, int], options: str) -> Ranks:
    nodes, per_node, total = (counts.get(name) for name in _COUNTS)
    # Where two are given, the third is what they come to; a quotient with a rest shows when multiplied back.
    nodes = nodes or max(1, (total or 0) // (per_node or 1))
    per_node = per_node or max(1, (total or 0) // nodes)
    if total is not None and nodes * per_node != total:
        given = ", ".join(f"{name}={value}" for name, value in counts.items())
        raise InvalidResourceSpecification(
            set(counts), f"num_ranks must be num_nodes times ranks_per_node, which {given} is not."
        )
    return Ranks(nodes, per_node, options)


def compose_environment(launcher: str, ranks: Ranks, nodes: Sequence[str], open_mpi: bool = False) -> dict[str, str]:
    """Return the variables that tell an MPI task its nodes and how to start its ranks there.

    Args:
        launcher: whose command `PARSL_MPI_PREFIX` is; one of `LAUNCHERS`.
        ranks: what the task asked for.
        nodes: the names of its nodes, as many as it asked for.
        open_mpi: whether mpiexec is Open MPI's, whose options are not those of the others.
    """
    mpiexec = _open_mpi_mpiexec if open_mpi else _hydra_mpiexec
    commands = {"aprun": _aprun(ranks, nodes), "mpiexec": mpiexec(ranks, nodes), "srun": _srun(ranks, nodes)}
    prefixes = {name: f"{command} {ranks.options}".rstrip() for name, command in commands.items()}
    return {
        "PARSL_NUM_NODES": str(ranks.nodes),
        "PARSL_NUM_RANKS": str(ranks.total),
        "PARSL_RANKS_PER_NODE": str(ranks.per_node),
        "PARSL_MPI_NODELIST": ",".join(nodes),
        "PARSL_MPI_PREFIX": prefixes[launcher],
        **{f"PARSL_{name.upper()}_PREFIX": prefix for name, prefix in prefixes.items()},
    }


def _hydra_mpiexec(ranks: Ranks, nodes: Sequence[str]) -> str:
    """Write for MPICH and its kin: Intel MPI, MVAPICH, Cray's PALS."""
    return f"mpiexec -n {ranks.total} -ppn {ranks.per_node} -hosts {','.join(nodes)}"


def _open_mpi_mpiexec(ranks: Ranks, nodes: Sequence[str]) -> str:
    hosts = ",".join(f"{node}:{ranks.per_node}" for node in nodes)
    return f"mpiexec -n {ranks.total} --host {hosts}"


def _srun(ranks: Ranks, nodes: Sequence[str]) -> str:
    return (
        f"srun --ntasks {ranks.total} --ntasks-per-node {ranks.per_node} --nodes {ranks.nodes} "
        f"--nodelist {','.join(nodes)}"
    )


def _aprun(ranks: Ranks, nodes: Sequence[str]) -> str:
    # It takes numbers: node nid00012 is 12.
    numbers = [re.sub(r"^nid0*(\d+)$", r"\1", node) for node in nodes]
    return f"aprun -n {ranks.total} -N {ranks.per_node} -L {','.join(numbers)}"
