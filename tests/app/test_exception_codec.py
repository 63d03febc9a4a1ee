"""Exceptions as bytes and back: awkward classes, chains, and classes that only a script knows."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parsl.app.errors
from parsl.app.errors import UnpicklableException
from parsl.app.exception_codec import decode, encode

SRC = Path(parsl.app.errors.__file__).parents[2]


def travel(exception: BaseException) -> BaseException:
    return decode(pickle.loads(pickle.dumps(encode(exception))), UnpicklableException)


class TwoParts(Exception):
    """Its constructor does not take its own `args`, as with most that people write."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.first, self.second = first, second


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


class OddNew(ValueError):
    def __new__(cls, a: int, b: int) -> OddNew:
        return super().__new__(cls, a)

    def __init__(self, a: int, b: int) -> None:
        self.b = b


class OwnOSError(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "is not there", path)


class Both(ValueError, OSError):
    pass


class OwnReduce(Exception):
    def __init__(self, number: int, secret: object) -> None:
        super().__init__(number, secret)
        self.number = number

    def __reduce__(self) -> Any:
        return OwnReduce, (self.number, None)


class OwnState(Exception):
    def __setstate__(self, state: Any) -> None:
        self.restored = state


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


@pytest.mark.parametrize(
    "error",
    [
        TwoParts(1, 2),
        KeywordOnly(code=4),
        OddNew(1, 2),
        OwnOSError("/x"),
        Both(2, "no", "/y"),
        Frozen(7),
        SystemExit(3),
        StopIteration(5),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ImportError("no", name="numpy", path="/p"),
        SyntaxError("bad", ("f.py", 1, 2, "x ==")),
        FileNotFoundError(2, "No such file", "/z"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_awkward_classes_arrive_as_themselves(error: BaseException) -> None:
    copy = travel(error)
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    for name in ("code", "value", "errno", "filename", "lineno", "start", "name"):
        assert getattr(copy, name, None) == getattr(error, name, None)


def test_a_reduce_of_its_own_is_respected() -> None:
    copy = travel(OwnReduce(3, threading.Lock()))
    assert type(copy) is OwnReduce
    assert copy.args == (3, None)


def test_a_setstate_of_its_own_is_respected() -> None:
    error = OwnState("x")
    error.y = 1  # type: ignore[attr-defined]
    copy = travel(error)
    assert isinstance(copy, OwnState)
    assert copy.restored == {"y": 1}


def test_functions_and_local_classes_inside_travel_as_code() -> None:
    class Local:
        value = 3

    copy = travel(ValueError(lambda: 5, Local()))
    assert copy.args[0]() == 5
    assert copy.args[1].value == 3


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as e:
        return e


def test_an_exception_that_cannot_be_pickled_is_described() -> None:
    copy = travel(raised(ValueError("the text", threading.Lock())))
    assert isinstance(copy, UnpicklableException)
    assert copy.class_name == "ValueError"
    assert "the text" in copy.text
    assert "lock" in copy.reason
    assert "in raised" in copy.formatted_traceback
    assert copy.formatted_traceback.startswith("Traceback (most recent call last):")
    assert "ValueError" in str(copy)
    assert traceback.extract_tb(copy.__traceback__)[-1].name == "raised"


def explode() -> Any:
    raise RuntimeError("boom")


class FailsToLoad(Exception):
    def __reduce__(self) -> Any:
        return explode, ()


class LoadsAsText(Exception):
    def __reduce__(self) -> Any:
        return str, ("surprise",)


class RaisesInRepr(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FailsToLoad(), "boom"), (LoadsAsText(), "unpickled as a str"), (RaisesInRepr(), "lock")],
    ids=["fails to load", "loads as text", "raises in repr"],
)
def test_a_hostile_exception_is_described(error: Exception, reason: str) -> None:
    copy = travel(error)
    assert isinstance(copy, UnpicklableException)
    assert type(error).__name__ in copy.class_name
    assert reason in copy.reason
    assert type(error).__name__ in copy.text


def test_a_huge_repr_is_cut() -> None:
    assert len(encode(ValueError("x" * 1_000_000))[0].text) < 11_000


def test_causes_and_contexts_are_kept() -> None:
    try:
        try:
            {}["a"]
        except KeyError as key_error:
            raise ValueError("v") from key_error
    except ValueError:
        try:
            raise TypeError("t")
        except TypeError as e:
            copy = travel(e)
    assert type(copy) is TypeError
    assert copy.__cause__ is None
    assert copy.__suppress_context__ is False
    middle = copy.__context__
    assert type(middle) is ValueError
    assert middle.__suppress_context__ is True
    assert type(middle.__cause__) is KeyError
    assert middle.__cause__ is middle.__context__
    assert "test_causes_and_contexts_are_kept" in "".join(traceback.format_exception(copy))


def test_one_bad_link_leaves_the_others() -> None:
    bottom = raised(KeyError("bottom"))
    copy = travel(raised(ValueError("top"), raised(OSError(threading.Lock()), bottom)))
    assert type(copy) is ValueError
    assert isinstance(copy.__cause__, UnpicklableException)
    assert type(copy.__cause__.__cause__) is KeyError


def test_a_chain_of_5000_contexts() -> None:
    error = ValueError(0)
    for number in range(1, 5000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    copy: BaseException | None = travel(error)
    numbers = []
    while copy is not None:
        numbers.append(copy.args[0])
        copy = copy.__context__
    assert numbers == list(range(4999, -1, -1))


@given(st.data())
def test_any_graph_of_causes_and_contexts_is_kept(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    errors = [ValueError(i) for i in range(count)]
    pick = st.one_of(st.none(), st.sampled_from(errors))
    for error in errors:
        error.__cause__ = data.draw(pick)
        error.__context__ = data.draw(pick)
        error.__suppress_context__ = data.draw(st.booleans())
    pairs = [(errors[0], travel(errors[0]))]
    seen: dict[int, BaseException] = {}
    for original, copy in pairs:
        if id(original) in seen:
            assert seen[id(original)] is copy
            continue
        seen[id(original)] = copy
        assert copy.args == original.args
        assert copy.__suppress_context__ == original.__suppress_context__
        for name in ("__cause__", "__context__"):
            before, after = getattr(original, name), getattr(copy, name)
            assert (before is None) == (after is None)
            if before is not None:
                pairs.append((before, after))


def recurse() -> None:
    recurse()


def test_endless_recursion_arrives_with_both_ends_of_its_traceback() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        recurse()
    except RecursionError as e:
        encoded = pickle.dumps(encode(e))
    finally:
        sys.setrecursionlimit(limit)
    copy = decode(pickle.loads(encoded), UnpicklableException)
    assert type(copy) is RecursionError
    frames = traceback.extract_tb(copy.__traceback__)
    assert len(frames) == 1000
    assert frames[0].name.startswith("test_endless_recursion")
    assert frames[-1].name == "recurse"


def test_exceptions_inside_an_exception_keep_their_tracebacks() -> None:
    inner = raised(KeyError("inner"), ValueError("its cause"))
    copy = travel(raised(RuntimeError("outer", inner)))
    arrived = copy.args[1]
    assert type(arrived) is KeyError
    assert type(arrived.__cause__) is ValueError
    assert traceback.extract_tb(arrived.__traceback__)[-1].name == "raised"


def test_a_traceback_kept_as_an_attribute() -> None:
    inner = raised(KeyError("inner"))
    copy = travel(ValueError(inner.__traceback__))
    assert traceback.extract_tb(copy.args[0])[-1].name == "raised"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups and notes came with Python 3.11")
def test_exception_groups_and_notes() -> None:
    group = ExceptionGroup("g", [raised(KeyError("a")), ExceptionGroup("h", [ValueError("b")])])  # noqa: F821
    group.add_note("a note")
    copy = travel(group)
    assert type(copy) is type(group)
    assert copy.__notes__ == ["a note"]  # type: ignore[attr-defined]
    assert [type(e).__name__ for e in copy.exceptions] == ["KeyError", "ExceptionGroup"]  # type: ignore[attr-defined]
    assert traceback.extract_tb(copy.exceptions[0].__traceback__)[-1].name == "raised"  # type: ignore[attr-defined]


@given(
    st.sampled_from([Exception, ValueError, KeyError, OSError, RuntimeError, LookupError, ArithmeticError]),
    st.lists(st.one_of(st.integers(), st.text(), st.binary(), st.none()), max_size=1),
)
def test_builtin_exceptions_survive(cls: type[Exception], args: list[Any]) -> None:
    error = cls(*args)
    copy = travel(error)
    assert type(copy) is cls
    assert copy.args == error.args
    assert str(copy) == str(error)


SCRIPT = """
import pickle, sys
from parsl.app.errors import wrap_error

if sys.argv[1] != "stranger":
    class MyError(Exception):
        def __init__(self, code, *, why):
            super().__init__(code)
            self.why = why

    @wrap_error
    def fails():
        raise MyError(3, why="because")

if sys.argv[1] == "raise":
    with open(sys.argv[2], "wb") as f:
        pickle.dump(fails(), f)
else:
    with open(sys.argv[2], "rb") as f:
        wrapper = pickle.load(f)
    try:
        wrapper.reraise()
    except Exception as e:
        print(type(e).__name__, e.args, e.why, sys.argv[1] == "stranger" or type(e) is MyError)
"""


def run_script(script: Path, *args: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, str(script), *args], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("reader", ["catch", "stranger"])
def test_a_class_of_the_script_is_caught_by_the_script_and_known_to_others(tmp_path: Path, reader: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run_script(script, "raise", str(tmp_path / "e.pickle"))
    assert run_script(script, reader, str(tmp_path / "e.pickle")) == "MyError (3,) because True"


def test_a_class_of_a_module_that_is_only_there_is_described(tmp_path: Path) -> None:
    (tmp_path / "there_only.py").write_text("class Far(Exception):\n    pass\n")
    script = tmp_path / "there.py"
    script.write_text(
        "import pickle, sys, there_only\nfrom parsl.app.errors import wrap_error\n"
        "@wrap_error\ndef fails(): raise there_only.Far('away')\n"
        "open(sys.argv[1], 'wb').write(pickle.dumps(fails()))\n"
    )
    run_script(script, str(tmp_path / "e.pickle"))
    copy = pickle.loads((tmp_path / "e.pickle").read_bytes()).get_exception()
    assert isinstance(copy, UnpicklableException)
    assert copy.class_name == "there_only.Far"
    assert copy.text == "Far('away')"
    assert "there_only" in copy.reason
    assert "in fails" in copy.formatted_traceback
