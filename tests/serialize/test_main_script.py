"""Code of `__main__`: what a script defines itself works elsewhere, and comes back as the script's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.serialize.elsewhere import SOURCE

SCRIPT = """
import collections, dataclasses, enum, functools, json, sys, typing
from tests.serialize.elsewhere import call_elsewhere

FACTOR = 10

def other(x):
    return x * FACTOR

def uses_globals(x):
    return other(x) + 1

def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)

def closure(offset):
    def inner(x):
        return uses_globals(x) + offset
    return inner

def generator_function(n):
    yield from range(n)

async def coroutine(x):
    return x + 1

class Base:
    def __init__(self, value):
        self.value = value

class Derived(Base):
    def __init__(self, value):
        super().__init__(value)
        self.twice = value * 2
    @property
    def both(self):
        return self.value, self.twice

@dataclasses.dataclass
class Point:
    x: int
    y: int = 2

class Colour(enum.Enum):
    RED = 1

Pair = collections.namedtuple("Pair", "a b")

class Typed(typing.NamedTuple):
    a: int

class Trouble(Exception):
    pass

def same(x):
    return x

def run_coroutine(x):
    import asyncio
    return asyncio.run(coroutine(x))

CHECKS = {
    "a function with globals": lambda: call_elsewhere(uses_globals, 2) == 21,
    "a recursive function": lambda: call_elsewhere(recursive, 5) == 120,
    "a lambda": lambda: call_elsewhere(lambda x: x + FACTOR, 1) == 11,
    "a closure": lambda: call_elsewhere(closure(3), 2) == 24,
    "a partial": lambda: call_elsewhere(functools.partial(uses_globals, 2)) == 21,
    "a bound method": lambda: call_elsewhere(Derived(3).__class__.both.fget, Derived(3)) == (3, 6),
    "a function as argument": lambda: call_elsewhere(lambda f, xs: [f(x) for x in xs], other, [1, 2]) == [10, 20],
    "a generator function": lambda: call_elsewhere(lambda: list(generator_function(3))) == [0, 1, 2],
    "a coroutine function": lambda: call_elsewhere(run_coroutine, 1) == 2,
    "an instance": lambda: type(call_elsewhere(same, Derived(3))) is Derived,
    "an instance made there": lambda: type(call_elsewhere(Derived, 3)) is Derived,
    "isinstance there": lambda: call_elsewhere(lambda d: isinstance(d, Base), Derived(3)) is True,
    "a class": lambda: call_elsewhere(lambda: Derived) is Derived,
    "a dataclass": lambda: call_elsewhere(Point, 1) == Point(1, 2),
    "an enum member": lambda: call_elsewhere(same, Colour.RED) is Colour.RED,
    "a namedtuple": lambda: type(call_elsewhere(same, Pair(1, 2))) is Pair,
    "a typed namedtuple": lambda: type(call_elsewhere(lambda: Typed(1))) is Typed,
    "an exception": lambda: type(call_elsewhere(same, Trouble("x"))) is Trouble,
}
if __name__ == "__main__":
    found = {}
    for name, check in CHECKS.items():
        try:
            found[name] = check()
        except Exception as e:
            found[name] = repr(e)
    json.dump(found, sys.stdout)
"""

NAMES = [line.split('"')[1] for line in SCRIPT.splitlines() if line.startswith('    "')]


@pytest.fixture(scope="module")
def script_results(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, root])}
    done = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_code_of_the_script(script_results, name):
    assert script_results[name] is True
