"""Monitoring databases for tests: a run that writes records without a kernel, and looks at what came of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parsl.monitoring.monitoring import MonitoringHub
from parsl.monitoring.records import ENDED, SUBMITTED, Batch, Record

SOON = 30.0

VIEWS = ("workflow", "task", "try", "status", "resource", "node", "block", "input_file", "output_file")


def hub(folder: Path, run_id: str = "run-1", **options: Any) -> MonitoringHub:
    """Start a hub of its own in `folder`, whose database is `monitoring.db` there."""
    made = MonitoringHub(**options)
    made.run_id = run_id
    run_dir = folder / run_id
    run_dir.mkdir(parents=True)
    made.start(str(run_dir), str(folder))
    return made


def records(first: int, count: int, at: float = 1000.0) -> Batch:
    """Make the records of tasks that run through."""
    found: list[Record] = []
    for task in range(first, first + count):
        found.append((SUBMITTED, task, at, "app", "htex", at + 1, None))
        found.append((ENDED, task, 0, at + 2, 3, 0, 0.0, None, "app", 1.0, None))
    return Batch(found)


def select(database: Path | str, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def counts(database: Path | str, views: Iterable[str] = VIEWS) -> dict[str, int]:
    return {view: select(database, f'SELECT count(*) FROM "{view}"')[0][0] for view in views}
