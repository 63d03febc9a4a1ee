"""What tests on a running pilot share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import pilot


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[pilot.Gate]:
    """A gate at which tasks wait; at the end it is open."""
    gate = pilot.Gate(tmp_path / "gate")
    yield gate
    gate.close()
