"""Cores and accelerators of a node's workers."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Sequence


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use (its cpuset, where the system has such a thing)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def worker_count(
    max_workers: float,
    cores: float,
    cores_per_worker: float,
    memory_gb: float | None,
    mem_per_worker: float | None,
    accelerators: int,
) -> int:
    """Return how many workers a node gets: the least of what its limits allow, and at least one.

    Args:
        max_workers: the configured bound; infinity for none.
        cores: cores of the node, and `cores_per_worker` of a worker (may be a fraction).
        cores_per_worker: see `cores`.
        memory_gb: gigabytes of memory free to use, needed only with `mem_per_worker`.
        mem_per_worker: gigabytes that a worker needs; None for no such limit.
        accelerators: how many accelerators there are; 0 for none to be handed out.
    """
    limits = [max_workers, _parts(cores, cores_per_worker)]
    if mem_per_worker and memory_gb is not None:
        limits.append(_parts(memory_gb, mem_per_worker))
    if accelerators:
        limits.append(accelerators)
    return max(1, int(min(limits)))


def workers_of_node(options: Namespace, most: float = math.inf) -> int:
    """Return how many workers this node gets.

    What the batch system grants to the job, in PARSL_CORES and PARSL_MEMORY_GB, goes before what the node has.

    Args:
        options: the manager's command line.
        most: a bound besides those of the options.
    """
    memory = None
    if options.mem_per_worker:
        import psutil

        memory = float(os.environ.get("PARSL_MEMORY_GB") or psutil.virtual_memory().available / 2**30)
    cores = float(os.environ.get("PARSL_CORES") or len(usable_cores()))
    return worker_count(
        min(options.max_workers_per_node, most),
        cores,
        options.cores_per_worker,
        memory,
        options.mem_per_worker,
        len(options.available_accelerators),
    )


def _parts(whole: float, part: float) -> int:
    """Return how often `part` goes into `whole`: 200 for 7 / 0.035, although the floats' quotient is a bit less."""
    return math.floor(whole / part + 1e-9)


def pinning(strategy: str, workers: int, cores: Sequence[int]) -> list[list[int]]:
    """Return the cores of each worker.

    Args:
        strategy: 'none' (no pinning: empty lists); 'block' (neighbouring cores together), 'block-reverse' (the same
            from the last core down), 'alternating' (dealt like cards); or 'list:0,1:2,3' with the cores of each
            worker between colons, where 'a-b' is a range.
        workers: how many workers.
        cores: the cores there are.

    Raises:
        ValueError: when the strategy is unknown, or names fewer workers or other cores than there are.
    """
    if strategy == "none":
        return [[] for _ in range(workers)]
    if strategy.startswith("list:"):
        return _listed(strategy, workers, cores)
    if strategy not in ("block", "block-reverse", "alternating"):
        msg = (
            f"cpu_affinity {strategy!r} is unknown: use 'none', 'block', 'block-reverse', 'alternating' "
            "or 'list:<cores of worker 0>:<cores of worker 1>:...'"
        )
        raise ValueError(msg)
    if not cores:
        msg = "cpu_affinity needs cores that can be told apart, and this system names none"
        raise ValueError(msg)
    if strategy == "alternating":
        return [list(cores[rank::workers]) or [cores[rank % len(cores)]] for rank in range(workers)]
    ordered = list(reversed(cores)) if strategy == "block-reverse" else list(cores)
    each = max(1, len(ordered) // workers)
    return [sorted(ordered[(rank * each + i) % len(ordered)] for i in range(each)) for rank in range(workers)]


def _listed(strategy: str, workers: int, cores: Sequence[int]) -> list[list[int]]:
    try:
        groups = [
            [core for part in group.split(",") for core in _range(part)]
            for group in strategy[len("list:") :].split(":")
        ]
    except ValueError:
        msg = f"cpu_affinity {strategy!r} is not of the form 'list:0,1:2-3'"
        raise ValueError(msg) from None
    if len(groups) < workers:
        msg = f"cpu_affinity {strategy!r} names the cores of {len(groups)} workers, but there are {workers}"
        raise ValueError(msg)
    missing = sorted({core for group in groups[:workers] for core in group} - set(cores))
    if missing:
        msg = (
            f"cpu_affinity {strategy!r} names cores {missing}, which this process may not use; it may use {list(cores)}"
        )
        raise ValueError(msg)
    return groups[:workers]


def _range(part: str) -> list[int]:
    first, dash, last = part.partition("-")
    cores = list(range(int(first), int(last) + 1)) if dash else [int(first)]
    if not cores:
        msg = f"{part!r} is a range of no cores"
        raise ValueError(msg)
    return cores


def pinned_environment(cores: Sequence[int]) -> dict[str, str]:
    """Return the environment that keeps thread libraries to a worker's cores."""
    if not cores:
        return {}
    listed = ",".join(map(str, cores))
    return {
        "OMP_NUM_THREADS": str(len(cores)),
        "GOMP_CPU_AFFINITY": listed,
        "KMP_AFFINITY": f"explicit,proclist=[{listed}]",
    }


def accelerator_environment(accelerator: str) -> dict[str, str]:
    """Return the environment that shows a worker only its own accelerator."""
    return {
        "CUDA_VISIBLE_DEVICES": accelerator,
        "ROCR_VISIBLE_DEVICES": accelerator,
        "ZE_AFFINITY_MASK": accelerator,
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
    }
