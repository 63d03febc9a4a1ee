"""Which values count as the same."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import pickle
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.data_provider.files import File
from parsl.dataflow.memo_ids import id_for_memo


class Colour(enum.Enum):
    red = 1
    green = 2


class Shade(enum.Enum):
    red = 1


class Number(enum.IntEnum):
    one = 1


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass
class Place:
    x: int
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - as users have them
Twins = namedtuple("Twins", "a b")  # noqa: PYI024


def function() -> None: ...


def other() -> None: ...


# All of these differ from one another.
DIFFERENT = [
    0, 1, -1, 1.0, True, False, 1j, "1", b"1", "", b"", None, 2**70, float("inf"), "\ud800", "a", "b",
    bytearray(b"1"), memoryview(b"2"), (), [], {}, set(), frozenset(), (1,), [1], [[1]], [(1,)], [1, 2], [2, 1],
    ["12"], ["1", "2"], {"a": 1}, {"a": 2}, {"b": 1}, {1: "a"}, {"a": {"b": 1}}, {1}, {1, 2}, frozenset({1}),
    range(1), range(2), slice(1), slice(1, 2),
    Colour.red, Colour.green, Shade.red, Point(1), Point(2), Point(1, [2]), Place(1), Slotted(1),
    Pair(1, 2), Twins(1, 2), (1, 2), function, other, int, str, Point, len,
    pathlib.Path("a"), pathlib.Path("b"), File("a"), File("b"), File("https://a/b"),
    datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.timedelta(1), datetime.time(1), uuid.UUID(int=1), decimal.Decimal("1.0"), decimal.Decimal("1.00"),
    fractions.Fraction(1, 2),
]  # fmt: skip


def test_different_values_differ() -> None:
    ids = [id_for_memo(value) for value in DIFFERENT]
    assert all(type(i) is bytes for i in ids)
    same = [(a, b) for n, a in enumerate(DIFFERENT) for m, b in enumerate(DIFFERENT[:n]) if ids[n] == ids[m]]
    assert same == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: ["ab", "ab"],
        lambda: {"a": 1, "b": {2, 3}},
        lambda: {*map(str, range(100))},
        lambda: Point(1, {"a": Colour.red}),
        lambda: Pair(1, [2]),
        lambda: pathlib.Path("a/b"),
        lambda: (1, (2.5, (None, b"x"))),
        lambda: File("data/a"),
    ],
)
def test_equal_values_made_anew_are_the_same(make: Any) -> None:
    assert id_for_memo(make()) == id_for_memo(make())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_only_equal_values_of_equal_types_are_the_same(one: Any, two: Any) -> None:
    def exact(value: Any) -> str:
        return repr(sorted(value.items()) if isinstance(value, dict) else value)

    assert id_for_memo(one) == id_for_memo(pickle.loads(pickle.dumps(one)))
    if exact(one) != exact(two) and one != two:
        assert id_for_memo(one) != id_for_memo(two)


def test_one_object_twice_is_like_two_equal_objects() -> None:
    one, two = str(12345), str(12345)
    assert one is not two
    assert id_for_memo([one, one]) == id_for_memo([one, two])


def test_the_order_of_a_dict_and_a_set_does_not_count() -> None:
    assert id_for_memo({"a": 1, "b": 2}) == id_for_memo({"b": 2, "a": 1})
    script = "from parsl.dataflow.memo_ids import id_for_memo as i; print(i({*'abcdef'}), i(({'x', 'y'},)))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


class Mine:
    pass


class MyDict(dict):  # type: ignore[type-arg]
    pass


UNKNOWN = [Mine(), [Mine()], {"a": Mine()}, MyDict(), OrderedDict(), object(), Point(1, Mine())]


@pytest.mark.parametrize("value", UNKNOWN)
def test_unknown_types_are_refused_with_a_way_out(value: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown type for memoization: .*regist"):
        id_for_memo(value)


def test_a_type_can_be_taught() -> None:
    class Taught:
        def __init__(self, n: int) -> None:
            self.n = n

    @id_for_memo.register(Taught)
    def _(obj: Taught, output_ref: bool = False) -> bytes:
        return b"%d %d" % (obj.n, output_ref)

    assert id_for_memo(Taught(1)) == b"1 0"
    assert id_for_memo(Taught(1), output_ref=True) == b"1 1"
    assert id_for_memo([Taught(1)]) != id_for_memo([Taught(2)])


def test_a_file_counts_by_its_content_when_it_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "data"
    file = File(str(path))
    missing = id_for_memo(file)
    path.write_text("one")
    one, as_output = id_for_memo(file), id_for_memo(file, output_ref=True)
    path.write_text("two")
    assert len({missing, one, id_for_memo(file)}) == 3
    assert as_output == id_for_memo(file, output_ref=True)
    remote = File("https://example.org/data")
    unfetched = id_for_memo(remote)
    remote.local_path = str(path)
    assert id_for_memo(remote) == unfetched
    path.write_text("one")
    assert id_for_memo([File(str(path))]) == id_for_memo([file])


def test_arrays_count_by_content() -> None:
    np = pytest.importorskip("numpy")
    a = np.arange(12).reshape(3, 4)
    same = [a, a.copy(), np.asfortranarray(a), np.arange(24)[::2].reshape(3, 4) // 2]
    assert len({id_for_memo(x) for x in same}) == 1
    different = [a, a + 1, a.T, a.reshape(4, 3), a.astype("f8"), a.astype(">i8"), a[:, :2]]
    different += [np.array(1), np.int64(1), 1]
    different += [np.float64(1), np.array(["a"]), np.array(["a"], object), np.array([1, 2])]
    different += [np.array([("a", 1)], [("x", "U1"), (name, "i4")]) for name in "yz"]
    masked = [np.ma.masked_array([1, 2], mask) for mask in ([0, 0], [0, 1])] + [np.ma.masked_array([3, 2], [0, 1])]
    assert id_for_memo(masked[1]) == id_for_memo(np.ma.masked_array([1, 5], [0, 1]))
    different += masked
    assert len({id_for_memo(x) for x in different}) == len(different)

    class WithUnit(np.ndarray):
        unit = "m"

    with pytest.raises(ValueError, match="WithUnit, which builds on numpy"):
        id_for_memo(a.view(WithUnit))


def test_frames_count_by_content() -> None:
    pd = pytest.importorskip("pandas")
    make = lambda **columns: pd.DataFrame(columns)
    assert id_for_memo(make(a=[1, 2], b=["x", None])) == id_for_memo(make(a=[1, 2], b=["x", None]))
    frame = make(a=[1, 2], b=[3, 4])
    different = [frame, frame + 1, frame[["b", "a"]], frame.rename(columns={"a": "c"}), frame.astype("f8")]
    different += [frame.set_index("a"), frame.iloc[::-1], frame.a, frame.b, frame.a.rename("z"), frame.index]
    different += [frame.columns, make(t=pd.to_datetime(["2020-01-01"])), make(t=pd.Categorical(["x"])), make(t=["x"])]
    different += [pd.Index([1, 2])]
    assert len({id_for_memo(x) for x in different}) == len(different)


def test_nothing_is_imported_for_it() -> None:
    script = (
        "import sys; from parsl.dataflow.memo_ids import id_for_memo; id_for_memo([1]);"
        "print([m for m in ('numpy', 'pandas', 'decimal', 'fractions', 'uuid', 'parsl.data_provider.files')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
