"""The public surface: names, parameters, their order and defaults are promises.

`public_api.txt` beside this file has a line for each promise, as this package keeps it. It is written by
`python -m tests.test_api`, which takes the names from the file and the rest from the package; so a change of the
surface shows in its diff. Where the table of the earlier releases' interface is at hand, the package is held against
that as well.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import parsl

PINNED = Path(__file__).with_name("public_api.txt")
SPEC_VARIABLE = "PARSL_API_SPEC"


class Shown:
    """Stands for a default value that has no short text of its own."""

    def __init__(self, value):
        self.text = f"<{type(value).__name__}>"

    def __repr__(self):
        return self.text


def signature_of(function):
    """Return parameters and defaults as text, without annotations."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        plain = parameter.replace(annotation=inspect.Parameter.empty)
        if not isinstance(plain.default, (type, int, float, str, tuple, list, dict, type(None))):
            plain = plain.replace(default=Shown(plain.default))
        parameters.append(plain)
    return str(inspect.Signature(parameters))


def find(path):
    """Return the object of a dotted path: the longest part that can be imported is the module."""
    parts = path.split(".")
    for size in range(len(parts), 0, -1):
        name = ".".join(parts[:size])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as e:
            if e.name is None or not f"{name}.".startswith(f"{e.name}."):
                raise
            continue
        for part in parts[size:]:
            found = inspect.getattr_static(found, part) if isinstance(found, type) else getattr(found, part)
        return found
    raise ModuleNotFoundError(path)


def is_ours(cls):
    return cls.__module__.split(".")[0] == "parsl"


def describe(path):
    """Return the line of one name."""
    found = find(path)
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    if isinstance(found, enum.Enum):
        return f"{path} = {found.value!r}"
    if isinstance(found, type):
        # A constructor that comes from Python has another signature in another release.
        owner = next(cls for cls in found.__mro__ if "__init__" in vars(cls) or "__new__" in vars(cls))
        own = is_ours(owner) and not issubclass(found, enum.Enum)
        return f"class {path}{signature_of(found) if own else ''}"
    if inspect.isroutine(found):
        return f"def {path}{signature_of(found)}"
    return f"{path}: {type(found).__name__}"


def name_in(line):
    """Return the path that a line is about."""
    words = line.replace("(", " ").replace(":", " ").split()
    return words[1] if words[0] in ("def", "class") else words[0]


@pytest.mark.parametrize("line", PINNED.read_text(encoding="utf-8").splitlines(), ids=name_in)
def test_promise(line):
    assert describe(name_in(line)) == line


def test_promises_are_in_order_and_made_once():
    names = [name_in(line) for line in PINNED.read_text(encoding="utf-8").splitlines()]
    assert names == sorted(set(names))


def test_each_name_of_the_face_can_be_used():
    for name in parsl.__all__:
        assert getattr(parsl, name) is not None
        assert name in dir(parsl)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = parsl.nothing


def find_spec():
    """Return the script that compares a package with the interface of the earlier releases, or None."""
    folders = [os.environ.get(SPEC_VARIABLE), Path(__file__).parents[2] / "shared" / "spec"]
    scripts = [Path(folder) / "api_check.py" for folder in folders if folder]
    return next((script for script in scripts if script.is_file()), None)


def test_interface_of_the_earlier_releases():
    script = find_spec()
    if script is None:
        pytest.skip(f"no folder with api_check.py, neither in {SPEC_VARIABLE} nor as ../shared/spec")
    run = subprocess.run([sys.executable, script, "-v"], capture_output=True, text=True, timeout=60, check=False)
    lines = run.stdout.splitlines()
    summaries = [line for line in lines if line.startswith("release ")]
    assert [line.split()[1] for line in summaries] == ["2024.12:", "2026.10:"], run.stderr
    assert all(int(line.split()[2]) > 200 for line in summaries)
    assert [line for line in lines if line and line not in summaries] == []


if __name__ == "__main__":
    names = [name_in(line) for line in PINNED.read_text(encoding="utf-8").splitlines()]
    PINNED.write_text("".join(f"{describe(name)}\n" for name in sorted(set(names))), encoding="utf-8")
