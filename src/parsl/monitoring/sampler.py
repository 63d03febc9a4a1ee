"""Figures of whole process trees, for all workers of a node in one look at its processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from parsl.monitoring.records import Usage

if TYPE_CHECKING:
    import psutil

logger = logging.getLogger(__name__)


def process_trees(roots: Iterable[int]) -> dict[int, list[psutil.Process]]:
    """Return each root's process with all its descendants, by the root's id; a root that is gone has no entry."""
    import psutil

    processes: dict[int, psutil.Process] = {}
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter():
        try:
            children.setdefault(process.ppid(), []).append(process.pid)
        except psutil.Error:
            continue  # it has ended
        processes[process.pid] = process
    trees = {}
    for root in roots:
        if root in processes:
            found = [root]
            for pid in found:  # grows while it is walked
                found.extend(children.get(pid, ()))
            trees[root] = [processes[pid] for pid in found]
    return trees


class Sampler:
    """Samples tries by the trees of their workers.

    Args:
        block: number of the block, and `hostname` the node, which go into each sample.
    """

    def __init__(self, block: str | None, hostname: str) -> None:
        self._block = block
        self._hostname = hostname
        self._gpus = Gpus()

    def sample(self, baselines: dict[int, tuple[float, float, float]]) -> dict[int, Usage]:
        """Look at all workers at once.

        Args:
            baselines: for each worker's process, when its try began and the worker's CPU times (user, system) then.

        Returns:
            What each try has used so far, by the worker's process; without those that have ended.
        """
        import psutil

        usages = {}
        gpus = self._gpus.by_process()
        for pid, tree in process_trees(baselines).items():
            try:
                usages[pid] = self._of_tree(tree, baselines[pid], gpus)
            except psutil.Error as e:
                logger.debug("worker process %d is not sampled: %s", pid, e)
        return usages

    def _of_tree(
        self, tree: list[psutil.Process], baseline: tuple[float, float, float], gpus: dict[int, tuple[float, int]]
    ) -> Usage:
        import psutil

        started, user, system = baseline
        sums = dict.fromkeys(("read", "written", "voluntary", "involuntary", "resident", "virtual"), 0)
        user, system, percent = -user, -system, 0.0
        for at, process in enumerate(tree):
            try:
                with process.oneshot():
                    times, memory, switches = process.cpu_times(), process.memory_info(), process.num_ctx_switches()
                    percent += process.memory_percent()
                    io: Any = process.io_counters() if hasattr(process, "io_counters") else None
            except psutil.Error:
                if at == 0:
                    raise
                continue  # a child that has ended meanwhile is in the times of its parent
            # Those of children that have ended are in the books of whoever waited for them.
            user += times.user + times.children_user
            system += times.system + times.children_system
            sums["resident"] += memory.rss
            sums["virtual"] += memory.vms
            sums["voluntary"] += switches.voluntary
            sums["involuntary"] += switches.involuntary
            if io is not None:
                sums["read"] += io.read_bytes
                sums["written"] += io.write_bytes
        worker = tree[0]
        of_gpus = [gpus[p.pid] for p in tree if p.pid in gpus]
        return Usage(
            at=time.time(),
            started=started or None,
            block=self._block,
            hostname=self._hostname,
            pid=worker.pid,
            user=max(0.0, user),
            system=max(0.0, system),
            memory_percent=percent,
            children=len(tree) - 1,
            cpu=worker.cpu_num() if hasattr(worker, "cpu_num") else None,
            status=worker.status(),
            gpu_percent=sum(share for share, _ in of_gpus) if of_gpus else None,
            gpu_memory=sum(memory for _, memory in of_gpus) if of_gpus else None,
            **sums,
        )


class Gpus:
    """NVIDIA's GPUs of this node, where nvidia-ml-py is installed and a driver is there."""

    def __init__(self) -> None:
        self._library: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            self._library = pynvml
        except ImportError:
            logger.debug("No figures of GPUs: nvidia-ml-py is not installed")
        except Exception as e:  # noqa: BLE001 - the library's errors are made when it is loaded
            logger.info("No figures of GPUs: %s", e)

    def by_process(self) -> dict[int, tuple[float, int]]:
        """Return for each process on a GPU how busy those GPUs are (percent) and how many bytes it has there."""
        found: dict[int, tuple[float, int]] = {}
        for handle in self._handles:
            try:
                busy = float(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)
                for process in self._library.nvmlDeviceGetComputeRunningProcesses(handle):
                    share, memory = found.get(process.pid, (0.0, 0))
                    found[process.pid] = share + busy, memory + (process.usedGpuMemory or 0)
            except self._library.NVMLError as e:
                logger.debug("a GPU tells nothing: %s", e)
        return found
