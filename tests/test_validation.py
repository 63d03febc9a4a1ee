# ruff: noqa: F401, UP006, UP045 - names are used in annotations that are text, and old spellings are tested too
from __future__ import annotations

import collections
import collections.abc
import concurrent.futures
import io
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NewType,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
    runtime_checkable,
)

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.type_checks import compile_check
from parsl.validation import check_types

if TYPE_CHECKING:
    from somewhere_else import Elsewhere  # type: ignore[import-not-found]

T = TypeVar("T")
UserId = NewType("UserId", int)


class Base: ...


class Derived(Base): ...


class Open(Protocol):
    def close(self) -> None: ...


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None: ...


class Movie(TypedDict):
    year: int


def fits(annotation: object, value: object) -> bool:
    check = compile_check(annotation, globals())
    return check is None or check(value)


# annotation, values that fit, values that don't
TABLE: list[tuple[Any, list[object], list[object]]] = [
    ("int", [1, True, -5], ["1", 1.0, None]),
    ("float", [1.5, 1, True], ["1.5", None, 1j]),
    ("complex", [1j, 1.5, 1], ["1"]),
    ("bool", [True], [1, 0, None]),
    ("str", ["", "a"], [b"a", 1, None]),
    ("bytes", [b""], ["", bytearray()]),
    ("None", [None], [0, False]),
    ("Any", [None, 1, object()], []),
    ("object", [None, 1, object()], []),
    ("Base", [Base(), Derived()], [object(), Base, None]),
    ("Derived", [Derived()], [Base()]),
    ("int | None", [1, None], ["", 1.5]),
    ("float | None", [1, 1.5, None], [""]),
    ("Optional[int]", [1, None], ["", 1.5]),
    ("Union[int, str, None]", [1, "", None], [1.5, b""]),
    ("str | Sequence[str]", ["a", ["a"], ("a", "b")], [1, [1], None]),
    ("int | Any", [1, "x"], []),
    ("Optional['Base']", [Base(), None], [1]),
    ("list['Base']", [[Base()], []], [[1]]),
    ("Literal['a', 'b', 3]", ["a", "b", 3], ["c", 3.0, None]),
    ("Literal[0, 1]", [0, 1], [True, False, "0"]),
    ("Literal['a'] | None", ["a", None], ["b"]),
    ("list", [[], [1]], [(), "ab", None]),
    ("list[int]", [[], [1, 2]], [[1, "2"], (1,), "12"]),
    ("typing.List[int]", [[], [1, 2]], [[1, "2"], (1,), "12"]),
    ("typing.List", [[], ["x"]], [(), "ab"]),
    ("list[list[int]]", [[[1], []]], [[1], [["x"]]]),
    ("list[T]", [[1, "x"]], [(1,)]),
    ("set[str]", [set(), {"a"}], [{1}, ["a"], frozenset()]),
    ("frozenset[int]", [frozenset([1])], [{1}, frozenset("a")]),
    ("collections.deque[int]", [collections.deque([1])], [collections.deque("a"), [1]]),
    ("Sequence", [[1], (1,), b"ab", range(3)], ["ab", {1}, 1]),
    ("Sequence[str]", [["a"], ("a",), []], ["ab", b"ab", [1], {"a"}, None]),
    ("Sequence[int]", [[1], range(3), b"ab"], ["12", ["1"]]),
    ("Sequence[float]", [[1, 1.5]], [["1"]]),
    ("Sequence[Any]", [[object()]], ["ab"]),
    ("typing.Sequence[str]", [["a"]], ["ab", [1]]),
    ("typing.Sequence", [["a"]], ["ab", 1]),
    ("Iterable[int]", [[1], {1}, {1: 2}, iter([1]), iter("not looked at")], [["1"], "12", 12]),
    ("Iterable", [[1], iter(())], ["ab", 1]),
    ("collections.abc.Collection[int]", [{1}, [1]], [iter([1]), ["a"]]),
    ("collections.abc.Set[int]", [{1}, frozenset([1]), {1: 2}.keys()], [[1], {"a"}]),
    ("tuple", [(), (1,)], [[], "ab"]),
    ("tuple[int, ...]", [(), (1, 2)], [(1, "2"), [1]]),
    ("tuple[int, str]", [(1, "a")], [(1,), (1, "a", 2), ("a", 1), [1, "a"]]),
    ("tuple[Any, int]", [("x", 1)], [(1, "x")]),
    ("tuple[()]", [()], [(1,)]),
    ("typing.Tuple", [(), (1,)], [[]]),
    ("typing.Tuple[int, str]", [(1, "a")], [(1,)]),
    ("dict", [{}, {1: 2}], [[], None]),
    ("dict[str, int]", [{}, {"a": 1}], [{1: 1}, {"a": "b"}, [("a", 1)]]),
    ("typing.Dict[str, Any]", [{"a": object()}], [{1: 1}]),
    ("typing.Dict", [{1: 2}], [[]]),
    ("Mapping[str, Sequence[int]]", [{"a": [1]}, collections.OrderedDict(a=(1,))], [{"a": ["1"]}, {"a": "1"}]),
    ("collections.defaultdict[str, int]", [collections.defaultdict(int, a=1)], [{"a": 1}]),
    ("Callable", [len, Base, lambda: None], [1, None, "len"]),
    ("Callable[[int], str]", [len, Base, lambda: None], [1, None, "len"]),
    ("typing.Callable[..., None] | None", [len, None], [1]),
    ("type", [int, Base], [1, Base()]),
    ("type[Base]", [Base, Derived], [Base(), int, 1, None]),
    ("typing.Type[Base]", [Base, Derived], [Base(), int]),
    ("typing.Type", [Base, int], [1]),
    ("type[Any]", [int], [1]),
    ("type[T]", [int], [1]),
    ("type[Base | int]", [Derived, bool, int], [str, 1]),
    ("Open", [1, None, io.StringIO()], []),
    ("Closable", [io.StringIO()], [1, None]),
    ("Closable | str", [io.StringIO(), ""], [1]),
    ("T", [1, None], []),
    ("UserId", [1], ["1"]),
    ("Annotated[int, 'positive']", [1], ["1"]),
    ("Annotated[Optional[list[int]], 'x']", [None, [1]], [["1"]]),
    ("Movie", [{"year": 1}], [1, []]),
    ("os.PathLike[str]", [pathlib.Path()], ["a", b"a"]),
    ("str | os.PathLike[str]", [pathlib.Path(), "a"], [b"a", 1]),
    ("concurrent.futures.Future[int]", [concurrent.futures.Future()], [1]),
    ("typing.IO[str]", [io.StringIO(), 1], []),  # nothing is said: files don't derive from typing.IO
    ("typing.TextIO", [io.StringIO(), 1], []),
    ("Elsewhere", [1, None], []),  # a name for type checkers only
    ("Elsewhere | None", [1, None], []),
    ("Sequence[Elsewhere] | None", [[1], None, ()], [1, "ab"]),
    ("Elsewhere[int]", [1, None], []),
    ("Elsewhere.Inner", [1], []),
    ("not valid", [1], []),
    ("io.NoSuchThing", [1], []),
    (int, [1], ["1"]),
    (Optional[int], [1, None], ["1"]),
    (Union[int, "Base"], [1, Base()], ["1"]),
    (None, [None], [1]),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), TABLE, ids=[str(row[0]) for row in TABLE])
def test_table(annotation: object, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert fits(annotation, value), f"{value!r} should fit {annotation}"
    for value in bad:
        assert not fits(annotation, value), f"{value!r} should not fit {annotation}"


def test_an_iterator_is_not_used_up() -> None:
    numbers = iter([1, 2, 3])
    assert fits("Iterable[str]", numbers)
    assert list(numbers) == [1, 2, 3]


def test_a_literal_never_asks_a_strange_object_for_equality() -> None:
    class Frame:
        def __eq__(self, other: object) -> bool:
            raise ValueError("truth value is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    assert not fits("Literal['a', 'b'] | int", Frame())


@pytest.mark.skipif(not hasattr(typing, "TypeAliasType"), reason="Python 3.12 and later")
def test_type_aliases() -> None:
    names: dict[str, Any] = {}
    exec("type Json = None | int | list[Json]\ntype Number = int | float", names)  # syntax of 3.12
    check = compile_check(names["Json"], {})
    assert check is not None
    assert check([1])
    assert not check("text")
    number = compile_check("Number | None", names)
    assert number is not None
    assert number(1.5)
    assert not number("1")


# One strategy for types with values that fit, made together.
SCALARS = st.sampled_from(
    [("int", st.integers()), ("str", st.text("ab", max_size=3)), ("bytes", st.binary(max_size=3)), ("None", st.none())]
)


def containers(inner: st.SearchStrategy[tuple[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda pair: (f"list[{pair[0]}]", st.lists(pair[1], max_size=3))),
        inner.map(lambda pair: (f"Sequence[{pair[0]}]", st.lists(pair[1], max_size=3).map(tuple))),
        inner.map(lambda pair: (f"dict[str, {pair[0]}]", st.dictionaries(st.sampled_from("abc"), pair[1], max_size=3))),
        inner.map(lambda pair: (f"tuple[int, {pair[0]}]", st.tuples(st.integers(), pair[1]))),
        st.tuples(inner, inner).map(lambda two: (f"Union[{two[0][0]}, {two[1][0]}]", two[0][1] | two[1][1])),
    )


TYPES = st.recursive(SCALARS, containers, max_leaves=5)


@settings(deadline=None)
@given(st.data())
def test_values_made_for_a_type_fit_it(data: st.DataObject) -> None:
    annotation, values = data.draw(TYPES)
    assert fits(annotation, data.draw(values))


@settings(deadline=None)
@given(st.data())
def test_a_stranger_inside_a_container_is_found(data: st.DataObject) -> None:
    annotation, values = data.draw(TYPES)
    items = data.draw(st.lists(values, max_size=3))
    place = data.draw(st.integers(0, len(items)))
    assert not fits(f"list[{annotation}]", [*items[:place], object(), *items[place:]])


class Engine:
    """Runs things."""

    @check_types
    def __init__(
        self, label: str = "engine", retries: int = 0, *, ratio: float = 1.0, hook: Callable[[], None] | None = None,
        paths: Sequence[str] = (), mode: Literal["fast", "slow"] = "fast", owner: Elsewhere | None = None, plain=None,
    ) -> None:  # fmt: skip
        """Build it."""
        self.label, self.retries, self.ratio, self.hook = label, retries, ratio, hook
        self.paths, self.mode, self.owner, self.plain = paths, mode, owner, plain


class SmallEngine(Engine):
    def __init__(self, label: str) -> None:
        super().__init__(label, retries=3)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1,), {}, "Engine: parameter 'label' takes str, but got int: 1"),
        (("a", "three"), {}, "Engine: parameter 'retries' takes int, but got str: 'three'"),
        ((), {"retries": None}, "Engine: parameter 'retries' takes int, but got NoneType: None"),
        ((), {"ratio": "x"}, "Engine: parameter 'ratio' takes float, but got str: 'x'"),
        ((), {"hook": 3}, "Engine: parameter 'hook' takes Callable[[], None] | None, but got int: 3"),
        ((), {"paths": "abc"}, "Engine: parameter 'paths' takes Sequence[str], but got str: 'abc'"),
        ((), {"paths": ["a", 2]}, "Engine: parameter 'paths' takes Sequence[str], but got list: ['a', 2]"),
        ((), {"mode": "medium"}, "Engine: parameter 'mode' takes Literal['fast', 'slow'], but got str: 'medium'"),
    ],
)
def test_messages(args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        Engine(*args, **kwargs)
    assert str(caught.value) == message


def test_what_is_right_passes() -> None:
    engine = Engine("x", True, ratio=2, hook=lambda: None, paths=["a"], mode="slow", owner=object(), plain=object())
    assert (engine.label, engine.retries, engine.ratio, engine.paths) == ("x", True, 2, ["a"])
    assert Engine().paths == ()


def test_a_subclass_is_named_by_its_own_name() -> None:
    assert SmallEngine("s").retries == 3
    with pytest.raises(TypeError, match=r"^SmallEngine: parameter 'label' takes str"):
        SmallEngine(5)  # type: ignore[arg-type]


def test_signature_name_and_docstring_stay() -> None:
    import inspect

    parameters = inspect.signature(Engine).parameters
    assert list(parameters) == ["label", "retries", "ratio", "hook", "paths", "mode", "owner", "plain"]
    assert parameters["retries"].default == 0
    assert Engine.__init__.__doc__ == "Build it."
    assert Engine.__init__.__name__ == "__init__"


def test_wrong_calls_stay_the_functions_own_errors() -> None:
    with pytest.raises(TypeError, match=r"__init__\(\) got an unexpected keyword argument 'wrong'"):
        Engine(wrong=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"takes from 1 to 3 positional arguments but 4 were given"):
        Engine("a", 1, 2)  # type: ignore[misc]


@check_types
def gather(first: int, /, second: int = 0, *rest: str, flag: bool = False, **options: float) -> list[object]:
    """Collect."""
    if flag:
        raise TypeError("from inside")
    return [first, second, rest, options]


def test_plain_functions_with_every_kind_of_parameter() -> None:
    assert gather(1, 2, "a", "b", x=1, y=2.5) == [1, 2, ("a", "b"), {"x": 1, "y": 2.5}]
    assert gather(1, first=5) == [1, 0, (), {"first": 5}]  # a positional-only name is free for **options
    with pytest.raises(TypeError, match=r"^gather: parameter 'first' takes int, but got str: 'x'$"):
        gather("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^gather: parameter '\*rest\[1\]' takes str, but got int: 3$"):
        gather(1, 2, "a", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^gather: parameter 'x' takes float, but got str: 'a'$"):
        gather(1, x="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^gather: parameter 'first' takes float, but got str: 'a'$"):
        gather(1, first="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^from inside$"):
        gather(1, flag=True)


def test_a_return_annotation_is_not_an_argument() -> None:
    @check_types
    def loose(**options: int) -> str:
        return repr(options)

    assert loose(**{"return": 3}) == "{'return': 3}"
    with pytest.raises(TypeError, match="'return' takes int"):
        loose(**{"return": "x"})  # type: ignore[arg-type]


def test_annotations_are_read_at_the_first_call() -> None:
    namespace: dict[str, Any] = {"check_types": check_types}
    exec("@check_types\ndef late(x: Later): return x", namespace)
    namespace["Later"] = int
    assert namespace["late"](1) == 1
    with pytest.raises(TypeError, match="parameter 'x' takes Later, but got str"):
        namespace["late"]("a")


def test_the_value_is_shown_short_and_on_one_line() -> None:
    class Talkative:
        def __repr__(self) -> str:
            return "line\n" * 1000

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in ("x" * 10_000, list(range(10_000)), Talkative(), Broken()):
        with pytest.raises(TypeError) as caught:
            Engine(retries=value)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 250
        assert "\n" not in str(caught.value)


def test_dataclass_constructors_and_decorated_functions() -> None:
    @dataclass
    class Point:
        x: int

    checked = check_types(check_types(Point.__init__))
    with pytest.raises(TypeError, match=r"^Point: parameter 'x' takes int"):
        checked(Point.__new__(Point), "1")


def test_real_types_as_annotations_are_shown_readably() -> None:
    def real(a, b, c):
        return a, b, c

    real.__annotations__ = {"a": int, "b": typing.Optional[typing.List[int]], "c": "list[int]"}
    checked = check_types(real)
    for given_values, shown in (((None, 1, 1), "int"), ((1, 1, 1), r"(Optional\[List\[int\]\]|List\[int\] \| None)"),
                                ((1, None, 1), r"list\[int\]")):  # fmt: skip
        with pytest.raises(TypeError, match=f"takes {shown}, but got"):
            checked(*given_values)


def test_thirty_parameters_cost_little() -> None:
    names = [f"p{number}" for number in range(30)]
    kinds = ["int", "str | None", "float", "Sequence[str]", "Literal['a', 'b']", "Callable[..., int] | None"]
    values = [1, "x", 2.5, ["a", "b"], "a", len]
    head = ", ".join(f"{name}: {kinds[number % 6]!r} = None" for number, name in enumerate(names))
    namespace: dict[str, Any] = dict(globals())
    exec(f"def many({head}): pass", namespace)
    arguments = {name: values[number % 6] for number, name in enumerate(names)}
    checked = check_types(namespace["many"])
    checked(**arguments)
    best = min(timed(checked, arguments) for _ in range(200))
    assert best < 20e-6 * 3, f"{best * 1e6:.1f} us"  # three times the aim, for a machine under load


def timed(function: Callable[..., object], arguments: dict[str, Any]) -> float:
    begin = perf_counter()
    function(**arguments)
    return perf_counter() - begin
