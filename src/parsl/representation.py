"""`RepresentationMixin`: a repr that reads like the call which built the object. Public as `parsl.utils`' own."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from inspect import Parameter

MAX_WIDTH = 50
_INDENT = " " * 4
_MISSING = object()


def constructor_parameters(cls: type) -> list[Parameter]:
    """Name what can be given to a class's constructor.

    A constructor that passes `*args` or `**kwargs` on is taken together with the next one up the bases, so a subclass
    shows its own parameters and those that it inherits. Decorated constructors are seen through.

    Args:
        cls: Any class.

    Returns:
        The parameters in the order of the constructors, each name once, without `self`, `*args` and `**kwargs`.
    """
    import inspect

    found: dict[str, Parameter] = {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for base in cls.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())
        for parameter in parameters[1:]:
            if parameter.kind not in variable:
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind in variable for parameter in parameters):
            break
    return list(found.values())


class RepresentationMixin:
    """Gives a class a repr equal to the code that would build such an object, defaults included.

    The class keeps each constructor parameter as an attribute of the same name. The text is one line if it fits in
    `MAX_WIDTH` characters, else one line for each argument.

    Parameters without a default are shown by position, the others by name. A parameter that isn't kept as an
    attribute is shown as `<unknown>`; with `RepresentationMixin._validate_repr = True`, meant for tests of such
    classes, the repr raises AttributeError instead.
    """

    _validate_repr: ClassVar[bool] = False

    @reprlib.recursive_repr()  # an object that holds itself, by a back reference, must not recurse
    def __repr__(self) -> str:
        arguments = list(self._shown_arguments())
        name = type(self).__name__
        line = f"{name}({', '.join(arguments)})"
        if len(line) <= MAX_WIDTH and "\n" not in line:
            return line
        lines = ",\n".join(arguments).replace("\n", "\n" + _INDENT)
        return f"{name}(\n{_INDENT}{lines}\n)"

    def _shown_arguments(self) -> Iterator[str]:
        cls = type(self)
        by_name = False
        for parameter in constructor_parameters(cls):
            value = getattr(self, parameter.name, _MISSING)
            if value is _MISSING and self._validate_repr:
                message = f"{cls.__name__} does not keep its constructor parameter {parameter.name!r} as an attribute"
                raise AttributeError(message)
            shown = "<unknown>" if value is _MISSING else repr(value)
            # What follows the first named argument has to be named as well, or the text would not be a call.
            by_name = by_name or parameter.default is not parameter.empty or parameter.kind is parameter.KEYWORD_ONLY
            yield f"{parameter.name}={shown}" if by_name else shown
