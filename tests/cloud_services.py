"""Stand-ins of clouds for tests that are marked `services`: found, started if need be, and stopped if started here.

The scripts are in the folder that the environment variable PARSL_TEST_SERVICES names, or in `../shared/services`
beside the checkout.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leaks import MARK_VARIABLE

BESIDE = Path(__file__).parent.parent.parent / "shared" / "services"


def script_of(name: str) -> Path:
    folder = Path(os.environ.get("PARSL_TEST_SERVICES") or BESIDE)
    script = folder / f"{name}.sh"
    if not script.exists():
        pytest.skip(f"no {script}; PARSL_TEST_SERVICES names the folder")
    return script


def run(script: Path, verb: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    # Without the mark of this session, as a service that was up before is none of its processes; and without its folder
    # for temporary files, which a daemon that runs as another user may not write to.
    environment = {key: value for key, value in os.environ.items() if key not in {MARK_VARIABLE, "TMPDIR"}}
    command = ["bash", str(script), verb]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


def variables(text: str) -> dict[str, str]:
    """Read what a script's `env` prints: lines of `export A=b C=d`; others are for shells."""
    words = [word for line in text.splitlines() for part in line.split(";") for word in shlex.split(part)]
    return dict(word.split("=", 1) for word in words if "=" in word)


@contextlib.contextmanager
def service(name: str) -> Iterator[dict[str, str]]:
    """Give the variables for clients of a service that is up meanwhile."""
    script = script_of(name)
    was_up = run(script, "status").returncode == 0
    if not was_up:
        started = run(script, "start")
        if started.returncode != 0:
            pytest.skip(f"{script} start failed: {started.stderr.strip()[-500:]}")
    try:
        yield variables(run(script, "env").stdout)
    finally:
        if not was_up:
            run(script, "stop")
