"""Remembered calls beside worker processes: none is troubled, and that shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from parsl.app.bash import BashApp
from parsl.app.python import PythonApp
from parsl.dataflow.memoization import BasicMemoizer
from parsl.dataflow.states import States
from tests.live.pilot import SOON, kernel

CALLS = 200


def same(x: Any) -> Any:
    return x


def noted(folder: str, x: int) -> int:
    """Leave a file for each time that it runs."""
    import os
    import uuid

    with open(os.path.join(folder, f"{x}-{uuid.uuid4()}"), "w"):
        return x * x


def shell(path: str, stdout: str | None = None) -> str:
    return f"echo once >> {path}"


def seconds_of(app: PythonApp) -> float:
    """Return the time of some calls, each made when the one before has ended."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        app(1).result(timeout=SOON)
    return time.perf_counter() - begin


def test_a_remembered_call_is_ten_times_as_fast_as_one_that_does_nothing(tmp_path: Path) -> None:
    dfk = kernel(tmp_path)
    try:
        run = PythonApp(same, data_flow_kernel=dfk)
        remembered = PythonApp(same, data_flow_kernel=dfk, cache=True)
        for app in (run, remembered):
            app(1).result(timeout=SOON)
        # The best of five each: what else this machine does comes and goes.
        times = [(seconds_of(run), seconds_of(remembered)) for _ in range(5)]
        assert min(t for t, _ in times) > 10 * min(t for _, t in times)
        assert dfk.task_state_counts[States.memo_done] == 5 * CALLS
        assert dfk.executors["htex"].outstanding() == 0
    finally:
        dfk.cleanup()


def test_a_run_on_workers_is_resumed(tmp_path: Path) -> None:
    folder, path = tmp_path / "noted", tmp_path / "shell"
    folder.mkdir()
    for _ in range(2):
        dfk = kernel(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit", key="code"))
        try:
            app = PythonApp(noted, data_flow_kernel=dfk, cache=True)
            command = BashApp(shell, data_flow_kernel=dfk, cache=True)
            futures = [app(str(folder), x) for x in range(20)] + [command(str(path)) for _ in range(3)]
            assert [f.result(timeout=SOON) for f in futures] == [*(x * x for x in range(20)), 0, 0, 0]
        finally:
            dfk.cleanup()
    assert len(list(folder.iterdir())) == 20
    assert path.read_text() == "once\n"
