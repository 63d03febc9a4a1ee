"""A finished run for views of it: apps that end well and badly, one that is tried again, a block, a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parsl.dataflow.states import States
from parsl.monitoring.queries.opening import open_run
from parsl.monitoring.queries.runs import Run, RunQueries
from parsl.monitoring.records import (
    BLOCK,
    ENDED,
    FAILED,
    LAUNCHED,
    NODE,
    SUBMITTED,
    Batch,
    Record,
    Usage,
    encode_usage,
)
from tests.monitoring.databases import hub

EVIL = "<script>alert(1)</script>"


def made(folder: Path, count: int = 120, began: float = 1_700_000_000.0, **options: Any) -> Path:
    """Make a run of `count` tasks; return its folder. Of each ten the last has failed."""
    run = hub(folder, workflow_name=f"census {EVIL}", **options)
    run.send_records(Batch(list(_records(count, began))))
    run.close()
    return folder / "run-1"


def _records(count: int, began: float) -> Iterator[Record]:
    node = {"at": began, "uid": "m", "hostname": "node1", "executor": "htex", "block": "0", "cpu_count": 8,
            "total_memory": 16 * 2**30, "active": 1, "worker_count": 4, "python_version": "3.12"}  # fmt: skip
    yield NODE, node
    for status in ("PENDING", "RUNNING"):
        yield BLOCK, {"at": began, "executor": "htex", "block": "0", "job": "4711", "status": status}
    for task in range(count):
        at = began + task
        bad = task % 10 == 9
        usage = Usage(at + 3, started=at + 1, ended=at + 1 + task / 100, block="0", hostname="node1", pid=7, user=0.5)
        yield SUBMITTED, task, at, "fit" if task % 2 else "combine", "htex", None, None
        yield LAUNCHED, task, 0, at + 0.5, "htex", None
        state = States.failed if bad else States.exec_done
        app = "fit" if task % 2 else "combine"
        yield ENDED, task, 0, at + 3, int(state), int(bad), float(bad), None, app, 2.5, encode_usage(usage)
        if bad:
            yield FAILED, task, 0, "ValueError", f"ValueError('no {EVIL} for {task}')", f"Traceback of {task} {EVIL}"


def opened(folder: Path) -> tuple[RunQueries, Run]:
    """Make a run and open it."""
    return open_run(made(folder))
