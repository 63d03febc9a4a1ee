"""What changes the identity of a function, and what does not."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import subprocess
import sys
import types
from pathlib import Path

import pytest

from parsl.app.app import python_app
from parsl.dataflow.code_identity import code_identity

_numbers = itertools.count()


def module_of(source: str) -> types.ModuleType:
    """Make a module of a user out of a text."""
    module = types.ModuleType(f"users_module_{next(_numbers)}")
    module.__name__ = "users_module"
    exec(compile(source, f"file_{next(_numbers)}.py", "exec"), vars(module))
    return module


def identity(source: str) -> bytes:
    return code_identity(module_of(source).app)


BASE = """
import math
LIMIT = 10
TABLE = {"a": [1, 2]}

def deep(x):
    return x + 1

def helper(x):
    return deep(x) * 2

class Scale:
    factor = 3
    def apply(self, x):
        return x * self.factor

def app(x, n=5, *, m=7):
    try:
        y = helper(x) + LIMIT + n + m
    except ValueError:
        y = TABLE["a"]
    for i in range(3):
        if y > 100:
            break
        y += Scale().apply(i)
    return math.sin(y), "text"
"""

SAME = {
    "comments": BASE.replace("    for i", "    # a comment\n    for i"),
    "blank lines": "\n\n\n" + BASE.replace("\n    for i", "\n\n\n    for i"),
    "a docstring": BASE.replace("m=7):\n", 'm=7):\n    """Say what it does."""\n'),
    "a helper's docstring": BASE.replace("def deep(x):\n", 'def deep(x):\n    """Say."""\n'),
    "line breaks": BASE.replace(
        "helper(x) + LIMIT + n + m", "(\n    helper(x)\n    + LIMIT\n  + n\n        + m\n    )"
    ),
    "quotes": BASE.replace('"text"', "'text'"),
    "spaces": BASE.replace("n=5, *, m=7", "n = 5,*,m = 7"),
    "an unused function": BASE + "\ndef unused(): return 5\n",
    "an unused global": BASE + "\nUNUSED = 5\n",
    "a pass": BASE.replace("            break\n", "            pass\n            break\n"),
}

OTHER = {
    "a constant": BASE.replace('"text"', '"other"'),
    "a constant's type": BASE.replace("range(3)", "range(True)"),
    "a default": BASE.replace("n=5", "n=6"),
    "a keyword's default": BASE.replace("m=7", "m=8"),
    "a global value": BASE.replace("LIMIT = 10", "LIMIT = 11"),
    "a value deep in a global": BASE.replace("[1, 2]", "[1, 3]"),
    "a helper": BASE.replace("* 2", "* 4"),
    "a helper's helper": BASE.replace("x + 1", "x - 1"),
    "a method": BASE.replace("x * self", "x + self"),
    "a class attribute": BASE.replace("factor = 3", "factor = 4"),
    "an operator": BASE.replace("+ n + m", "+ n - m"),
    "a function of a library": BASE.replace("math.sin", "math.cos"),
    "the exception that is caught": BASE.replace("ValueError", "KeyError"),
    "how far a try reaches": BASE.replace(
        "    try:\n        y = helper(x) + LIMIT", "    y = LIMIT\n    try:\n        y = helper(x) + y"
    ),
    "where a jump goes": BASE.replace("            break\n", "            continue\n"),
    "a parameter's name": BASE.replace("m=7", "k=7").replace("+ m", "+ k"),
    "it is a generator": BASE.replace("return math", "yield math"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_code(name: str) -> None:
    assert SAME[name] != BASE
    assert identity(SAME[name]) == identity(BASE)


@pytest.mark.parametrize("name", OTHER)
def test_other_code(name: str) -> None:
    assert OTHER[name] != BASE
    assert identity(OTHER[name]) != identity(BASE)


def test_what_a_try_covers_counts() -> None:
    within = "def app(a, b):\n    try:\n        a()\n        b()\n    except ValueError:\n        pass\n"
    behind = "def app(a, b):\n    try:\n        a()\n    except ValueError:\n        pass\n    b()\n"
    assert identity(within) != identity(behind)


def test_the_line_of_a_class_within_a_function_does_not_count() -> None:
    source = "def app(x):\n{}    class Within:\n        n = {}\n    return Within\n"
    assert identity(source.format("", 1)) == identity(source.format("\n\n", 1)) != identity(source.format("", 2))


def test_closure_values_count() -> None:
    def make(n):
        def app(x):
            return x + n

        return app

    assert code_identity(make(1)) == code_identity(make(1))
    assert code_identity(make(1)) != code_identity(make(2))


def test_a_function_that_is_closed_over_counts_by_its_code() -> None:
    source = "def outer():\n    def inner(x): return x + {n}\n    def app(x): return inner(x)\n    return app\n"
    one, same, other = (code_identity(module_of(source.format(n=n)).outer()) for n in (1, 1, 2))
    assert one == same != other


def test_an_app_is_what_it_decorates() -> None:
    source = "def helper(x): return x + {n}\nhelper = decorate(helper)\ndef app(x): return helper(x)\n"

    def made(n, decorate):
        module = types.ModuleType("users_module")
        module.decorate = decorate
        exec(source.format(n=n), vars(module))
        return code_identity(module.app)

    assert made(1, python_app) == made(1, python_app) != made(2, python_app)
    assert made(1, functools.lru_cache) == made(1, functools.lru_cache) != made(2, functools.lru_cache)


def test_partials_methods_and_callables_count_by_what_they_hold() -> None:
    module = module_of(BASE)
    partial = functools.partial
    assert code_identity(partial(module.app, 1)) == code_identity(partial(module.app, 1))
    assert code_identity(partial(module.app, 1)) != code_identity(partial(module.app, 2))
    other = module_of(OTHER["a method"])
    assert code_identity(module.Scale().apply) == code_identity(module.Scale().apply)
    assert code_identity(module.Scale().apply) != code_identity(other.Scale().apply)


def test_functions_that_call_each_other_come_to_an_end() -> None:
    source = "def app(n): return n and other(n - 1)\ndef other(n): return app(n) + {}\n"
    assert identity(source.format(1)) == identity(source.format(1)) != identity(source.format(2))


def test_a_long_chain_of_helpers_is_no_matter_of_the_stack() -> None:
    lines = [f"def f{i}(): return f{i + 1}()" for i in range(1500)]
    source = "\n".join([*lines, "def f1500(): return {}", "def app(): return f0()"])
    assert identity(source.format(1)) == identity(source.format(1)) != identity(source.format(2))


def test_a_module_of_the_user_counts_by_what_is_used_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def with_tools(text: str) -> bytes:
        (tmp_path / "users_tools.py").write_text(text)
        spec = importlib.util.spec_from_file_location("users_tools", tmp_path / "users_tools.py")
        tools = importlib.util.module_from_spec(spec)
        exec(compile(text, str(tmp_path / "users_tools.py"), "exec"), vars(tools))
        module = module_of("def app(x): return users_tools.double(x)")
        module.users_tools = tools
        return code_identity(module.app)

    base = with_tools("def double(x): return 2 * x\ndef unused(): return 1\n")
    assert with_tools("def double(x): return 2 * x\ndef unused(): return 2\n") == base
    assert with_tools("def double(x): return 3 * x\ndef unused(): return 1\n") != base


def test_an_installed_package_counts_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from parsl.dataflow import code_identity as module_under_test

    source = "import msgspec\ndef app(x): return msgspec.json.encode(x)\n"
    module_under_test._installed.cache_clear()
    before = identity(source)
    assert identity(source) == before
    import msgspec

    monkeypatch.setattr(msgspec, "__version__", "999")
    module_under_test._installed.cache_clear()
    assert identity(source) != before
    module_under_test._installed.cache_clear()


def test_a_version_tag_counts() -> None:
    from parsl.dataflow.memoization import memo_version

    def tagged(tag):
        return code_identity(memo_version(tag)(module_of(BASE).app))

    assert tagged("1") == tagged("1") != tagged("2")


def test_it_is_the_same_in_another_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        BASE
        + "\nNAMES = {'a', 'b', 'c'}\ndef more(x): return app(x), x in {'d', 'e', 'f'}, NAMES, Scale\n"
        + "from parsl.dataflow.code_identity import code_identity\nprint(code_identity(more).hex())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, script], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True
        ).stdout
        for seed in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 33


def test_functions_in_containers_count_by_their_code() -> None:
    source = "def f(x): return x + {}\nHOLD = {}\ndef app(x): return HOLD"
    for hold in ("[f]", "(1, f)", "{'a': f}", "{f, len}"):
        one, same, other = (identity(source.format(n, hold)) for n in (1, 1, 2))
        assert one == same != other, hold


def test_what_an_object_of_the_user_holds_counts() -> None:
    source = "class Settings:\n    pass\nSET = Settings()\nSET.me = SET\nSET.n = {}\ndef app(x): return SET.n"
    assert identity(source.format(1)) == identity(source.format(1)) != identity(source.format(2))
    source = "import types\nSET = types.SimpleNamespace(n={}, f=len)\ndef app(x): return SET.n"
    assert identity(source.format(1)) == identity(source.format(1)) != identity(source.format(2))


def test_objects_of_unknown_kinds_count_by_their_class() -> None:
    source = (
        "import threading\nclass Mine:\n    def get(self): return {}\n"
        "LOCK = threading.Lock()\nMINE = Mine()\ndef app():\n    with LOCK:\n        return MINE.get()\n"
    )
    assert identity(source.format(1)) == identity(source.format(1)) != identity(source.format(2))
