"""`check_types`: arguments held against their annotations when a function is called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

from parsl.type_checks import Check, compile_check

P = ParamSpec("P")
R = TypeVar("R")

_VARARGS_FLAG = 0x04
_VARKEYWORDS_FLAG = 0x08


def check_types(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function, most often an `__init__`, so that wrong argument types are an error at the call.

    Each argument that is given is held against the annotation of its parameter; defaults are trusted. Annotations are
    read at the first call. What can't be resolved at run time (a name that is imported for type checkers only, say) or
    can't be checked without side effects (the items of an iterator) counts as right. An int will do for a float, a bool
    for an int, and a str is no sequence of str.

    Args:
        function: The function, with annotations.

    Returns:
        A function with the same signature, name and docstring.

    Raises:
        TypeError: From the decorated function: an argument has a wrong type. The text names the class or function, the
            parameter, what it got and what it takes.
    """
    plan: _Plan | None = None

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal plan
        if plan is None:
            plan = _Plan(function)
        plan.check(args, kwargs)
        return function(*args, **kwargs)

    return checked


class _Plan:
    """The checks of one function, made once.

    Args:
        function: The function that the decorator got.
    """

    def __init__(self, function: Any) -> None:
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        # Read off the code object: importing inspect for its Signature costs more time than all constructors together.
        code = function.__code__
        names = list(code.co_varnames)
        named = code.co_argcount + code.co_kwonlyargcount
        extra = names[named:]
        self.function = function
        self.annotations: Mapping[str, object] = _annotations_of(function)
        self.positional = [(name, self.make_check(name)) for name in names[: code.co_argcount]]
        self.named = {name: self.make_check(name) for name in names[code.co_posonlyargcount : named]}
        self.star = extra.pop(0) if code.co_flags & _VARARGS_FLAG else ""
        self.star_check = self.make_check(self.star)
        self.double_star = extra.pop(0) if code.co_flags & _VARKEYWORDS_FLAG else ""
        self.double_star_check = self.make_check(self.double_star)

    def make_check(self, name: str) -> Check | None:
        """Compile the annotation of one parameter; None if there is none or everything passes."""
        if name not in self.annotations:
            return None
        return compile_check(self.annotations[name], self.function.__globals__)

    def check(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Hold the arguments of one call against the annotations.

        Raises:
            TypeError: One of them has a wrong type.
        """
        for (name, check), value in zip(self.positional, args, strict=False):
            if check is not None and not check(value):
                self.refuse(args, name, name, value)
        if self.star_check is not None:
            for number, value in enumerate(args[len(self.positional) :]):
                if not self.star_check(value):
                    self.refuse(args, f"*{self.star}[{number}]", self.star, value)
        for name, value in kwargs.items():
            check = self.named.get(name)
            if check is not None and not check(value):
                self.refuse(args, name, name, value)
            if self.double_star_check is not None and name not in self.named and not self.double_star_check(value):
                self.refuse(args, name, self.double_star, value)

    def refuse(self, args: tuple[object, ...], shown_name: str, parameter: str, value: object) -> NoReturn:
        """Raise the TypeError for one argument."""
        function = self.function
        if function.__name__ == "__init__" and args:
            owner = type(args[0]).__name__
        else:
            owner = function.__qualname__.rpartition("<locals>.")[2]
        takes = _describe(self.annotations[parameter])
        got = f"{type(value).__name__}: {_short_repr(value)}"
        raise TypeError(f"{owner}: parameter {shown_name!r} takes {takes}, but got {got}")


def _annotations_of(function: Any) -> Mapping[str, object]:
    try:
        annotations: Mapping[str, object] = function.__annotations__
    except NameError:  # Python 3.14 evaluates here, and the module has neither the name nor the __future__ import
        return {}
    return annotations


def _describe(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return repr(annotation).replace("typing.", "").replace("collections.abc.", "")


def _short_repr(value: object) -> str:
    import reprlib

    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return " ".join(short.repr(value).split("\n"))
