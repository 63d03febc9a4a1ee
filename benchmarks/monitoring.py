"""What monitoring costs: `python benchmarks/monitoring.py [throughput] [events] [disk]`; all three without arguments.

throughput: tasks that do nothing, on worker processes, without and with monitoring in turn, each in a fresh process.
events:     how fast changes of tasks' states get into the database, and that none is lost.
disk:       bytes of the database for 1,000,000 tasks, and how soon its first page of queries is answered.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.states import States
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.monitoring import MonitoringHub
from parsl.monitoring.queries import runs
from parsl.monitoring.records import ENDED, SUBMITTED, Batch, Record, Usage, encode_usage

TASKS = 60_000
ROUNDS = 8
EVENT_TASKS = 100_000
DISK_TASKS = 1_000_000


def nothing() -> None:
    """Do nothing."""


def one_run(monitored: bool) -> dict[str, float]:
    """Run tasks that do nothing, without or with default monitoring.

    Returns:
        `rate`: tasks per second; `end`: the seconds that the end of the run took.
    """
    with tempfile.TemporaryDirectory() as folder:
        kernel = DataFlowKernel(
            Config(
                executors=[HighThroughputExecutor()],
                run_dir=folder,
                monitoring=MonitoringHub() if monitored else None,
                strategy="none",
            )
        )
        app = python_app(nothing, data_flow_kernel=kernel)
        for future in [app() for _ in range(1000)]:  # until all workers are there
            future.result()
        began = time.perf_counter()
        for future in [app() for _ in range(TASKS)]:
            future.result()
        rate = TASKS / (time.perf_counter() - began)
        began = time.perf_counter()
        kernel.cleanup()
        end = time.perf_counter() - began
        if monitored:
            count = sqlite3.connect(f"{folder}/monitoring.db").execute("SELECT count(*) FROM task").fetchone()[0]
            assert count == TASKS + 1000, count
    return {"rate": rate, "end": end}


def run_apart(monitored: bool) -> dict[str, float]:
    """Do the same in a fresh process, so that no run inherits the memory of another."""
    given = [sys.executable, __file__, "with" if monitored else "without"]
    done = subprocess.run(given, stdout=subprocess.PIPE, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def throughput() -> None:
    """Compare runs without and with monitoring, in turn and in both orders, so that both see the same machine."""
    without, having = [], []
    for number in range(ROUNDS):
        for monitored in (False, True) if number % 2 else (True, False):
            (having if monitored else without).append(run_apart(monitored))
    for name, found in (("without monitoring:", without), ("with monitoring:   ", having)):
        rates = " ".join(f"{run['rate']:,.0f}" for run in found)
        print(f"tasks per second {name} {rates}")
    medians = [statistics.median(run["rate"] for run in found) for found in (without, having)]
    shares = [1 - b["rate"] / a["rate"] for a, b in zip(without, having, strict=True)]
    print(f"slower by: {1 - medians[1] / medians[0]:.1%} (medians), {statistics.median(shares):.1%} (median of pairs)")
    end = statistics.median(run["end"] for run in having)
    print(f"end of a monitored run of {TASKS:,} tasks: median {end:.2f} s")


def records_of(task: int, at: float, usage: bytes) -> list[Record]:
    """Make the records of a task that runs through, as the kernel makes them for one that takes a while."""
    return [
        (SUBMITTED, task, at, "simulate", "htex", at + 0.001, None),
        (ENDED, task, 0, at + 0.2, int(States.exec_done), 0, 0.0, None, "simulate", 0.199, usage),
    ]


def write_run(folder: str, tasks: int) -> float:
    """Put a run of so many tasks into the database of a folder; return the seconds until all is in it."""
    hub = MonitoringHub()
    hub.run_id = str(uuid.uuid4())
    run_dir = os.path.join(folder, hub.run_id)
    os.makedirs(run_dir)
    hub.start(run_dir, folder)
    began = time.perf_counter()
    now = time.time()
    for first in range(0, tasks, 1000):
        records: list[Record] = []
        for task in range(first, min(first + 1000, tasks)):
            at = now + task / 1000
            usage = encode_usage(Usage(at + 0.19, at + 0.01, at + 0.19, "0", "node-17", 4711, 0.17, 0.01, 90 << 20))
            records += records_of(task, at, usage)
        hub.send_records(Batch(records))
    hub.close()
    return time.perf_counter() - began


def events() -> None:
    """Measure how fast changes of state get into the database."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = write_run(folder, EVENT_TASKS)
        count = sqlite3.connect(f"{folder}/monitoring.db").execute("SELECT count(*) FROM status").fetchone()[0]
        assert count == 5 * EVENT_TASKS, count
        print(f"{count:,} events of {EVENT_TASKS:,} tasks were in the database after {seconds:.2f} s, none lost:")
        print(f"{count / seconds:,.0f} events per second")


def disk() -> None:
    """Measure the size of a large run, and how soon its first page could be there."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = write_run(folder, DISK_TASKS)
        size = os.path.getsize(f"{folder}/monitoring.db")
        print(f"{DISK_TASKS:,} tasks take {size / 1e6:,.0f} MB, written in {seconds:.1f} s")
        began = time.perf_counter()
        with runs.RunQueries(f"sqlite:///{folder}/monitoring.db") as queries:
            run = queries.runs()[0]
            queries.state_counts(run.run)
            queries.apps(run.run)
            queries.tasks(run.run, limit=50)
            queries.failures(run.run)
        print(
            f"first page of that run (summary, states, apps, 50 tasks, failures): {time.perf_counter() - began:.2f} s"
        )


if __name__ == "__main__":
    if sys.argv[1:] in (["with"], ["without"]):
        print(json.dumps(one_run(monitored=sys.argv[1] == "with")))
    else:
        for name in sys.argv[1:] or ["throughput", "events", "disk"]:
            {"throughput": throughput, "events": events, "disk": disk}[name]()
