"""The ranges of an executor's options."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl.executors.high_throughput.executor import HighThroughputExecutor

_AFFINITIES = r"none|block|block-reverse|alternating|list:[0-9]+([,:-][0-9]+)*"


def check_values(executor: HighThroughputExecutor) -> None:
    """Refuse values that cannot be meant.

    Raises:
        ValueError: when one is out of its range; the text names it.
    """
    memory = executor.mem_per_worker
    problems = {
        "cores_per_worker": executor.cores_per_worker <= 0 and "must be more than 0",
        "mem_per_worker": memory is not None and memory <= 0 and "must be more than 0",
        "max_workers_per_node": executor.max_workers_per_node < 1 and "must be at least 1",
        "prefetch_capacity": executor.prefetch_capacity < 0 and "must be at least 0",
        "heartbeat_period": executor.heartbeat_period <= 0 and "must be more than 0",
        "heartbeat_threshold": executor.heartbeat_threshold <= executor.heartbeat_period
        and f"must be more than heartbeat_period ({executor.heartbeat_period})",
        "drain_period": executor.drain_period is not None and executor.drain_period <= 0 and "must be more than 0",
        "worker_port_range": executor.worker_port_range is not None
        and not _is_port_range(executor.worker_port_range)
        and "must be two ports, the second larger",
        "worker_port": executor.worker_port is not None
        and not 0 < executor.worker_port < 65536
        and "must be a port, 1 to 65535",
        "cpu_affinity": not re.fullmatch(_AFFINITIES, executor.cpu_affinity)
        and "must be 'none', 'block', 'block-reverse', 'alternating' or of the form 'list:0,1:2-3'",
    }
    for name, problem in problems.items():
        if problem:
            msg = f"HighThroughputExecutor: parameter '{name}' {problem}, but got {getattr(executor, name)!r}"
            raise ValueError(msg)
    if executor.worker_ports is not None:
        warnings.warn(
            "worker_ports is deprecated: managers use one port, worker_port", DeprecationWarning, stacklevel=4
        )


def _is_port_range(ports: tuple[int, int]) -> bool:
    return 0 < ports[0] < ports[1] <= 65536
