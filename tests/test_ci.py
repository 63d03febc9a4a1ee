"""What the continuous integration runs, with services and a `make` that only say what they are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICE = """#!/bin/bash
echo "$1 {name}" >> {calls}
case $1 in
    status) exit {status} ;;
    start) echo "[{name}] {words}"; exit {start} ;;
esac
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with .ci/run, and programs that stand in for those that it calls; returns a function to run it."""
    (tmp_path / "checkout" / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "checkout" / ".ci")
    programs = tmp_path / "programs"
    programs.mkdir()
    calls = tmp_path / "calls"
    calls.touch()

    def program(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def service(name, *, status=1, start=0, words="up"):
        text = SERVICE.format(name=name, calls=calls, status=status, start=start, words=words)
        program(tmp_path / "shared" / "services" / f"{name}.sh", text)

    def run(*, root=True, tests=0):
        program(programs / "id", f"#!/bin/sh\necho {0 if root else 1000}\n")
        make = (
            f'#!/bin/sh\necho "make $* missing=$PARSL_TEST_MISSING" >> {calls}\ncase $1 in test) exit {tests} ;; esac\n'
        )
        program(programs / "make", make)
        environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", str(tmp_path / "checkout" / ".ci" / "run")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return ended.returncode, ended.stdout, calls.read_text().splitlines()

    run.service = service
    return run


def test_services_are_started_for_the_tests_and_stopped_after_them(checkout):
    checkout.service("slurm")
    checkout.service("moto")
    code, _, calls = checkout()
    assert code == 0
    at = calls.index("make test PYTEST_ARGS=-m 'not soak' --junitxml=build/junit.xml  missing=")
    assert {"start slurm", "start moto"} <= set(calls[:at])
    assert sorted(calls[at + 1 :]) == ["stop moto", "stop slurm"]


def test_what_was_up_before_is_left_up(checkout):
    checkout.service("slurm", status=0)
    _, _, calls = checkout()
    assert "start slurm" in calls
    assert "stop slurm" not in calls


def test_radical_pilot_is_made_ready_and_no_session_of_others_is_ended(checkout):
    checkout.service("radical")
    code, _, calls = checkout()
    assert code == 0
    assert [call for call in calls if call.endswith(" radical")] == ["start radical"]


def test_what_cannot_be_had_is_named_with_its_reason(checkout):
    checkout.service("slurm", start=1, words="FAILED: no package")
    checkout.service("gridengine")
    code, out, calls = checkout()
    assert code == 0
    assert "slurm cannot be had here: [slurm] FAILED: no package" in out
    assert any(call.endswith("missing=slurm") for call in calls if call.startswith("make test"))


def test_a_failed_test_is_the_result_and_services_are_stopped(checkout):
    checkout.service("slurm")
    code, _, calls = checkout(tests=2)
    assert code == 2
    assert calls[-1] == "stop slurm"


def test_without_root_or_services_the_other_tests_are_run(checkout):
    code, out, calls = checkout()
    assert code == 0
    assert "No folder" in out
    checkout.service("slurm")
    code, out, calls = checkout(root=False)
    assert code == 0
    assert "Not root" in out
    assert calls == ["make test PYTEST_ARGS=--junitxml=build/junit.xml  missing="] * 2
