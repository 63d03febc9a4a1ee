"""The figures of chaos tests: none lost, none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.report import chaos_report, table


def test_each_fault_has_one_row_and_the_last_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "build" / "chaos.json"
    chaos_report("worker killed", "WorkerLost", 0.5, path)
    chaos_report("clock stepped", "nothing", 0, path)
    chaos_report("worker killed", "WorkerLost", 0.25, path)
    assert "worker killed: WorkerLost, after 0.250 s" in capsys.readouterr().out
    assert table(path).splitlines()[2:] == [
        "| clock stepped | nothing | 0 s |",
        "| worker killed | WorkerLost | 0.25 s |",
    ]
