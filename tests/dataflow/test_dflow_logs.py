"""What a kernel writes to its log, and the extras that its records carry."""

from __future__ import annotations

import logging
import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl import python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.threads import ThreadPoolExecutor
from parsl.logconfigs.file import FileLogging
from tests.kernels import SOON, loaded


@python_app
def add(*numbers: int) -> int:
    return sum(numbers)


def extras(caplog: pytest.LogCaptureFixture, *names: str) -> list[tuple[Any, ...]]:
    """Return the values of extras in each record that has them all."""
    keys = [f"parsl.{name}" for name in names]
    return [
        tuple(vars(r)[k] for k in keys)
        for r in caplog.records
        if r.name.startswith("parsl") and all(k in vars(r) for k in keys)
    ]


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Any:
    with caplog.at_level(logging.DEBUG, logger="parsl"), loaded(tmp_path / "runs") as kernel:
        yield kernel


def test_each_executor_is_named_with_its_class(kernel: DataFlowKernel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl"):
        kernel.add_executors([ThreadPoolExecutor(label="later")])
    assert extras(caplog, "executor.label", "executor.type") == [
        ("later", "parsl.executors.threads.ThreadPoolExecutor")
    ]


def test_executors_of_the_config_are_named_at_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl"), loaded(tmp_path):
        named = extras(caplog, "executor.label", "executor.type")
    assert named == [(label, "parsl.executors.threads.ThreadPoolExecutor") for label in ("threads", "_parsl_internal")]


def test_the_way_of_a_task_is_told_with_extras(debug: DataFlowKernel, caplog: pytest.LogCaptureFixture) -> None:
    first = add(1)
    foreign: Future[int] = Future()
    second = add(first, foreign)
    foreign.set_result(1)
    second.result(timeout=SOON)
    debug.cleanup()
    assert extras(caplog, "task", "app_name") == [(first.tid, "add"), (second.tid, "add")]
    assert extras(caplog, "task", "dependency_task") == [(second.tid, first.tid)]
    assert f"Task 1 depends on {foreign!r}"[:40] in caplog.text
    states = [(task, state) for task, state in extras(caplog, "task", "task_state") if task == second.tid]
    assert states == [(second.tid, state) for state in ("pending", "launched", "exec_done")]


def test_each_try_is_bound_to_its_executor_once(debug: DataFlowKernel, caplog: pytest.LogCaptureFixture) -> None:
    futures = [add(i) for i in range(3)]
    for future in futures:
        future.result(timeout=SOON)
    debug.cleanup()
    assert sorted(extras(caplog, "task", "executor", "executor_task")) == [(f.tid, "threads", None) for f in futures]


def test_failures_tries_and_the_end_are_told_at_level_info(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl"), loaded(tmp_path, retries=1):
        bad = add("x")  # type: ignore[arg-type]
        worse = add(bad)
        worse.exception(timeout=SOON)
        add(1).result(timeout=SOON)
    text = caplog.text
    assert re.search(r"Task 0 failed \(TypeError.*\) and is tried again: cost 1 of 1", text)
    assert re.search(r"Task 0 \(add\) ended as failed after 2 tries: TypeError", text)
    assert re.search(r"Task 1 \(add\) ended as dep_fail after 1 tries: <DependencyError", text)
    lines = [r.getMessage() for r in caplog.records]
    begin, end = lines.index("Summary of tasks in DFK:"), lines.index("End of summary")
    assert sorted(lines[begin + 1 : end]) == [
        "Tasks in state States.dep_fail: 1",
        "Tasks in state States.exec_done: 1",
        "Tasks in state States.failed: 1",
    ]
    assert not any("Task 2" in line for line in lines)


def test_a_flood_of_failures_does_not_flood_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl"), loaded(tmp_path):
        futures = [add("x") for _ in range(1100)]  # type: ignore[arg-type]
        assert all(f.exception(timeout=SOON) for f in futures)
    told = [r.getMessage() for r in caplog.records if " ended as failed " in r.getMessage()]
    assert 1000 <= len(told) <= 1002
    assert told[-1].endswith("; further failures are not logged")


def test_the_file_has_no_line_for_a_task_that_went_well(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        for future in [add(i) for i in range(100)]:
            future.result(timeout=SOON)
    lines = (Path(kernel.run_dir) / "parsl.log").read_text().splitlines()
    assert 5 < len(lines) < 80
    first = float(lines[0].split()[0])
    assert first > 1_700_000_000


def test_a_file_of_level_debug_has_all(tmp_path: Path) -> None:
    with loaded(tmp_path, initialize_logging=FileLogging("%(levelname)s %(message)s")) as kernel:
        add(1).result(timeout=SOON)
    text = (Path(kernel.run_dir) / "parsl.log").read_text()
    assert "DEBUG Task 0 is exec_done" in text


def test_no_log_where_none_is_wanted(tmp_path: Path) -> None:
    with loaded(tmp_path, initialize_logging=False) as kernel:
        add(1).result(timeout=SOON)
    assert list(Path(kernel.run_dir).iterdir()) == []


def test_handlers_are_gone_after_cleanup(tmp_path: Path) -> None:
    logger = logging.getLogger("parsl")
    before = (list(logger.handlers), logger.level)
    with loaded(tmp_path):
        assert len(logger.handlers) == len(before[0]) + 1
    assert (logger.handlers, logger.level) == before
