"""What a manager puts into the environment of its workers, and what it says of the packages that it has."""

from __future__ import annotations

import logging
from argparse import Namespace

import msgspec

from parsl.executors.high_throughput import affinity
from parsl.version import VERSION

logger = logging.getLogger(__name__)


class WorkerEnvironment:
    """Makes the environment of each worker of a node: who it is, and where it runs.

    Args:
        options: the manager's command line.
        logdir: folder of the manager's logs.
        workers: how many workers the node has.
    """

    def __init__(self, options: Namespace, logdir: str, workers: int) -> None:
        self._options = options
        self._logdir = logdir
        self._workers = workers
        self._accelerators: list[str] = options.available_accelerators
        self._cores = affinity.pinning(options.cpu_affinity, workers, affinity.usable_cores())

    def __call__(self, slot: int) -> dict[str, str]:
        """Return the variables for the worker of a slot."""
        cores = self._cores[slot]
        environment = {
            **self.marks(slot),
            "PARSL_WORKER_COUNT": str(self._workers),
            "PARSL_WORKER_BLOCK_ID": self._options.block_id,
            "PARSL_WORKER_LOGDIR": self._logdir,
            "PARSL_WORKER_DEBUG": str(int(self._options.debug)),
            **affinity.pinned_environment(cores),
        }
        if cores:
            environment["PARSL_WORKER_CORES"] = ",".join(map(str, cores))
        if self._accelerators:
            environment.update(affinity.accelerator_environment(self._accelerators[slot]))
            environment["PARSL_WORKER_ACCELERATOR"] = self._accelerators[slot]
        return environment

    def marks(self, slot: int) -> dict[str, str]:
        """Return the variables by which what a worker has started is told from all else."""
        return {"PARSL_WORKER_RANK": str(slot), "PARSL_WORKER_POOL_ID": str(self._options.uid)}


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages on which what is sent between the hosts depends."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"parsl": VERSION, "msgspec": msgspec.__version__}
    for name in ("cloudpickle", "dill"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            logger.debug("%s is not installed here", name)
    return found
