"""What the live tests of the pilot share: executors, kernels, and looks at their processes."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

# For what is to happen at once; long enough for a machine that others use as well.
SOON = 20


def provider(**options: Any) -> LocalProvider:
    """Make a provider of one block on this machine."""
    return LocalProvider(**{"init_blocks": 1, "max_blocks": 1, **options})


def htex(**options: Any) -> HighThroughputExecutor:
    """Make an executor of two workers in one block on this machine."""
    defaults: dict[str, Any] = {
        "label": "htex",
        "address": "127.0.0.1",
        "max_workers_per_node": 2,
        "cores_per_worker": 0.1,
    }
    if "provider" not in options:
        defaults["provider"] = provider()
    return HighThroughputExecutor(**{**defaults, **options})


# The default command less what tells the manager that it is on the interchange's own node.
OVER_TCP = (
    "{python} -m parsl.executors.high_throughput.process_worker_pool {debug} {max_workers_per_node} -a {addresses} "
    "-p {prefetch_capacity} -c {cores_per_worker} -m {mem_per_worker} --port={worker_port} --cert_dir {cert_dir} "
    "--logdir={logdir} --block_id={{block_id}} --hb_period={heartbeat_period} {address_probe_timeout_string} "
    "--hb_threshold={heartbeat_threshold} --drain_period={drain_period} --cpu-affinity {cpu_affinity}"
)


def kernel(tmp_path: Any, *executors: HighThroughputExecutor, **options: Any) -> DataFlowKernel:
    """Make a kernel that is not the loaded one, of one executor unless others are given."""
    settings: dict[str, Any] = {"strategy": "none", "run_dir": str(tmp_path / "runs"), **options}
    return DataFlowKernel(Config(executors=list(executors) or [htex()], **settings))


def wait_for(condition: Callable[[], Any], seconds: float = SOON) -> Any:
    """Return what `condition` returns once that is true; for what signals its change to nobody.

    Raises:
        TimeoutError: when it was not true in time.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {seconds} s: {condition}")
        threading.Event().wait(0.02)
    return value


def interchange_of(executor: HighThroughputExecutor) -> psutil.Process:
    """Return the interchange process of a started executor."""
    assert executor._client is not None
    assert executor._client.process is not None
    return psutil.Process(executor._client.process.pid)


def manager_of(executor: HighThroughputExecutor) -> psutil.Process:
    """Return the process of the executor's manager, once there is one."""
    managers = wait_for(executor.connected_managers)
    return psutil.Process(managers[0]["process_id"])


def workers_of(executor: HighThroughputExecutor) -> list[psutil.Process]:
    """Return the worker processes of the executor's manager."""
    return manager_of(executor).children()


def everything_of(executor: HighThroughputExecutor) -> list[psutil.Process]:
    """Return interchange, block script, manager and workers, and all that descends from them."""
    manager = manager_of(executor)
    scripts = [p for p in manager.parents() if p.name() == "bash" and os.getpgid(p.pid) == os.getpgid(manager.pid)]
    return [interchange_of(executor), *scripts, manager, *manager.children(recursive=True)]


def still_there(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those processes that have not ended within some seconds; a zombie has."""
    deadline = time.monotonic() + seconds
    return [p for p in processes if not _ends(p, deadline)]


def _ends(process: psutil.Process, deadline: float) -> bool:
    if not hasattr(os, "pidfd_open"):
        return not psutil.wait_procs([process], timeout=max(0.0, deadline - time.monotonic()))[1]
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not process.is_running():
            return True  # somebody else has its number by now
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(fd)


def kill(process: psutil.Process, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process."""
    os.kill(process.pid, number)


def script_environment(**more: str) -> dict[str, str]:
    """Return the environment for a script that uses the package from where this process has it."""
    import parsl

    source = os.path.dirname(os.path.dirname(os.path.abspath(parsl.__file__)))
    return {**os.environ, "PYTHONPATH": source, **more}


def quoted_python() -> str:
    """Return this interpreter as a word of a shell's command line."""
    return shlex.quote(sys.executable)


class Gate:
    """A place where tasks wait until they are let through.

    Args:
        path: a path for it, on a file system that tasks see.
    """

    def __init__(self, path: Any) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        # Both ends, so that nobody has to wait for another to open it.
        self._fd = os.open(self.path, os.O_RDWR)

    def let(self, tasks: int) -> None:
        """Let so many tasks through."""
        os.write(self._fd, bytes(tasks))

    def close(self) -> None:
        """Close the test's end."""
        os.close(self._fd)


def wait_at(path: str) -> int:
    """Wait at a gate; what tasks run."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.read(fd, 1)
    finally:
        os.close(fd)
    return os.getpid()


def running(executor: HighThroughputExecutor, tasks: int) -> bool:
    """Tell whether so many tasks are on nodes."""
    return bool(sum(m["tasks"] for m in executor.connected_managers()) == tasks)


def ready(executor: HighThroughputExecutor) -> None:
    """Wait until all processes of the executor's first block are there: they then belong to whoever started it."""
    wait_for(lambda: len(workers_of(executor)) == executor.workers_per_node)
