"""How soon the live page answers: `python benchmarks/monitoring_page.py [TASKS]`, 1,000,000 unless told otherwise.

Makes a run of so many tasks in an SQLite database: three apps, one of them depending on the others, 64 workers on 8
nodes, some failures, samples of resources. Serves it as `parsl-visualize` does, and asks for each page and each plot
twice: the first time the database is asked, the second time the answer is known.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from parsl.dataflow.states import States
from parsl.monitoring import schema, totals_tables
from parsl.monitoring.schema import columns
from parsl.monitoring.store import Store
from parsl.monitoring.upserts import Upserts

TASKS = 1_000_000
WORKERS = 64
NODES = 8
APPS = ("prepare", "simulate", "collect")
FAILED_OF = 400  # one task of so many
SAMPLED_OF = 4

# What the first page of a run may take.
MOST_SECONDS = 1.0

Row = tuple[Any, ...]


def app_of(task: int) -> str:
    """Return the app of a task: one in sixteen collects what the fifteen before it have made."""
    return APPS[2] if task % 16 == 15 else APPS[task % 2]


def state_of(task: int) -> States:
    """Return the state in which a task has ended."""
    return States.failed if task % FAILED_OF == 7 else States.exec_done


def rows_of(tasks: int, began: float) -> Iterator[tuple[str, Iterator[Row]]]:
    """Yield each table with its rows."""
    chance = random.Random(1)  # noqa: S311 - the same run each time
    starts = [began + 1.0 + task * 0.01 for task in range(tasks)]
    took = [chance.lognormvariate(-1.0, 1.0) for _ in range(tasks)]
    collecting = range(15, tasks, 16)
    failing = [task for task in range(tasks) if state_of(task) is States.failed]

    yield (
        "parsl_task",
        ((1, n, int(state_of(n)), 0, app_of(n), "htex", starts[n] - 1.0, starts[n] + took[n]) for n in range(tasks)),
    )
    yield "parsl_try", (
        (
            1, n, 0, int(state_of(n)), "htex", starts[n] - 0.5, starts[n], starts[n] + took[n],
            starts[n] + took[n], 1 + n % WORKERS, None if n % SAMPLED_OF == 0 else took[n] * 0.9,
        )
        for n in range(tasks)
    )  # fmt: skip
    yield "parsl_more", ((1, n, 0, 0, ",".join(str(p) for p in range(n - 15, n)), *[None] * 9) for n in collecting)
    yield "parsl_resource", (
        (
            1, n, 0, starts[n] + took[n], 1 + n % WORKERS, took[n] * 0.8, took[n] * 0.1, 90 << 20, 400 << 20, 1.0,
            0, 1000, 1000, 1, 1, 0, "running", None, None,
        )
        for n in range(0, tasks, SAMPLED_OF)
    )  # fmt: skip
    yield "parsl_failure", ((1, n, 0, "ValueError", f"cell {n} did not converge", "Traceback ...") for n in failing)
    yield (
        "parsl_worker",
        (
            (1, n, str(n % NODES), f"node-{n % NODES}", 4000 + n, 90 << 20, 400 << 20, 1.0)
            for n in range(1, WORKERS + 1)
        ),
    )
    tally: dict[tuple[str, int], list[float]] = {}
    for n in range(tasks):
        for state in (-1, int(state_of(n))):
            row = tally.setdefault((app_of(n), state), [0, 0.0, 0.0])
            row[0] += 1
            row[1] += took[n]
            row[2] = max(row[2], took[n])
    yield "parsl_tally", ((1, *key, *row) for key, row in tally.items())
    yield "parsl_run", iter(
        [
            (
                1, "benchmark", "benchmark", "1", began, starts[-1] + 10, "host", "user", "/nowhere",
                len(failing), tasks - len(failing), 30.0, "3", "1",
            )
        ]
    )  # fmt: skip
    yield "parsl_journal", iter([("benchmark", 1, 0)])


def make_database(path: str, tasks: int) -> None:
    """Make the database."""
    store = Store(f"sqlite:///{path}")
    store.prepare()
    store.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table, rows in rows_of(tasks, time.time() - tasks * 0.01 - 60):
            marks = ", ".join("?" * len(columns(table)))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names
    connection.close()
    store = Store(f"sqlite:///{path}")
    with store.engine.begin() as again:
        totals_tables.refill(again, Upserts(schema.metadata()), 1)
    store.close()


def seconds_of(url: str) -> float:
    """Return how long an answer takes, to its last byte."""
    began = time.perf_counter()
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
        answer.read()
    return time.perf_counter() - began


def main() -> None:
    """Make the database, serve it, and print how long each page takes."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "monitoring.db")
        began = time.perf_counter()
        make_database(path, tasks)
        size = os.path.getsize(path) / 1e6
        print(f"{tasks:,} tasks, {size:,.0f} MB, made in {time.perf_counter() - began:.1f} s")
        command = [sys.executable, "-m", "parsl.monitoring.visualization.app", path, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                base = next(word for word in server.stdout.readline().split() if word.startswith("http")).rstrip("/")
                first = measure(base, tasks)
            finally:
                server.terminate()
    verdict = "as it has to be" if first < MOST_SECONDS else "TOO LONG"
    print(f"first page of the run: {first:.2f} s, less than {MOST_SECONDS:g} s: {verdict}")
    sys.exit(0 if first < MOST_SECONDS else 1)


def measure(base: str, tasks: int) -> float:
    """Print how long each page takes; return it for the first page of the run, asked for first."""
    run = "/runs/benchmark"
    pages = [
        run, "/", f"{run}/tasks", f"{run}/tasks?after={tasks // 2}", f"{run}/tasks?order=newest",
        f"{run}/tasks?state=failed&after={tasks // 2}", f"{run}/tasks?state=pending",
        f"{run}/tasks?app=collect&state=exec_done&after={tasks // 2}", f"{run}/tasks?app=none",
        f"{run}/tasks/{tasks // 2}", f"{run}/failures",
        f"{run}/timeline", f"{run}/graph", f"{run}/nodes", f"{run}/resources",
        *(f"{run}/figures/{name}" for name in ("states", "gantt", "busy", "graph", "durations", "cpu", "memory")),
    ]  # fmt: skip
    first = 0.0
    print(f"{'page or plot':<66}{'first':>9}{'again':>9}")
    for page in pages:
        seconds = seconds_of(base + page)
        first = first or seconds
        print(f"{page:<66}{seconds:>7.2f} s{seconds_of(base + page):>7.3f} s", flush=True)
    return first


if __name__ == "__main__":
    main()
