from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import ConfigurationError
from parsl.executors.threads import ThreadPoolExecutor
from parsl.plugins import GROUPS, find, installed, known_names, resolve
from tests.plugin_package import install

ENTRY = "[parsl.executors]\nPluggedExecutor = plugged:PluggedExecutor\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Give a folder for packages, on the search path for this test alone."""
    before = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("plugged"):
            del sys.modules[name]


# -- this package's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "home"),
    [
        ("executor", "ThreadPoolExecutor", "parsl.executors.threads"),
        ("executor", "HighThroughputExecutor", "parsl.executors.high_throughput.executor"),
        ("provider", "SlurmProvider", "parsl.providers.slurm.slurm"),
        ("launcher", "SrunLauncher", "parsl.launchers.launchers"),
        ("staging", "NoOpFileStaging", "parsl.data_provider.file_noop"),
    ],
)
def test_own_classes_have_short_names(kind, name, home):
    found = resolve(kind, name)
    assert found.__name__ == name
    assert found.__module__ == home
    assert name in known_names(kind)


def test_every_own_name_of_a_package_is_a_class():
    for kind in ("executor", "provider", "launcher"):
        for name in importlib.import_module(GROUPS[kind]).__all__:
            assert isinstance(resolve(kind, name), type), name


def test_the_names_are_asked_for_without_loading_what_they_stand_for():
    code = (
        "import sys\nfrom parsl.plugins import known_names\n"
        "known_names('executor'), known_names('provider')\n"
        "print([m for m in sys.modules if m in ('parsl.executors.threads', 'parsl.providers.slurm.slurm')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"


# -- by full path ------------------------------------------------------------------------------------------------------


def test_any_class_by_its_full_path(site):
    install(site, "")
    assert resolve("executor", "plugged.PluggedExecutor").__name__ == "PluggedExecutor"
    assert find("plugged:PluggedExecutor") is find("plugged.PluggedExecutor")
    assert find("os.path.join")("a", "b") == "a/b"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("no_such_package.Class", "importing 'no_such_package' raises ModuleNotFoundError: No module named"),
        ("plugged.PlugedExecutor", "has no 'PlugedExecutor' (did you mean 'PluggedExecutor'?)"),
        ("plugged.not_a_class", "the executor 'plugged.not_a_class' is a int, but a class is needed"),
        ("broken.Class", "importing 'broken' raises ZeroDivisionError: division by zero"),
        (".Class", "importing '' raises"),
    ],
)
def test_a_path_that_leads_nowhere(site, path, text):
    install(site, "")
    (site / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError) as info:
        resolve("executor", path)
    assert text in str(info.value)


# -- plug-ins ----------------------------------------------------------------------------------------------------------


def test_a_plug_in_is_found_by_the_name_of_its_entry_point(site):
    assert "PluggedExecutor" not in known_names("executor")
    install(site, ENTRY + "[parsl.providers]\nElsewhere = plugged:PluggedExecutor\n")
    assert [e.name for e in installed("executor")] == ["PluggedExecutor"]
    assert "plugged" not in sys.modules
    assert resolve("executor", "PluggedExecutor") is find("plugged.PluggedExecutor")
    assert resolve("provider", "Elsewhere") is find("plugged.PluggedExecutor")
    assert "Elsewhere" not in known_names("executor")


@pytest.mark.parametrize("kind", GROUPS)
def test_an_unknown_name_is_told_with_those_that_there_are(site, kind):
    install(site, f"[{GROUPS[kind]}]\nMine = plugged:PluggedExecutor\n")
    with pytest.raises(ConfigurationError) as info:
        resolve(kind, "Mime")
    text = str(info.value)
    assert text.startswith(f"there is no {kind} 'Mime' (did you mean 'Mine'?); there are: ")
    assert all(name in text for name in known_names(kind))
    assert repr(GROUPS[kind]) in text


def test_two_plug_ins_of_one_name(site, tmp_path, monkeypatch):
    install(site, ENTRY)
    install(site, "[parsl.executors]\nPluggedExecutor = plugged2:PluggedExecutor\n", name="plugged2")
    text = "several plug-ins have executor 'PluggedExecutor': plugged2:PluggedExecutor, plugged:PluggedExecutor"
    with pytest.raises(ConfigurationError, match=text):
        resolve("executor", "PluggedExecutor")


def test_a_plug_in_found_twice_is_one(site, tmp_path, monkeypatch):
    install(site, ENTRY)
    (tmp_path / "link").symlink_to(site)
    monkeypatch.syspath_prepend(str(tmp_path / "link"))
    assert resolve("executor", "PluggedExecutor").__name__ == "PluggedExecutor"


def test_a_plug_in_does_not_take_the_place_of_an_own_class(site):
    install(site, "[parsl.executors]\nThreadPoolExecutor = plugged:PluggedExecutor\n")
    assert resolve("executor", "ThreadPoolExecutor") is ThreadPoolExecutor


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        ("plugged:Gone", "", "AttributeError"),
        ("plugged:Any", "raise RuntimeError('not on this machine')", "RuntimeError: not on this machine"),
        ("nowhere:Any", "", "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded(site, value, code, text):
    install(site, f"[parsl.executors]\nBroken = {value}\n", code=code)
    with pytest.raises(ConfigurationError) as info:
        resolve("executor", "Broken")
    assert f"the executor 'Broken' of plugged 1.2 cannot be loaded from {value!r}: {text}" in str(info.value)


def test_a_plug_in_runs_tasks(site, tmp_path):
    install(site, ENTRY)
    executor = resolve("executor", "PluggedExecutor")(label="plugged", max_threads=1)
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:
        assert python_app(lambda: 7, data_flow_kernel=kernel, executors=["plugged"])().result(timeout=10) == 7
