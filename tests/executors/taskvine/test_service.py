"""The tests of TaskVine's real engine, run under the Python for which its library is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors.cctools_services import environment_of

pytestmark = pytest.mark.services

ROOT = Path(__file__).parent.parent.parent.parent
# What the package and its tests need, for an environment that has the library alone.
NEEDED = ["zmq", "msgspec", "dill", "cloudpickle", "psutil", "tblib", "typing_extensions", "pytest", "hypothesis"]


@pytest.fixture(scope="module")
def python() -> tuple[str, dict[str, str]]:
    """Give the interpreter with the library, and the environment variables for it."""
    path = environment_of("taskvine", "PATH")["PATH"]
    found = shutil.which("python", path=path)
    if found is None or shutil.which("vine_worker", path=path) is None:
        pytest.skip("TaskVine is not installed: services/taskvine.sh install")
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
    names = ", ".join(["ndcctools.taskvine", *NEEDED])
    asked = subprocess.run(
        [found, "-W", "ignore", "-c", f"import {names}"], env=environment, capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.skip(f"services/taskvine.sh pip install ...: {asked.stderr.strip().splitlines()[-1]}")
    return found, environment


KINDS = ["TestFactory", "TestServerless", "TestProvider", "TestLimits", "TestLostWorker", "TestCoprocess"]


@pytest.mark.parametrize("kind", KINDS)
def test_contract_on_the_real_engine(python: tuple[str, dict[str, str]], kind: str, tmp_path: Path) -> None:
    interpreter, environment = python
    command = [interpreter, "-m", "pytest", "-q", "-m", "services", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"tests/executors/taskvine/live_taskvine.py::{kind}"]
    report = tmp_path / "report.txt"
    with report.open("wb") as file:
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=file, timeout=280, check=False
        ).returncode
    sys.stdout.write(report.read_text())
    assert code == 0
