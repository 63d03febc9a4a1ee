"""The project's own files agree with one another and with the package."""

from __future__ import annotations

import importlib
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(requirement):
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.fixture(scope="module")
def imports():
    """The package's modules and who imports whom, imports inside functions included."""
    return grimp.build_graph("parsl", cache_dir=None, exclude_type_checking_imports=True)


def test_dev_group_and_dev_extra_are_the_same():
    assert PROJECT["dependency-groups"]["dev"] == PROJECT["project"]["optional-dependencies"]["dev"]


def test_constraints_pin_what_the_clone_installs():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name_of(line) for line in lines if "==" in line}
    project, extras = PROJECT["project"], PROJECT["project"]["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["docs"], *PROJECT["build-system"]["requires"]]
    assert {name_of(requirement) for requirement in needed} <= pinned


@pytest.mark.parametrize("command", PROJECT["project"]["scripts"])
def test_command_leads_to_a_function(command):
    module, function = PROJECT["project"]["scripts"][command].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_module_has_its_layer(imports):
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = set(re.findall(r"\(([\w.]+)\)", " ".join(layers)))

    def has_place(module):
        within = any(module == place or module.startswith(f"{place}.") for place in placed)
        # A package whose modules have places of their own is only the way to them.
        return within or any(place.startswith(f"{module}.") for place in placed)

    assert {module for module in imports.modules if not has_place(module)} == set()


def test_every_place_in_a_layer_is_taken_once():
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = re.findall(r"\(([\w.]+)\)", " ".join(layers))
    assert len(placed) == len(set(placed))


def test_no_circle_of_imports(imports):
    # A module that runs as a program may import itself by its name.
    order = TopologicalSorter({at: imports.find_modules_directly_imported_by(at) - {at} for at in imports.modules})
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
