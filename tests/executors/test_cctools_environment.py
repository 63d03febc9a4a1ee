"""Packing of the script's environment, with a poncho of the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.cctools_environment import packed_environment

Packed = list[tuple[Any, ...]]


@pytest.fixture
def poncho(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packed:
    """Put poncho's program and module in place; give the list of what was packed."""
    runner = tmp_path / "poncho_package_run"
    runner.write_text("#!/bin/sh\n")
    runner.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    packed: Packed = []
    create: Any = ModuleType("ndcctools.poncho.package_create")
    create.pack_env = lambda prefix, output: packed.append((prefix, output))
    create.pack_env_from_dict = lambda spec, output: packed.append((spec, output))
    package: Any = ModuleType("ndcctools.poncho")
    package.package_create = create
    monkeypatch.setitem(sys.modules, "ndcctools", ModuleType("ndcctools"))
    monkeypatch.setitem(sys.modules, "ndcctools.poncho", package)
    return packed


def test_the_environment_of_this_process(poncho: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda/envs/mine")
    package, runner = packed_environment("/runs")
    assert package == "/runs/environment.tar.gz"
    assert runner == str(tmp_path / "poncho_package_run")
    assert poncho == [("/opt/conda/envs/mine", package)]


def test_one_that_is_named(poncho: Packed) -> None:
    package, _ = packed_environment("/runs", prefix="other")
    assert poncho == [("other", package)]


def test_one_with_more_packages(poncho: Packed) -> None:
    packed_environment("/runs", ["numpy"])
    conda = poncho[0][0]["conda"]
    assert conda["dependencies"] == ["python={}.{}".format(*sys.version_info), "parsl", "numpy"]


def test_without_conda(poncho: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    with pytest.raises(ConfigurationError, match="CONDA_PREFIX"):
        packed_environment("/runs")


def test_without_poncho_s_module(poncho: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ndcctools.poncho", None)
    with pytest.raises(OptionalModuleMissing, match=r"ndcctools\.poncho"):
        packed_environment("/runs")
