"""Each configuration is importable without side effect, and right up to what only its user can know."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import parsl.configs
from parsl.config import Config
from parsl.doctor.case import Case
from parsl.doctor.examination import examine_executor
from parsl.doctor.placeholders import find_placeholders
from tests.doctor.fakes import FakeProbe, bad

NAMES = sorted(module.name for module in pkgutil.iter_modules(parsl.configs.__path__))
READY = {"htex_local", "local_threads"}

IMPORT = """
import os, socket, sys

def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if event in {"os.mkdir", "subprocess.Popen", "socket.connect", "socket.getaddrinfo", "socket.bind"} or writes:
        raise SystemExit(f"{event} {arguments}")

sys.dont_write_bytecode = True
sys.addaudithook(refuse)
import parsl.configs.NAME
sdks = {"boto3", "botocore", "kubernetes", "azure", "google", "zmq", "globus_sdk"} & set(sys.modules)
assert not sdks, sdks
"""


def module(name):
    return importlib.import_module(f"parsl.configs.{name}")


def test_the_usual_kinds_are_there():
    kinds = {"aws", "grid_engine", "htcondor", "kubernetes", "lsf", "pbspro", "slurm", "slurm_gpus"}
    assert set(NAMES) == READY | kinds


@pytest.mark.parametrize("name", NAMES)
def test_import_has_no_side_effect(name, tmp_path):
    code = IMPORT.replace("NAME", name)
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_each_makes_fresh_ones(name):
    made = module(name).fresh_config(), module(name).fresh_config(), module(name).config
    assert all(isinstance(config, Config) for config in made)
    assert len({id(config.executors[0]) for config in made}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_exists(name):
    """Constructing them has said so already; this names the class and the keyword, and minds deprecated `**kwargs`."""
    found = module(name)
    for call in ast.walk(ast.parse(inspect.getsource(found))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and hasattr(found, call.func.id):
            parameters = inspect.signature(getattr(found, call.func.id)).parameters
            assert {keyword.arg for keyword in call.keywords} <= set(parameters), call.func.id


@pytest.mark.parametrize("name", NAMES)
def test_placeholders_stand_for_what_only_a_user_knows(name):
    placeholders = [word for executor in module(name).config.executors for _, word in find_placeholders(executor)]
    assert bool(placeholders) is (name not in READY | {"htcondor"})


@pytest.mark.parametrize("name", NAMES)
def test_the_doctor_finds_nothing_but_placeholders(name):
    config = module(name).fresh_config()
    for executor in config.executors:
        probe = FakeProbe({"condor_status": "Unclaimed"})
        found = bad(examine_executor(Case(executor, config.run_dir, config.strategy), probe))
        # In a cloud, connections in the open are what there is without a shared folder; the doctor says so.
        assert {finding.check for finding in found} <= {"placeholder", "encryption"}
        assert ("encryption" in {finding.check for finding in found}) is (name in {"aws", "kubernetes"})
