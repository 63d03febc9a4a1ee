"""Compiles an annotation into a function that tells whether a value fits it; the engine of `parsl.validation`."""

from __future__ import annotations

import collections
import collections.abc
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Check = Callable[[object], bool]
"""Takes a value, tells whether it fits. In this module None in place of one means: everything fits."""

_NUMBERS: dict[type, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}  # PEP 484
_ITEM_CONTAINERS: frozenset[type] = frozenset(
    {list, set, frozenset, collections.deque}
    | {collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set, collections.abc.MutableSet}
    | {collections.abc.Collection, collections.abc.Iterable, collections.abc.Reversible, collections.abc.Container}
)
_MAPPINGS: frozenset[type] = frozenset(
    {dict, collections.OrderedDict, collections.defaultdict, collections.abc.Mapping, collections.abc.MutableMapping}
)


class _Names(dict[str, object]):
    """Names for evaluating an annotation; one that doesn't exist at run time means Any."""

    def __init__(self, global_names: Mapping[str, object]) -> None:
        super().__init__()
        self.global_names = global_names

    def __missing__(self, name: str) -> object:
        import builtins

        if name in self.global_names:
            return self.global_names[name]
        return getattr(builtins, name, Any)


def compile_check(annotation: object, global_names: Mapping[str, object]) -> Check | None:
    """Make the check for one annotation.

    Args:
        annotation: A type, a construct of typing, or the source text of either.
        global_names: The names of the module that the text stands in.

    Returns:
        A function of a value, or None if every value fits or nothing can be said.
    """
    return _Compiler(_Names(global_names)).compile(annotation)


class _Compiler:
    """Turns annotations of one module into checks.

    Args:
        names: What names in annotations stand for.
    """

    def __init__(self, names: _Names) -> None:
        self.names = names
        self.aliases: set[int] = set()

    def compile(self, annotation: object) -> Check | None:
        """Make the check for any annotation: unwrap it, then look at what it is made from."""
        annotation = self.unwrap(annotation)
        classes = _plain_classes(annotation)
        if classes:
            return _instance_of(classes)
        origin = typing.get_origin(annotation)
        arguments = typing.get_args(annotation)
        if _is_union(annotation):
            return self.union(arguments)
        if origin is typing.Literal:
            return _literal(arguments)
        if origin is type and arguments:
            return self.class_of(arguments[0])
        if origin is collections.abc.Callable:
            return callable
        if origin is None and isinstance(annotation, type) and annotation in _ITEM_CONTAINERS:
            origin = annotation
        return self.generic(origin, arguments) if isinstance(origin, type) else None

    def unwrap(self, annotation: object) -> object:
        """Get at the type inside text, forward references, Annotated, NewType and type aliases."""
        while True:
            if isinstance(annotation, typing.ForwardRef):
                annotation = annotation.__forward_arg__
            if isinstance(annotation, str):
                annotation = self.evaluate(annotation)
            elif annotation is typing.Tuple:  # noqa: UP006 - its arguments are those of tuple[()], its meaning isn't
                annotation = tuple
            elif typing.get_origin(annotation) is typing.Annotated:
                annotation = typing.get_args(annotation)[0]
            elif hasattr(annotation, "__supertype__"):
                annotation = annotation.__supertype__
            elif type(annotation).__name__ == "TypeAliasType":  # of typing since Python 3.12, or of typing_extensions
                annotation = self.alias_value(annotation)
            else:
                return annotation

    def alias_value(self, alias: Any) -> object:
        """Look behind a type alias once; an alias that comes up in its own value stands for Any there."""
        if id(alias) in self.aliases:
            return Any
        self.aliases.add(id(alias))
        value: object = alias.__value__
        return value

    def evaluate(self, text: str) -> object:
        """Turn the text of an annotation into what it says, or into Any."""
        try:
            return eval(text, {}, self.names)  # noqa: S307 - source text of the decorated function, not input
        except Exception:  # noqa: BLE001 - it can be anything, and concerns a type checker, not the caller
            return Any

    def union(self, members: Iterable[object]) -> Check | None:
        """One of several types: all plain classes at once, then the others in turn."""
        classes: tuple[type, ...] = ()
        others: list[Check] = []
        for member in map(self.unwrap, members):
            plain = _plain_classes(member)
            check = None if plain else self.compile(member)
            if not plain and check is None:
                return None
            classes += plain
            if check is not None:
                others.append(check)
        if not others:
            return _instance_of(classes)
        return lambda value: isinstance(value, classes) or any(check(value) for check in others)

    def class_of(self, target: object) -> Check:
        """A class that derives from another: type[X]."""
        bound = self.unwrap(target)
        members = typing.get_args(bound) if _is_union(bound) else (bound,)
        plain = [_plain_classes(self.unwrap(member)) for member in members]
        classes = tuple(cls for found in plain for cls in found)
        if not all(plain):
            return lambda value: isinstance(value, type)
        return lambda value: isinstance(value, type) and issubclass(value, classes)

    def generic(self, origin: type, arguments: tuple[object, ...]) -> Check | None:
        """A class with type arguments: list[int], Mapping[str, float], Future[X]."""
        if origin is tuple:
            return self.tuple_of(arguments)
        if origin in _MAPPINGS and arguments:
            return self.mapping(origin, arguments)
        if origin in _ITEM_CONTAINERS:
            return self.collection(origin, arguments[0] if arguments else Any)
        classes = _plain_classes(origin)
        return _instance_of(classes) if classes else None

    def collection(self, origin: type, argument: object) -> Check:
        """Items of one type. An iterable that is no collection is left alone: looking would use it up."""
        # str is a Sequence[str] to a type checker, but where several strings are meant one string is a mistake.
        item = self.compile(argument)

        def check(value: object) -> bool:
            if not isinstance(value, origin) or isinstance(value, str):
                return False
            return item is None or not isinstance(value, collections.abc.Collection) or all(map(item, value))

        return check

    def mapping(self, origin: type, arguments: tuple[object, ...]) -> Check:
        """Keys of one type, values of another."""
        key, item = (self.compile(argument) or _anything for argument in arguments)

        def check(value: object) -> bool:
            if not isinstance(value, origin):
                return False
            return all(key(k) and item(v) for k, v in typing.cast("Mapping[object, object]", value).items())

        return check

    def tuple_of(self, arguments: tuple[object, ...]) -> Check:
        """A tuple of any length with items of one type, or one of fixed length."""
        if len(arguments) == 2 and arguments[1] is ...:
            return self.collection(tuple, arguments[0])
        if arguments == ((),):  # what Python 3.10 makes of tuple[()]
            arguments = ()
        checks = [self.compile(argument) or _anything for argument in arguments]

        def check(value: object) -> bool:
            return (
                isinstance(value, tuple)
                and len(value) == len(checks)
                and all(check(item) for check, item in zip(checks, value, strict=True))
            )

        return check


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _anything(_value: object) -> bool:
    return True


def _instance_of(classes: tuple[type, ...]) -> Check:
    return lambda value: isinstance(value, classes)


def _plain_classes(annotation: object) -> tuple[type, ...]:
    """The classes whose instances are just what the annotation means; empty if it isn't that simple."""
    if annotation is None:
        return (type(None),)
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None or annotation in _ITEM_CONTAINERS:
        return ()
    if typing.is_typeddict(annotation):
        return (dict,)
    if _matches_everything(annotation):
        return ()
    return _NUMBERS.get(annotation, (annotation,))


def _matches_everything(cls: type) -> bool:
    """Tell whether isinstance with this class says nothing, or nothing true."""
    if cls is object or cls is Any or issubclass(cls, typing.IO):  # files don't derive from typing.IO
        return True
    try:
        isinstance(None, cls)
    except TypeError:  # a Protocol that isn't runtime_checkable
        return True
    return False


def _literal(values: tuple[object, ...]) -> Check:
    """One of some values; the type counts, as True == 1."""
    return lambda value: any(type(value) is type(each) and value == each for each in values)
