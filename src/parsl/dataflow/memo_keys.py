"""The key of a call: a hash over the app and its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from parsl.dataflow.memo_ids import id_for_memo, id_for_memo_bool, id_for_memo_pickle

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord

F = TypeVar("F", bound=Callable[..., Any])

# `ascii` tells such values apart and is the same everywhere; it takes a tenth of the time of dispatching on each.
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
_REGISTRY = id_for_memo.registry


def memo_version(tag: str) -> Callable[[F], F]:
    """Decorate a function with the version of what it computes: results of other versions do not count.

    It goes below the decorator of the app:

    .. code-block:: python

        @python_app(cache=True)
        @memo_version("2")
        def simulate(seed): ...

    Args:
        tag: any text.
    """

    def mark(function: F) -> F:
        function.__memo_version__ = tag  # type: ignore[attr-defined]  # functions take any attribute
        return function

    return mark


class Keys:
    """Makes keys of calls.

    Args:
        code: let a key change with the function's code, and with that of functions which it calls.
        version: a text that all keys change with.
    """

    def __init__(self, *, code: bool = False, version: str = "") -> None:
        self._code = code
        self._version = version
        self._identities: WeakKeyDictionary[Callable[..., Any], bytes] = WeakKeyDictionary()
        self._names: WeakKeyDictionary[Callable[..., Any], tuple[str, ...]] = WeakKeyDictionary()

    def key(self, task: TaskRecord) -> str:
        """Return the key of a task whose arguments are values: 32 hexadecimal digits.

        Raises:
            ValueError: when an argument is of a type that `id_for_memo` does not know.
            Exception: whatever a registered function raises.
        """
        # What staging puts around a function has one name for all of them.
        function, args, kwargs = task.app_func, task.args, task.kwargs
        if task.ignore_for_cache:
            args, kwargs = self._without(function, args, kwargs, task.ignore_for_cache)
        material = self._function(function) + _arguments(args, kwargs)
        return md5(material, usedforsecurity=False).hexdigest()

    def _function(self, function: Callable[..., Any]) -> bytes:
        try:
            return self._identities[function]
        except (KeyError, TypeError):
            # TypeError: of an object that can be called, but has no hash or takes no weak reference.
            identity = self._identify(function)
            _keep(self._identities, function, identity)
            return identity

    def _identify(self, function: Callable[..., Any]) -> bytes:
        bare = _innermost(function)
        named = bare if hasattr(bare, "__qualname__") else type(bare)
        parts = [named.__module__ or "", named.__qualname__, self._version, getattr(bare, "__memo_version__", "")]
        identity = ascii(parts).encode()
        if self._code:
            from parsl.dataflow.code_identity import code_identity

            identity += code_identity(function)
        return identity

    def _without(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], ignored: Sequence[str]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments without the values of some parameters, by whichever way they were given."""
        left = {name: value for name, value in kwargs.items() if name not in ignored}
        if not args:
            return args, left
        try:
            names = self._names[function]
        except (KeyError, TypeError):
            names = _parameters(function)
            _keep(self._names, function, names)
        # Behind the names there may be more arguments, of *args.
        named = zip(args, (*names, *[""] * len(args)), strict=False)
        return tuple([None if name in ignored else value for value, name in named]), left


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters that can be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()  # some built-in functions do not tell
    return tuple(p.name for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD})


def _keep(table: WeakKeyDictionary[Any, Any], function: Callable[..., Any], value: Any) -> None:
    try:
        table[function] = value
    except TypeError:
        return  # it is made anew each time


def _innermost(function: Any) -> Any:
    """Return the user's own function, from within what apps, limits of time and staging have put around it."""
    while True:
        if hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, functools.partial):
            function = function.func
        else:
            return function


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if _PLAIN.issuperset(map(type, args)) and _PLAIN.issuperset(map(type, kwargs.values())) and _as_delivered():
        return ascii((args, sorted(kwargs.items())) if kwargs else args).encode()
    if "outputs" in kwargs:
        kwargs = dict(kwargs)
        outputs = id_for_memo(kwargs.pop("outputs"), output_ref=True)
    else:
        outputs = b""
    parts = (outputs, id_for_memo(args), id_for_memo(kwargs))
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def _as_delivered() -> bool:
    """Tell whether nobody has registered another way to tell values of the plain types apart."""
    return (
        _REGISTRY[str] is id_for_memo_pickle
        and _REGISTRY[int] is id_for_memo_pickle
        and _REGISTRY[float] is id_for_memo_pickle
        and _REGISTRY[bytes] is id_for_memo_pickle
        and _REGISTRY[bool] is id_for_memo_bool
        and _REGISTRY[type(None)] is id_for_memo_pickle
    )
