"""The face `import parsl`: its names, and how little it loads."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parsl

# What no script pays for that does not use it. Of the standard library, what is slow to import.
HEAVY = {
    *("cloudpickle", "dill", "msgspec", "psutil", "requests", "sqlalchemy", "tblib", "typeguard", "zmq"),
    *("asyncio", "dataclasses", "email", "http", "importlib.metadata", "multiprocessing", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "unittest", "urllib.request", "xml"),
}
OF_OURS = {
    "parsl.providers.local",
    "parsl.launchers",
    "parsl.curvezmq",
    "parsl.serialize",
    "parsl.usage_tracking.usage",
}


def modules_after(script: str, folder: Path) -> set[str]:
    """Run a script in a process of its own; return what it has loaded beyond what Python itself loads."""
    program = f"""import sys, json
before = set(sys.modules)
{script}
print(json.dumps(sorted(set(sys.modules) - before)))"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def heavy(modules: set[str], *allowed: str) -> set[str]:
    unwanted = {m for m in modules if m in HEAVY or m.startswith(("parsl.executors.high_throughput", *OF_OURS))}
    return unwanted - set(allowed)


def test_import_parsl_loads_next_to_nothing(tmp_path: Path) -> None:
    loaded = modules_after("import parsl", tmp_path)
    assert {m for m in loaded if m.startswith("parsl")} == {"parsl", "parsl.version"}
    assert heavy(loaded) == set()
    assert not loaded & {
        "concurrent.futures",
        "ctypes",
        "inspect",
        "pickle",
        "selectors",
        "socket",
        "typing_extensions",
    }
    assert len(loaded) < 60


def test_decorating_and_configuring_load_no_executor_beyond_threads(tmp_path: Path) -> None:
    script = """
import parsl
@parsl.python_app
def app(x):
    return x
@parsl.bash_app
def bash(x):
    return x
config = parsl.Config(executors=[parsl.ThreadPoolExecutor()])
"""
    assert heavy(modules_after(script, tmp_path), "subprocess") == set()


def test_a_run_on_threads_loads_neither_pilot_nor_pickler(tmp_path: Path) -> None:
    script = """
import parsl
with parsl.load():
    assert parsl.python_app(lambda x: x + 1)(1).result() == 2
"""
    # Before Python 3.11, uuid brings it along.
    allowed = {"subprocess"} if sys.version_info < (3, 11) else set()
    assert heavy(modules_after(script, tmp_path), *allowed) == set()


def test_naming_the_pilot_loads_it(tmp_path: Path) -> None:
    loaded = modules_after("import parsl; parsl.HighThroughputExecutor", tmp_path)
    assert "parsl.executors.high_throughput.executor" in loaded
    assert not loaded & {"asyncio", "requests", "sqlite3", "typeguard"}


def test_every_name_is_there_and_listed() -> None:
    for name in parsl.__all__:
        assert getattr(parsl, name) is getattr(parsl, name)
        assert name in dir(parsl)
    assert len(set(parsl.__all__)) == len(parsl.__all__)


HOMES = {
    "Config": "parsl.config",
    "DataFlowKernel": "parsl.dataflow.dflow",
    "DataFlowKernelLoader": "parsl.dataflow.dflow",
    "File": "parsl.data_provider.files",
    "HighThroughputExecutor": "parsl.executors.high_throughput.executor",
    "MPIExecutor": "parsl.executors.high_throughput.mpi_executor",
    "ThreadPoolExecutor": "parsl.executors.threads",
    "bash_app": "parsl.app.app",
    "join_app": "parsl.app.app",
    "python_app": "parsl.app.app",
    "set_file_logger": "parsl.log_utils",
    "set_stream_logger": "parsl.log_utils",
}


@pytest.mark.parametrize(("name", "home"), HOMES.items())
def test_names_are_the_very_objects_of_their_modules(name: str, home: str) -> None:
    assert getattr(parsl, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("name", ["clear", "dfk", "load", "wait_for_current_tasks"])
def test_methods_of_the_loader(name: str) -> None:
    assert getattr(parsl, name) == getattr(parsl.DataFlowKernelLoader, name)


def test_star_import_gives_what_is_promised() -> None:
    namespace: dict[str, Any] = {}
    exec("from parsl import *", namespace)
    assert set(parsl.__all__) <= set(namespace)


def test_modules_below_are_there_after_a_plain_import(tmp_path: Path) -> None:
    script = "import parsl; parsl.utils.Timer, parsl.config.Config, parsl.providers.LocalProvider, parsl.app.errors"
    assert "parsl.providers.local.local" in modules_after(script, tmp_path)


@pytest.mark.parametrize("name", ["no_such_name", "_private", "__wrapped__", "__path2__", "Executor"])
def test_a_name_that_there_is_not(name: str) -> None:
    assert not hasattr(parsl, name)
    with pytest.raises(AttributeError, match=f"module 'parsl' has no attribute '{name}'"):
        getattr(parsl, name)
    with pytest.raises(ImportError):
        exec(f"from parsl import {name}")


def test_the_name_that_the_kernel_chooses_is_a_number() -> None:
    assert parsl.AUTO_LOGNAME == -1
    assert isinstance(parsl.AUTO_LOGNAME, int)


def test_a_script_that_sets_up_no_logging_hears_nothing() -> None:
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("parsl").handlers)
