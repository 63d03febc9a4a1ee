"""Tasks that threads and worker processes may run go to whichever has room."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from parsl import Config, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.placement import Room
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.providers import LocalProvider

PATIENCE = 60.0


def pid() -> int:
    return os.getpid()


def test_workers_get_what_busy_threads_cannot_begin_and_threads_what_busy_workers_cannot(tmp_path: Path) -> None:
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    nodes = HighThroughputExecutor(label="nodes", max_workers_per_node=1, cores_per_worker=0.1, provider=provider)
    threads = ThreadPoolExecutor(label="threads", max_threads=1)
    held, go = threading.Event(), threading.Event()
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def hold_thread() -> None:
        held.set()
        assert go.wait(PATIENCE)

    def hold_worker(path: str) -> str:
        with open(path) as pipe:
            return pipe.read()

    config = Config(executors=[threads, nodes], run_dir=str(tmp_path / "runs"))
    with DataFlowKernel(config) as kernel:
        where = python_app(pid, data_flow_kernel=kernel)
        assert where(parsl_executors=["nodes"]).result(timeout=PATIENCE) != os.getpid()
        assert nodes.room() == Room(0, 1, 1)
        thread = python_app(hold_thread, data_flow_kernel=kernel, executors=["threads"])()
        assert held.wait(PATIENCE)
        elsewhere = [where().result(timeout=PATIENCE) for _ in range(5)]
        assert os.getpid() not in elsewhere
        worker = python_app(hold_worker, data_flow_kernel=kernel, executors=["nodes"])(fifo)
        with open(fifo, "w") as pipe:  # opens when the worker has opened it
            go.set()
            thread.result(timeout=PATIENCE)
            assert {where().result(timeout=PATIENCE) for _ in range(5)} == {os.getpid()}
            pipe.write("go")
        assert worker.result(timeout=PATIENCE) == "go"
