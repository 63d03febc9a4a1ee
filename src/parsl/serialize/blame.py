"""Finding the part of an object that cannot be pickled, for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from parsl.serialize import pickling

_MAX_DEPTH = 6
_MAX_ITEMS = 1000


def culprit(obj: Any, name: str) -> str:
    """Describe the smallest part of `obj` that cannot be pickled, and why.

    Args:
        obj: an object whose pickling failed.
        name: how to call it.

    Returns:
        A path such as `argument 0['config'].lock`, the part's type and the pickler's own words.
    """
    path, error = name, _failure(obj)
    seen = {id(obj)}
    for _ in range(_MAX_DEPTH):
        for step, part in _parts(obj):
            if id(part) not in seen and (found := _failure(part)) is not None:
                seen.add(id(part))
                path, obj, error = path + step, part, found
                break
        else:
            break
    return f"{path} ({_short(obj)} of type {type(obj).__module__}.{type(obj).__qualname__}: {error})"


def culprit_argument(args: Any, kwargs: Any) -> str:
    """Describe, as `culprit` does, what cannot be pickled of the arguments of a call."""
    named = [(f"argument {i}", a) for i, a in enumerate(args)] + [(f"argument {k!r}", a) for k, a in kwargs.items()]
    for name, value in named:
        if _failure(value) is not None:
            return culprit(value, name)
    return culprit((args, kwargs), "(args, kwargs)")


def _failure(obj: Any) -> Exception | None:
    """Return why an object cannot be pickled, in the words of the first pickler that is tried; None if it can be."""
    try:
        pickling.dumps(obj)
    except Exception as e:  # noqa: BLE001 - what a user's __reduce__ raises is what is looked for
        error = e
    else:
        return None
    try:
        import dill

        dill.dumps(obj)
    except Exception:  # noqa: BLE001 - the first error says more
        return error
    return None


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, dict):
        yield from ((f"[{_short(k)}]", v) for k, v in list(obj.items())[:_MAX_ITEMS])
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{i}]", v) for i, v in enumerate(obj[:_MAX_ITEMS]))
    elif isinstance(obj, (set, frozenset)):
        yield from (("{...}", v) for v in list(obj)[:_MAX_ITEMS])
    elif isinstance(obj, FunctionType):
        yield from _parts_of_function(obj)
    elif not isinstance(obj, type):
        yield from ((f".{k}", v) for k, v in getattr(obj, "__dict__", {}).items())
        for kind in type(obj).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if hasattr(obj, slot):
                    yield f".{slot}", getattr(obj, slot)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"'s variable {name}", cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    defaults = function.__defaults__ or ()
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    with_default = positional[len(positional) - len(defaults) :]
    yield from ((f"'s default of {n}", v) for n, v in zip(with_default, defaults, strict=True))
    yield from ((f"'s default of {n}", v) for n, v in (function.__kwdefaults__ or {}).items())
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"'s global {name}", function.__globals__[name]


def _global_names(code: CodeType) -> list[str]:
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _global_names(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _short(obj: Any) -> str:
    import reprlib

    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 80
    try:
        text = brief.repr(obj)
    except Exception:  # noqa: BLE001 - a repr that raises must not hide the error that is being told
        return "an object without a working repr"
    return text if len(text) <= 80 else text[:77] + "..."
