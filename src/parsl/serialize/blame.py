"""Finding the part of an object that cannot be pickled, for error messages."""

from __future__ import annotations

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
    for _ in range(_MAX_DEPTH):
        found = next(((path + step, part, e) for step, part in _parts(obj) if (e := _failure(part)) is not None), None)
        if found is None:
            break
        path, obj, error = found
    return f"{path} ({_short(obj)} of type {type(obj).__module__}.{type(obj).__qualname__}: {error})"


def _failure(obj: Any) -> Exception | None:
    try:
        pickling.dumps(obj)
    except Exception as e:  # noqa: BLE001 - what a user's __reduce__ raises is what is looked for
        return e
    return None


def _parts(obj: Any) -> list[tuple[str, Any]]:
    if isinstance(obj, dict):
        return [(f"[{_short(k)}]", v) for k, v in list(obj.items())[:_MAX_ITEMS]]
    if isinstance(obj, (list, tuple)):
        return [(f"[{i}]", v) for i, v in enumerate(obj[:_MAX_ITEMS])]
    if isinstance(obj, (set, frozenset)):
        return [("{...}", v) for v in list(obj)[:_MAX_ITEMS]]
    closure = getattr(obj, "__closure__", None)
    if closure:
        names = obj.__code__.co_freevars
        return [(f"'s variable {n}", c.cell_contents) for n, c in zip(names, closure)]
    fields = getattr(obj, "__dict__", None)
    if isinstance(fields, dict) and not isinstance(obj, type):
        return [(f".{k}", v) for k, v in fields.items()]
    return []


def _short(obj: Any) -> str:
    try:
        text = repr(obj)
    except Exception:  # noqa: BLE001 - a repr that raises must not hide the error that is being told
        return "an object without a working repr"
    return text if len(text) <= 80 else text[:77] + "..."
