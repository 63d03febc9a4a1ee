"""What the tests of providers share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parsl.launchers import SingleNodeLauncher
from parsl.providers import LocalProvider


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """Make a provider, which must leave nothing behind once its blocks are cancelled."""
    fds, children = len(open_fds()), psutil.Process().children()
    provider = LocalProvider(launcher=SingleNodeLauncher(debug=False))
    provider.script_dir = str(tmp_path / "scripts")
    provider.kill_grace = 5
    yield provider
    assert all(provider.cancel(list(provider.resources)))
    assert len(open_fds()) == fds
    assert psutil.Process().children() == children  # zombies would be among them


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return str(path)
