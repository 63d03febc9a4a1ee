from __future__ import annotations

import functools
import importlib.util
import pickle
import sys
import types

import pytest
from hypothesis import given

from parsl.serialize import pickling
from parsl.serialize.pickling import OUT_OF_BAND_BYTES, dumps, importable, is_plain, lift
from tests.serialize.elsewhere import call_elsewhere
from tests.serialize.test_concretes import plain

BIG = bytes(range(256)) * 256


def through(value):
    """Pickle with buffers beside, and back as a worker does it: buffers of bytes or bytearrays."""
    buffers = []
    body = dumps(value, buffers)
    views = [b.raw() for b in buffers]
    return pickle.loads(body, buffers=[bytes(v) if v.readonly else bytearray(v) for v in views]), body, views


# -- plain values ------------------------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (1, True), ("a", True), (2.5, True), (None, True), (True, True), (b"x", True), (1j, True),
        (Text("a"), False), ((), False), ([], False), (len, False), (b"x" * OUT_OF_BAND_BYTES, False),
        (b"x" * (OUT_OF_BAND_BYTES - 1), True),
    ],
)  # fmt: skip
def test_is_plain(value, answer):
    assert is_plain((value,)) is answer
    assert is_plain((1, value, 2)) is answer


@given(plain)
def test_any_plain_value_survives(value):
    assert pickle.loads(dumps(value)) == value
    back, _, _ = through(value)
    assert back == value
    assert type(back) is type(value)


# -- buffers beside the pickle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "beside"),
    [
        (BIG, 1),
        ((BIG, BIG), 1),
        ((BIG, BIG[:-1]), 2),
        ([BIG, 1], 1),
        ({"a": BIG, "b": 2}, 1),
        (((BIG, 1), {"key": BIG}), 2),
        (((1, {"a": BIG}), {}), 1),
        (bytearray(BIG), 0),
        ([[BIG]], 0),
        ((b"small", BIG[:100]), 0),
        ([BIG] + [b""] * 100, 0),
    ],
)
def test_large_bytes_are_left_beside(value, beside):
    back, body, views = through(value)
    assert back == value
    assert len(views) == beside
    assert beside == 0 or len(body) < 1000


def test_nothing_is_copied_on_the_way_out_or_in():
    buffers = []
    body = dumps((BIG,), buffers)
    assert buffers[0].raw().obj is BIG
    (back,) = pickle.loads(body, buffers=[BIG])
    assert back is BIG


class Table:
    """Holds a buffer as arrays do: the pickler may put it beside the pickle."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Table, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize(("size", "beside"), [(OUT_OF_BAND_BYTES, 1), (OUT_OF_BAND_BYTES - 1, 0)])
def test_what_could_be_written_to_can_be_again(size, beside):
    back, _, views = through([Table(bytearray(size))])
    assert len(views) == beside
    back[0].data[0] = 9
    back, _, views = through([Table(bytes(size))])
    assert len(views) == beside
    with pytest.raises(TypeError):
        back[0].data[0] = 9


def test_lifting_leaves_the_callers_objects_alone():
    items, mapping = [BIG, 1], {"a": BIG}
    lift((items, mapping, b""))
    assert items == [BIG, 1]
    assert items[0] is BIG
    assert mapping["a"] is BIG


def test_an_object_that_is_there_twice_is_there_twice_again():
    shared = {"a": BIG}
    (first, second, _), _, _ = through((shared, shared, b""))
    assert first is second


class Big(bytes):
    pass


def test_subclasses_stay_what_they_are():
    value = {"a": Big(BIG), "b": BIG}
    back, _, _ = through((value, 1))
    assert type(back[0]["a"]) is Big


def test_numpy_arrays():
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.arange(20_000, dtype="f8").reshape(100, 200),
        numpy.asfortranarray(numpy.arange(20_000).reshape(100, 200)),
        numpy.arange(40_000)[::2],
        numpy.arange(3),
    ]
    back, body, views = through((arrays, {"x": arrays[0]}))
    assert len(views) == 2
    assert len(body) < 40_000 * 8 + 2000
    for array, copy in zip(arrays, back[0], strict=True):
        assert (array == copy).all()
        copy.flat[0] += 1
    assert arrays[0][0, 0] == 0
    assert back[1]["x"] is back[0][0]
    fixed = numpy.arange(20_000)
    fixed.flags.writeable = False
    copy, _, (view,) = through(fixed)
    assert view.readonly
    assert (copy == fixed).all()


# -- code --------------------------------------------------------------------------------------------------------------

MODULE = """
import functools

RATE = 3

def hide(function):
    def wrapper(*args):
        raise RuntimeError("the app was called in place of its function")
    return functools.update_wrapper(wrapper, function)

def noisy(function):
    @functools.wraps(function)
    def wrapper(*args):
        return "noise", function(*args)
    return wrapper

def scaled(x):
    return x * RATE

@hide
def hidden(x):
    return scaled(x) + 1

@hide
@noisy
def both(x):
    return x

class Tool:
    def __init__(self, value):
        self.value = value

    @hide
    def method(self, x):
        return self.value + x

def make(value):
    return Tool(value)

def factory():
    @hide
    def inner(x):
        return scaled(x)
    return inner
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that both sides can import."""
    (tmp_path / "a_module_of_ours.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    importable.cache_clear()
    yield importlib.import_module("a_module_of_ours")
    del sys.modules["a_module_of_ours"]
    importable.cache_clear()


@pytest.fixture
def by_path(tmp_path):
    """A module that was loaded by its path: nobody else finds it by its name."""
    (tmp_path / "loaded_by_path.py").write_text(MODULE)
    spec = importlib.util.spec_from_file_location("loaded_by_path", tmp_path / "loaded_by_path.py")
    module = sys.modules["loaded_by_path"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["loaded_by_path"]
    import cloudpickle

    if "loaded_by_path" in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(module)
    pickling._pickle_by_value.cache_clear()
    importable.cache_clear()


def test_functions_and_classes_of_importable_modules_go_by_reference(module):
    for thing in (module.scaled, module.Tool, module.hidden.__wrapped__, module.Tool.method.__wrapped__):
        body = dumps(thing)
        assert len(body) < 150
        assert pickle.loads(body) is thing


def test_a_decorated_function_is_found_below_its_decorator(module, tmp_path):
    assert call_elsewhere(module.hidden.__wrapped__, 5, path=[tmp_path]) == 16
    assert call_elsewhere(module.both.__wrapped__, 5, path=[tmp_path]) == ("noise", 5)
    assert call_elsewhere(module.both.__wrapped__.__wrapped__, 5, path=[tmp_path]) == 5
    assert call_elsewhere(module.Tool.method.__wrapped__, module.Tool(4), 5, path=[tmp_path]) == 9
    assert call_elsewhere(module.factory().__wrapped__, 5, path=[tmp_path]) == 15


def test_code_of_a_module_that_was_loaded_by_path_goes_along(by_path):
    assert call_elsewhere(by_path.scaled, 5) == 15
    assert call_elsewhere(by_path.hidden.__wrapped__, 5) == 16
    tool = call_elsewhere(by_path.make, 7)
    assert type(tool) is by_path.Tool
    assert tool.value == 7


def test_a_module_of_a_package_that_was_loaded_by_path_goes_along(tmp_path):
    folder = tmp_path / "a_package_by_path"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inner.py").write_text("RATE = 2\n\ndef f(x):\n    return x * RATE\n")
    spec = importlib.util.spec_from_file_location("a_package_by_path", folder / "__init__.py")
    package = sys.modules["a_package_by_path"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    try:
        inner = importlib.import_module("a_package_by_path.inner")
        assert call_elsewhere(inner.f, 4) == 8
    finally:
        import cloudpickle

        cloudpickle.unregister_pickle_by_value(inner)
        del sys.modules["a_package_by_path.inner"], sys.modules["a_package_by_path"]
        pickling._pickle_by_value.cache_clear()
        importable.cache_clear()


def test_code_of_a_module_that_is_no_file_goes_along(monkeypatch):
    made = types.ModuleType("made_by_hand")
    exec(MODULE, made.__dict__)
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    importable.cache_clear()
    try:
        assert call_elsewhere(made.scaled, 5) == 15
    finally:
        import cloudpickle

        cloudpickle.unregister_pickle_by_value(made)
        pickling._pickle_by_value.cache_clear()
        importable.cache_clear()


@pytest.mark.parametrize(
    ("name", "answer"),
    [("json", True), ("os.path", True), ("builtins", True), ("sys", True), ("zipimport", True), ("parsl.errors", True),
     ("no_such_module", False)],
)  # fmt: skip
def test_importable(name, answer):
    importable.cache_clear()
    assert importable(name) is answer


def test_importable_is_about_the_very_module(module, tmp_path, monkeypatch):
    assert importable("a_module_of_ours")
    other = tmp_path / "first"
    other.mkdir()
    (other / "a_module_of_ours.py").write_text("")
    monkeypatch.syspath_prepend(other)
    importable.cache_clear()
    assert not importable("a_module_of_ours")


def test_modules_of_packages(tmp_path, monkeypatch):
    package = tmp_path / "a_package_of_ours"
    (package / "spaces").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def f(x): return x + 1\n")
    (package / "spaces" / "deep.py").write_text("def f(x): return x + 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    importable.cache_clear()
    try:
        inner = importlib.import_module("a_package_of_ours.inner")
        deep = importlib.import_module("a_package_of_ours.spaces.deep")
        assert importable("a_package_of_ours.inner")
        assert importable("a_package_of_ours.spaces.deep")
        assert call_elsewhere(inner.f, 1, path=[tmp_path]) == 2
        assert call_elsewhere(deep.f, 1, path=[tmp_path]) == 3
    finally:
        for name in [n for n in sys.modules if n.startswith("a_package_of_ours")]:
            del sys.modules[name]
        importable.cache_clear()


def test_the_module_of_a_partial_is_no_matter(module):
    assert pickle.loads(dumps(functools.partial(module.scaled, 2)))() == 6
