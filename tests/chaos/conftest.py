"""What tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.tools import Started
from tests.live.conftest import gate

__all__ = ["gate", "started"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Tells what the tasks of a test have started, and ends it."""
    started = Started(tmp_path)
    yield started
    started.close()
