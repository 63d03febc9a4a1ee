from __future__ import annotations

import sys

import pytest

from parsl.config import Config
from parsl.doctor.loading import load_config
from parsl.errors import ConfigurationError

MAKE = """
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

def make(label):
    return Config(executors=[ThreadPoolExecutor(label=label)])
"""


@pytest.fixture(autouse=True)
def search_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(MAKE + text, encoding="utf-8")
        return str(path)

    return write


def label(config):
    assert isinstance(config, Config)
    return config.executors[0].label


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("config = make('a')", "", "a"),
        ("def config(): return make('b')", "", "b"),
        ("def fresh_config(): return make('c')\nconfig = 'not looked at'", "", "c"),
        ("other = make('d')\nconfig = make('x')", ":other", "d"),
        ("def other(): return make('e')\nconfig = make('x')", ":other", "e"),
    ],
)
def test_from_a_file(write, text, name, expected):
    assert label(load_config(write(text) + name)) == expected


def test_from_a_module():
    assert label(load_config("parsl.configs.local_threads")) == "threads"
    assert label(load_config("parsl.configs.local_threads:fresh_config")) == "threads"


def test_from_a_module_of_the_working_folder(write, tmp_path, monkeypatch):
    write("config = make('here')", "some_module_of_the_doctors_tests.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    assert label(load_config("some_module_of_the_doctors_tests")) == "here"


def test_a_file_imports_what_lies_beside_it(write, monkeypatch):
    write("LABEL = 'beside'", "beside_the_doctors_config.py")
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    path = write("from beside_the_doctors_config import LABEL\nconfig = make(LABEL)")
    assert label(load_config(path)) == "beside"


def test_a_file_with_a_colon_in_its_name(write):
    assert label(load_config(write("config = make('a')", "a:b"))) == "a"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "", "defines neither config nor fresh_config()"),
        ("", ":other", "defines no other, or it is None"),
        ("config = 3", "", "defines a int, but a parsl.config.Config is needed"),
        ("def config(x): pass", "", "raises TypeError: .*missing 1 required positional argument"),
        ("import nothing_of_that_name", "", "raises ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_what_is_wrong_is_told(write, text, name, message):
    with pytest.raises(ConfigurationError, match=message):
        load_config(write(text) + name)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/nowhere/config.py", "cannot read the configuration /nowhere/config.py: No such file or directory"),
        ("nowhere.py", "cannot read the configuration nowhere.py: No such file or directory"),
        ("no_such_module", "raises ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_is_not_there(target, message):
    with pytest.raises(ConfigurationError, match=message):
        load_config(target)
