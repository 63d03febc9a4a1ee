"""Fixtures for tests of staging."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl.data_provider import transfer
from tests.data_provider.servers import ftp_server, http_server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """An HTTP server of a folder of the test, `served.root`."""
    with http_server(tmp_path / "http") as server:
        yield server


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[Any]:
    """An FTP server of a folder of the test, `ftp.root`."""
    with ftp_server(tmp_path / "ftp") as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the attempts after which there was a pause; it lasts no time."""
    made: list[int] = []

    def note(attempt: int) -> float:
        made.append(attempt)
        return 0

    monkeypatch.setattr(transfer, "pause_after", note)
    return made
