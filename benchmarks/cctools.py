"""No-op calls through an executor on somebody else's engine, beside the engine's own client.

    python benchmarks/cctools.py workqueue [CALLS] [LINKS]

For each engine there is a function here. It gives two ways to make a call, ours and the engine's own for a Python
function, each with one worker of two cores; calls a second of a burst and milliseconds a link of a chain are printed.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor
from parsl.providers import LocalProvider

# Makes so many calls at once and waits for all; makes so many calls one after another.
Way = tuple[Callable[[int], object], Callable[[int], object]]

# What a worker is asked for, so that it runs two calls at once.
ONE_CORE = {"cores": 1, "memory": 100, "disk": 100}
WORKER = ["--cores", "2", "--memory", "1000", "--disk", "1000"]


def noop(after: Any = None) -> None:
    """Do nothing."""


@contextlib.contextmanager
def ours(executor: ParslExecutor, specification: dict[str, Any]) -> Iterator[Way]:
    """Give our way: an app on an executor."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = DataFlowKernel(Config(executors=[executor], run_dir=folder, strategy="none"))
        app = python_app(noop, data_flow_kernel=kernel)

        def burst(calls: int) -> None:
            for future in [app(parsl_resource_specification=specification) for _ in range(calls)]:
                future.result()

        def chain(links: int) -> None:
            future = None
            for _ in range(links):
                future = app(future, parsl_resource_specification=specification)
            if future is not None:
                future.result()

        try:
            yield burst, chain
        finally:
            kernel.cleanup()


@contextlib.contextmanager
def worker(*command: str) -> Iterator[None]:
    """Have a worker process meanwhile."""
    import subprocess

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def bare_workqueue() -> Iterator[Way]:
    """Give Work Queue's own way: its PythonTask."""
    try:
        from ndcctools import work_queue
    except ImportError:
        import work_queue

    queue = work_queue.WorkQueue(0)

    def submit() -> None:
        task = work_queue.PythonTask(noop)
        for name, amount in ONE_CORE.items():
            getattr(task, f"specify_{name}")(amount)
        queue.submit(task)

    def burst(calls: int) -> None:
        for _ in range(calls):
            submit()
        ended = 0
        while ended < calls:
            ended += queue.wait(5) is not None

    with worker("work_queue_worker", *WORKER, "127.0.0.1", str(queue.port)):
        yield burst, lambda links: [burst(1) for _ in range(links)]


@contextlib.contextmanager
def bare_taskvine() -> Iterator[Way]:
    """Give TaskVine's own way: its PythonTask."""
    from ndcctools import taskvine

    with tempfile.TemporaryDirectory() as folder:
        manager = taskvine.Manager(port=0, run_info_path=folder)

        def submit() -> None:
            task = taskvine.PythonTask(noop)
            for name, amount in ONE_CORE.items():
                getattr(task, f"set_{name}")(amount)
            manager.submit(task)

        def burst(calls: int) -> None:
            for _ in range(calls):
                submit()
            ended = 0
            while ended < calls:
                ended += manager.wait(5) is not None

        with worker("vine_worker", *WORKER, "127.0.0.1", str(manager.port)):
            yield burst, lambda links: [burst(1) for _ in range(links)]


def workqueue() -> dict[str, contextlib.AbstractContextManager[Way]]:
    """Compare WorkQueueExecutor with Work Queue."""
    from parsl.executors import WorkQueueExecutor

    executor = WorkQueueExecutor(provider=LocalProvider(), worker_options=" ".join(WORKER), full_debug=False)
    return {"WorkQueueExecutor": ours(executor, ONE_CORE), "work_queue.PythonTask": bare_workqueue()}


def taskvine() -> dict[str, contextlib.AbstractContextManager[Way]]:
    """Compare TaskVineExecutor, in both modes, with TaskVine."""
    from parsl.executors import TaskVineExecutor, TaskVineFactoryConfig, TaskVineManagerConfig

    def executor(mode: Any) -> TaskVineExecutor:
        return TaskVineExecutor(
            function_exec_mode=mode,
            manager_config=TaskVineManagerConfig(port=0),
            factory_config=TaskVineFactoryConfig(cores=2, memory=1000, disk=1000),
        )

    return {
        "TaskVineExecutor": ours(executor("regular"), ONE_CORE),
        "TaskVineExecutor, serverless": ours(executor("serverless"), {}),
        "taskvine.PythonTask": bare_taskvine(),
    }


def main() -> None:
    """Measure the engine that is named."""
    name = sys.argv[1]
    calls, links = (int(n) for n in [*sys.argv[2:], "100", "10"][:2])
    for label, context in {"workqueue": workqueue, "taskvine": taskvine}[name]().items():
        with context as (burst, chain):
            # The first calls wait for the worker, and for what it loads once.
            chain(5)
            began = time.perf_counter()
            burst(calls)
            middle = time.perf_counter()
            chain(links)
            end = time.perf_counter()
        print(f"{label:32} {calls / (middle - began):8.1f} calls/s {1000 * (end - middle) / links:8.1f} ms a link")


if __name__ == "__main__":
    main()
