"""Futures found in arguments, and replaced."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.dataflow.dependency_resolvers import (
    DEEP_DEPENDENCY_RESOLVER,
    SHALLOW_DEPENDENCY_RESOLVER,
    DependencyResolver,
    deep_traverse_to_gather,
    deep_traverse_to_unwrap,
    shallow_traverse_to_gather,
    shallow_traverse_to_unwrap,
)

Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is what is tested


class Typed(NamedTuple):
    left: Any
    right: Any = 0


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def reference(o: Any) -> Any:
    """The same by plain recursion."""
    if isinstance(o, Future):
        return o.result()
    if type(o) in (list, tuple, set, frozenset):
        return type(o)(reference(i) for i in o)
    if isinstance(o, Point):
        return Point(*map(reference, o))
    if type(o) in (dict, OrderedDict):
        return type(o)((reference(k), reference(v)) for k, v in o.items())
    return o


def futures_in(o: Any) -> list[Future[Any]]:
    if isinstance(o, Future):
        return [o]
    if isinstance(o, dict):
        return [f for k, v in o.items() for f in (*futures_in(k), *futures_in(v))]
    if isinstance(o, (list, tuple, set, frozenset)):
        return [f for i in o for f in futures_in(i)]
    return []


leaves = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.builds(object))
hashable_futures = st.integers().map(done)
hashables = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), hashable_futures),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.tuples(inner, inner).map(lambda t: Point(*t)),
    ),
    max_leaves=6,
)
nested = st.recursive(
    st.one_of(leaves, hashable_futures, hashables),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashables, max_size=3),
        st.dictionaries(hashables, inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3).map(OrderedDict),
        st.tuples(inner, inner).map(lambda t: Point(*t)),
    ),
    max_leaves=20,
)


def same_types(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return all(same_types(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    if isinstance(a, (list, tuple)):
        return all(same_types(x, y) for x, y in zip(a, b, strict=True))
    return True


@given(nested)
def test_deep_does_what_plain_recursion_does(o: Any) -> None:
    expected = futures_in(o)
    gathered = deep_traverse_to_gather(o)
    assert [id(f) for f in gathered] == list(dict.fromkeys(id(f) for f in expected))
    result = deep_traverse_to_unwrap(o)
    assert result == reference(o)
    assert same_types(result, reference(o))
    assert not futures_in(result)
    if not expected:
        assert result is o


def test_futures_everywhere() -> None:
    result = deep_traverse_to_unwrap({done("k"): [1, (done(2), {done(3)}, frozenset({done(4)}))], "x": {"y": done(5)}})
    assert result == {"k": [1, (2, {3}, frozenset({4}))], "x": {"y": 5}}


@pytest.mark.parametrize(
    "o",
    [3, "text", None, [1, 2], (1, [2, {3: {4}}]), {"a": [1]}, object(), [object()], set(), Point(1, [2]), ...],
    ids=repr,
)
def test_what_holds_no_future_is_passed_as_it_is(o: Any) -> None:
    assert list(deep_traverse_to_gather(o)) == []
    assert deep_traverse_to_unwrap(o) is o


def test_parts_without_futures_are_the_very_objects() -> None:
    untouched = [1, {"a": [2]}]
    result: Any = deep_traverse_to_unwrap([untouched, (done(1),), untouched])
    assert result[0] is untouched
    assert result[2] is untouched


def test_the_callers_containers_are_not_changed() -> None:
    future = done(1)
    inner = [future]
    outer = {"a": inner}
    assert deep_traverse_to_unwrap(outer) == {"a": [1]}
    assert outer == {"a": inner}
    assert inner == [future]


def test_an_object_that_appears_twice_stays_one_object() -> None:
    shared = [done(1)]
    result: Any = deep_traverse_to_unwrap([shared, {"again": shared}])
    assert result[0] is result[1]["again"]
    assert result == [[1], {"again": [1]}]


def test_named_tuples_keep_their_class() -> None:
    point: Any = deep_traverse_to_unwrap(Point(done(1), [done(2)]))
    assert (type(point), point) == (Point, Point(1, [2]))
    typed: Any = deep_traverse_to_unwrap(Typed(left={done(1)}))
    assert (type(typed), typed.left) == (Typed, {1})


def test_default_and_ordered_dicts_keep_their_class_and_order() -> None:
    d: defaultdict[str, Any] = defaultdict(list, a=done(1))
    result: Any = deep_traverse_to_unwrap(d)
    assert type(result) is defaultdict
    assert result.default_factory is list
    assert result == {"a": 1}
    ordered: Any = deep_traverse_to_unwrap(OrderedDict([("b", done(1)), ("a", 2)]))
    assert type(ordered) is OrderedDict
    assert list(ordered.items()) == [("b", 1), ("a", 2)]


def test_other_classes_are_left_alone() -> None:
    class MyList(list[Any]):
        pass

    class MyTuple(tuple[Any, ...]):
        __slots__ = ()

    for o in (MyList([done(1)]), MyTuple([done(1)]), deque([done(1)])):
        assert list(deep_traverse_to_gather(o)) == []
        assert deep_traverse_to_unwrap(o) is o
        assert deep_traverse_to_unwrap([o])[0] is o  # type: ignore[index]


def test_an_argument_whose_eq_and_bool_raise() -> None:
    class Frame:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    frame = Frame()
    assert deep_traverse_to_unwrap([frame, done(1)])[0] is frame  # type: ignore[index]
    assert list(deep_traverse_to_gather(frame)) == []


def test_containers_that_hold_themselves() -> None:
    plain: list[Any] = [1]
    plain.append(plain)
    assert list(deep_traverse_to_gather(plain)) == []
    assert deep_traverse_to_unwrap(plain) is plain

    future = done(1)
    table: dict[str, Any] = {"f": future}
    middle = ([table], future)
    table["me"] = middle
    assert list(deep_traverse_to_gather(table)) == [future]
    result: Any = deep_traverse_to_unwrap(table)
    assert result["f"] == 1
    assert result["me"][1] == 1
    assert result["me"][0][0] is result
    assert table["f"] is future

    result = deep_traverse_to_unwrap(middle)  # the same circle, entered at the tuple
    assert result[1] == 1
    assert result[0][0]["me"] is result


def test_nesting_deeper_than_any_recursion_limit() -> None:
    future = done("deep")
    for wrap in (lambda o: [o], lambda o: (o,), lambda o: {"k": o}):
        o: Any = future
        for _ in range(100_000):
            o = wrap(o)
        assert list(deep_traverse_to_gather(o)) == [future]
        result: Any = deep_traverse_to_unwrap(o)
        for _ in range(100_000):
            (result,) = result.values() if isinstance(result, dict) else result
        assert result == "deep"


def test_a_future_that_appears_twice_is_gathered_once_in_order() -> None:
    a, b = done(1), done(2)
    assert list(deep_traverse_to_gather([[b], a, {"x": b}])) == [b, a]


def test_results_are_not_looked_into() -> None:
    inner = done(1)
    result: Any = deep_traverse_to_unwrap([done([inner])])
    assert result[0][0] is inner


def test_a_failed_future_raises_its_exception() -> None:
    failed: Future[Any] = Future()
    failed.set_exception(KeyError("mine"))
    for unwrap in (deep_traverse_to_unwrap, shallow_traverse_to_unwrap):
        with pytest.raises(KeyError, match="mine"):
            unwrap(failed)
    with pytest.raises(KeyError, match="mine"):
        deep_traverse_to_unwrap([{"a": failed}])


def test_a_key_that_becomes_unhashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        deep_traverse_to_unwrap({done([1]): 2})


def test_a_data_future_becomes_its_file() -> None:
    file = File("x")
    assert deep_traverse_to_unwrap([DataFuture(done(None), file)]) == [file]
    assert shallow_traverse_to_unwrap(DataFuture(done(None), file)) is file


def test_shallow_sees_only_the_argument_itself() -> None:
    future = done(1)
    assert list(shallow_traverse_to_gather(future)) == [future]
    assert shallow_traverse_to_unwrap(future) == 1
    argument = [future]
    assert list(shallow_traverse_to_gather(argument)) == []
    assert shallow_traverse_to_unwrap(argument) is argument


def test_resolvers_are_frozen_pairs() -> None:
    assert SHALLOW_DEPENDENCY_RESOLVER.traverse_to_gather is shallow_traverse_to_gather
    assert SHALLOW_DEPENDENCY_RESOLVER.traverse_to_unwrap is shallow_traverse_to_unwrap
    assert DEEP_DEPENDENCY_RESOLVER.traverse_to_gather is deep_traverse_to_gather
    assert DEEP_DEPENDENCY_RESOLVER.traverse_to_unwrap is deep_traverse_to_unwrap
    own = DependencyResolver(traverse_to_gather=lambda o: [], traverse_to_unwrap=lambda o: o)
    with pytest.raises(AttributeError):
        own.traverse_to_gather = shallow_traverse_to_gather  # type: ignore[misc]
