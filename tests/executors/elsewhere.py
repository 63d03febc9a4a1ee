"""Tests of an engine whose library is in another virtual environment: they run there, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 280


def run_elsewhere(python: str | Path | None, file: Path, tmp_path: Path, **environment: str) -> None:
    """Run a file of tests with another Python; skip where there is none.

    That Python's own packages come first, those of this one behind them.
    """
    if not python or not os.path.exists(python):
        pytest.skip(f"no Python with the engine's library: {python}")
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PARSL_TEST_PACKAGES": sysconfig.get_path("purelib"),
        **environment,
    }
    # RADICAL-Pilot repeats the environment in shell scripts, and what make has quoted does not survive that.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTEST_ARGS"):
        env.pop(name, None)
    # Warnings of those libraries are none of ours.
    arguments = ["-m", "services", "-q", "-W", "ignore", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}"]
    command = [str(python), str(Path(__file__).parent / "run_pytest.py"), *arguments, str(file)]
    # Not a pipe: what an engine leaves behind would keep it open.
    path = tmp_path / "said"
    with open(path, "wb") as said, subprocess.Popen(command, env=env, stdout=said, stderr=said, cwd=ROOT) as process:
        try:
            code = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{file.name} did not end within {PATIENCE} s. It said:\n{path.read_text()}")
    text = path.read_text()
    assert code == 0, f"{file.name} ended with exit code {code}. It said:\n{text}"
    assert " passed" in text
