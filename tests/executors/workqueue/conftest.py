"""The library of Work Queue on the search path, for tests of the real engine."""

from __future__ import annotations

import os

import pytest

from tests.executors.cctools_services import environment_of, first_entry


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process and those that it starts find the library."""
    folder = first_entry(environment_of("workqueue", "PYTHONPATH")["PYTHONPATH"])
    if not os.path.isdir(folder):
        pytest.skip("Work Queue is not installed: services/workqueue.sh install")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
