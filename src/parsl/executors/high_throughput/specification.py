"""What the resource specification of a call may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.high_throughput.lease import usable
from parsl.executors.high_throughput.mpi_prefix_composer import ENTRIES, read_specification


def check_specification(
    specification: Mapping[str, Any], label: str, *, with_ranks: bool, block_seconds: float | None
) -> None:
    """Refuse a specification that cannot be meant, or that no block can fulfil.

    Args:
        specification: what the call says.
        label: the executor's label, for the texts of errors.
        with_ranks: whether it says, and has to say, how many nodes and ranks the call needs.
        block_seconds: how long a block lasts; None where that is not known.

    Raises:
        InvalidResourceSpecification: the text says what is wrong with which entries.
    """
    known = {"priority", "walltime", *(ENTRIES if with_ranks else ())}
    unknown = set(specification) - known
    if unknown:
        names = ", ".join(repr(name) for name in sorted(known))
        raise InvalidResourceSpecification(unknown, f"Executor {label} knows only {names}.")
    if with_ranks:
        read_specification(specification)
    priority = specification.get("priority", 0)
    if not isinstance(priority, (int, float)) or math.isnan(priority):
        raise InvalidResourceSpecification({"priority"}, "It must be a number; tasks with a lower one run first.")
    seconds = specification.get("walltime", 0)
    if not isinstance(seconds, (int, float)) or math.isnan(seconds):
        raise InvalidResourceSpecification({"walltime"}, "It must be a number of seconds.")
    if block_seconds is not None and seconds > usable(block_seconds):
        raise InvalidResourceSpecification(
            {"walltime"},
            f"The task declares {seconds:g} s, and blocks of executor {label} last {block_seconds} s, of which "
            f"{usable(block_seconds):g} s can be used: give its provider a longer walltime.",
        )
