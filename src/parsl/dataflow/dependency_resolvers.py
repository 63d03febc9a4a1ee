"""How the futures among a call's arguments are found, and replaced by their results.

A `DependencyResolver` is a pair of functions. The shallow one sees a future only where it is an argument itself; the
deep one also looks into lists, tuples, sets and dicts, however deep they are nested.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# Values of these types hold nothing: most arguments are settled by one look here.
_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...)})
_MAPPINGS = frozenset({dict, OrderedDict, defaultdict})
_CONTAINERS = frozenset({list, tuple, set, frozenset}) | _MAPPINGS


class DependencyResolver(NamedTuple):
    """Says what counts as a future inside an argument; for `Config(dependency_resolver=...)`.

    Both functions are called once for each argument of each call, and must not wait for anything.

    Attributes:
        traverse_to_gather: is given an argument and returns the futures in it, as a sequence. It is called when
            the app is called.
        traverse_to_unwrap: is given an argument and returns it with the result of each future in its place. It is
            called when all those futures have ended well. An exception that it raises is the task's failure.
    """

    traverse_to_gather: Callable[[object], Sequence[Future[Any]]]
    traverse_to_unwrap: Callable[[object], object]


def shallow_traverse_to_gather(o: object) -> Sequence[Future[Any]]:
    """Find the future that an argument is.

    Args:
        o: an argument of a call.

    Returns:
        `o` alone if it is a future, else nothing.
    """
    return (o,) if isinstance(o, Future) else ()


def shallow_traverse_to_unwrap(o: object) -> object:
    """Replace an argument that is a future.

    Args:
        o: an argument of a call; a future must be done.

    Returns:
        The future's result, or `o` itself if it isn't a future.

    Raises:
        BaseException: what the future holds, if it failed.
    """
    return o.result() if isinstance(o, Future) else o


def deep_traverse_to_gather(o: object) -> Sequence[Future[Any]]:
    """Find all futures in an argument.

    It looks into lists, tuples, named tuples, sets, frozensets and dicts (keys and values, `OrderedDict` and
    `defaultdict` too), at any depth; a container that holds itself is looked into once. Other objects, and other
    subclasses of those, are left alone.

    Args:
        o: an argument of a call.

    Returns:
        The futures, each once, in the order in which they stand in `o`.
    """
    if type(o) in _LEAVES:
        return ()
    if isinstance(o, Future):
        return (o,)
    if not _is_container(o) or _LEAVES.issuperset(map(type, _items(o))):
        return ()
    found: dict[int, Future[Any]] = {}
    seen = {id(o)}
    walks = [iter(_items(o))]
    while walks:
        for item in walks[-1]:
            if type(item) in _LEAVES:
                continue
            if isinstance(item, Future):
                found.setdefault(id(item), item)
            elif _is_container(item) and id(item) not in seen:
                seen.add(id(item))
                walks.append(iter(_items(item)))
                break
        else:
            walks.pop()
    return list(found.values())


def deep_traverse_to_unwrap(o: object) -> object:
    """Replace all futures in an argument by their results.

    It looks where `deep_traverse_to_gather` looks. The results themselves are not looked into.

    Args:
        o: an argument of a call; all futures in it must be done.

    Returns:
        `o` itself if there is no future in it. Otherwise a container of the same type: the containers that lead to a
        future are made anew, and all others are the very objects of `o`.

    Raises:
        BaseException: what a future holds, if it failed.
        TypeError: if a result that is now a member of a set or a key can't be hashed.
    """
    if type(o) in _LEAVES:
        return o
    if isinstance(o, Future):
        return o.result()
    if not _is_container(o) or _LEAVES.issuperset(map(type, _items(o))):
        return o
    changing = _containers_with_futures(o)
    return _Rebuild(changing).run(o) if id(o) in changing else o


def _is_container(o: object) -> bool:
    cls = type(o)
    return cls in _CONTAINERS or _is_namedtuple(cls)


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def _items(container: Any) -> Iterable[Any]:
    return _keys_and_values(container) if type(container) in _MAPPINGS else container


def _keys_and_values(mapping: dict[Any, Any]) -> Iterator[Any]:
    for key, value in mapping.items():
        yield key
        yield value


def _containers_with_futures(root: Any) -> set[int]:
    """Name, by id, the containers in `root` and `root` itself from which a future can be reached."""
    holders: dict[int, list[int]] = {id(root): []}  # container -> the containers that hold it
    reached: list[int] = []
    todo = [root]
    while todo:
        container = todo.pop()
        own = id(container)
        for item in _items(container):
            if type(item) in _LEAVES:
                continue
            if isinstance(item, Future):
                reached.append(own)
            elif _is_container(item):
                if id(item) not in holders:
                    holders[id(item)] = []
                    todo.append(item)
                holders[id(item)].append(own)
    changing: set[int] = set()
    while reached:
        own = reached.pop()
        if own not in changing:
            changing.add(own)
            reached.extend(holders[own])
    return changing


class _Rebuild:
    """One rebuilding of nested containers.

    Lists and dicts are made empty first and filled later, so that a container that holds itself still does so
    afterwards. What can't be filled later (tuples, sets) is made when all that it holds is there; such containers
    can only hold themselves by way of a list or dict, so this order exists.
    """

    def __init__(self, changing: set[int]) -> None:
        self._changing = changing
        self._made: dict[int, Any] = {}
        self._to_fill: list[Any] = []

    def run(self, root: Any) -> Any:
        self._make(root)
        for container in self._to_fill:  # grows while it is walked
            for item in _items(container):
                if id(item) in self._changing:
                    self._make(item)
            self._fill(container)
        return self._made[id(root)]

    def _make(self, root: Any) -> None:
        todo = [root]
        while todo:
            container = todo[-1]
            if id(container) in self._made:
                todo.pop()
                continue
            cls = type(container)
            if cls is list or cls in _MAPPINGS:
                self._made[id(container)] = defaultdict(container.default_factory) if cls is defaultdict else cls()
                self._to_fill.append(container)
                continue
            missing = [i for i in container if id(i) in self._changing and id(i) not in self._made]
            if missing:
                todo.extend(missing)
                continue
            values = map(self._value, container)
            self._made[id(container)] = cls._make(values) if _is_namedtuple(cls) else cls(values)

    def _fill(self, container: Any) -> None:
        made = self._made[id(container)]
        if type(container) is list:
            made.extend(map(self._value, container))
        else:
            for key, value in container.items():
                made[self._value(key)] = self._value(value)

    def _value(self, item: Any) -> Any:
        if isinstance(item, Future):
            return item.result()
        return self._made[id(item)] if id(item) in self._changing else item


SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(
    traverse_to_gather=shallow_traverse_to_gather, traverse_to_unwrap=shallow_traverse_to_unwrap
)
"""Only an argument that is itself a future, or an element of `inputs`, is waited for."""

DEEP_DEPENDENCY_RESOLVER = DependencyResolver(
    traverse_to_gather=deep_traverse_to_gather, traverse_to_unwrap=deep_traverse_to_unwrap
)
"""Futures at any depth in lists, tuples, sets and dicts are waited for."""
