"""Real services, and stand-ins, for tests that are marked `services`: found, started if need be, and stopped if so.

The scripts are in the folder that the environment variable PARSL_TEST_SERVICES names, or in `../shared/services`
beside the checkout. PARSL_TEST_MISSING names services that could not be started, so that no test tries again.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.leaks import MARK_VARIABLE

BESIDE = Path(__file__).parent.parent.parent / "shared" / "services"


def script_of(name: str) -> Path:
    if name in os.environ.get("PARSL_TEST_MISSING", "").split():
        pytest.skip(f"{name} could not be started before the tests, and the reason was printed there")
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
    # These commands stand in front of Slurm and have nothing of their own that could be up.
    script = script_of("slurm" if name in {"torque", "lsf-pbspro"} else name)
    front = script_of(name)
    was_up = run(script, "status").returncode == 0
    if not was_up or front != script:
        started = run(front, "start")
        if started.returncode != 0:
            pytest.skip(f"{front} start failed: {started.stderr.strip()[-500:]}")
    try:
        yield variables(run(front, "env").stdout)
    finally:
        if not was_up:
            run(script, "stop")


class System(NamedTuple):
    """What tests have run against.

    Attributes:
        name: Its name for people.
        how: How real it is.
        version: Command that prints its version; or the name of a Python distribution, with "package:" before it.
    """

    name: str
    how: str
    version: str


REAL = "the system itself"
SYSTEMS = {
    "slurm": System("Slurm", REAL, "sinfo --version"),
    "gridengine": System("Grid Engine", REAL, "qstat -help"),
    "htcondor": System("HTCondor", REAL, "condor_version"),
    "torque": System("Slurm's own Torque commands", "stand-in; jobs run", "sinfo --version"),
    "pbspro": System("commands of PBS Pro on Slurm", "stand-in; jobs run", "sinfo --version"),
    "lsf": System("commands of LSF on Slurm, after its documentation", "stand-in; jobs run", "sinfo --version"),
    "openmpi": System("Open MPI", REAL, "mpirun.openmpi --version"),
    "mpich": System("MPICH", REAL, "mpichversion; mpiexec.mpich --version"),
    "parallel": System("GNU parallel over OpenSSH", REAL, "parallel --version"),
    "moto": System("moto", "stand-in; blocks run as processes; boto3 is real", "$SVC/moto/venv/bin/pip show moto"),
    "gcp": System(
        "gcplocal",
        "stand-in; blocks run as processes; google-cloud-compute is real",
        "$SVC/gcp/venv/bin/pip show gcplocal",
    ),
    "ec2-answers": System("answers of EC2", "recorded or written by hand; boto3 is real", "package:boto3"),
    "azure-routes": System(
        "routes of Azure", "a server of the tests; azure-mgmt-compute is real", "package:azure-mgmt-compute"
    ),
    "google-routes": System(
        "routes of the Compute Engine",
        "a server of the tests; google-cloud-compute is real",
        "package:google-cloud-compute",
    ),
    "kubernetes-routes": System(
        "routes of Kubernetes", "a server of the tests; kubernetes is real", "package:kubernetes"
    ),
    "kubernetes": System(
        "API server and scheduler of Kubernetes",
        "these are real; nodes run the commands of pods as processes",
        "$SVC/kubernetes/bin/kube-apiserver --version",
    ),
}


@functools.cache
def version_of(name: str) -> str:
    """Ask a system for its version; its commands have to be on PATH."""
    if SYSTEMS[name].version.startswith("package:"):
        return importlib.metadata.version(SYSTEMS[name].version.removeprefix("package:"))
    command = f'SVC="${{SVC_HOME:-/tmp/svc}}"; {SYSTEMS[name].version}'
    text = subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout
    match = re.search(r"\d+(\.\d+)+|\d{8}", text)
    return match[0] if match else "unknown"


def record_proof(record: Callable[[str, object], None], provider: str, launcher: str, on: str) -> None:
    """Note in the test report what a test proves, for the table of what is supported.

    Args:
        record: The fixture `record_property`.
        provider: Name of the provider's class; "-" if there is none.
        launcher: Name of the launcher's class.
        on: Key in SYSTEMS.
    """
    system = SYSTEMS[on]
    record("proved", json.dumps([provider, launcher, system.name, version_of(on), system.how]))
