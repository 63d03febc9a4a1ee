"""How objects and code are pickled: by value where the other side cannot import them.

Plain data goes through the standard pickler. All else goes through cloudpickle, which writes functions and classes of
`__main__`, lambdas and closures by value. Two rules are added to it. What lives in a module that a worker could not
import, because it was loaded by path, goes by value as well. And a function that a decorator hides (the module's name
leads to an app, the app's `__wrapped__` to the function) goes by reference through that decorator.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from functools import lru_cache
from types import FunctionType
from typing import Any

PROTOCOL = 5

# Objects of these types, and tuples of them, mean the same to the plain pickler everywhere.
_PLAIN = frozenset({int, str, float, bool, bytes, complex, type(None)})

# Smaller buffers are cheaper inside the pickle than beside it.
OUT_OF_BAND_BYTES = 32 * 1024

# How many items of a container are looked at for large bytes.
_LIFT_ITEMS = 64

Buffers = list[pickle.PickleBuffer]


def is_plain(objects: tuple[Any, ...]) -> bool:
    """Tell whether all of `objects` are of types that need no more than the standard pickler."""
    for o in objects:  # noqa: SIM110 - on the way of every call, and a generator takes twice as long
        if type(o) not in _PLAIN or (type(o) is bytes and len(o) >= OUT_OF_BAND_BYTES):
            return False
    return True


def dumps(obj: Any, buffers: Buffers | None = None) -> bytes:
    """Pickle `obj`, code included.

    Args:
        obj: what to pickle.
        buffers: a list to which large buffers (arrays, bytes) are appended instead of being copied into the pickle;
            None keeps all in the pickle.

    Raises:
        Exception: whatever the pickler or a `__reduce__` of the user raises.
    """
    file = io.BytesIO()
    if buffers is None:
        _packer_class()(file, PROTOCOL).dump(obj)
    else:
        _packer_class()(file, PROTOCOL, buffer_callback=_collector(buffers)).dump(lift(obj))
    return file.getvalue()


def _collector(buffers: Buffers) -> Any:
    def collect(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < OUT_OF_BAND_BYTES:
            return True
        buffers.append(buffer)
        return False

    return collect


class _LargeBytes:
    """Stands for large bytes while they are pickled: the pickler itself never puts bytes out of band."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.data),)


def lift(obj: Any) -> Any:
    """Return `obj`, with large bytes at its top (itself, or items of a small tuple, list or dict) made liftable."""
    kind = type(obj)
    if kind is bytes:
        return _LargeBytes(obj) if len(obj) >= OUT_OF_BAND_BYTES else obj
    if kind in (tuple, list) and len(obj) <= _LIFT_ITEMS:
        if any(type(o) in (bytes, tuple, dict) for o in obj):
            if kind is list:
                return _lift_items(obj)
            # What is there twice stays one object.
            lifted = {id(o): lift(o) for o in obj}
            return tuple(lifted[id(o)] for o in obj)
    elif kind is dict and len(obj) <= _LIFT_ITEMS and any(type(o) is bytes for o in obj.values()):
        return {k: _LargeBytes(o) if type(o) is bytes and len(o) >= OUT_OF_BAND_BYTES else o for k, o in obj.items()}
    return obj


def _lift_items(items: list[Any]) -> list[Any]:
    return [_LargeBytes(o) if type(o) is bytes and len(o) >= OUT_OF_BAND_BYTES else o for o in items]


@lru_cache(maxsize=1)
def _packer_class() -> Any:
    """Make the pickler class; cloudpickle is imported at first use only."""
    import cloudpickle

    class Packer(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        def reducer_override(self, obj: Any) -> Any:
            kind = type(obj)
            if kind is FunctionType or issubclass(kind, type):
                module = getattr(obj, "__module__", None)
                if isinstance(module, str) and module in sys.modules and module != "__main__":
                    if not importable(module):
                        _pickle_by_value(module)
                    elif kind is FunctionType:
                        name: str = obj.__qualname__
                        owner = _find(module, name)
                        if owner is not obj and getattr(owner, "__wrapped__", None) is obj:
                            return unwrapped, (module, name)
            return super().reducer_override(obj)

    return Packer


@lru_cache(maxsize=1024)
def _pickle_by_value(module: str) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[module])


@lru_cache(maxsize=4096)
def importable(module: str) -> bool:
    """Tell whether a process with the same `sys.path` would import the very module that is loaded here."""
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None)
    if spec is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    parent = module.rpartition(".")[0]
    if parent and (parent not in sys.modules or not importable(parent)):
        return False
    if parent and spec.name != module:
        return importable(spec.name)  # os.path is such a name: importing its parent makes it
    path = getattr(sys.modules[parent], "__path__", None) if parent else None
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        found = find_spec(module, path) if find_spec is not None else None
        if found is not None:
            return bool(found.origin == spec.origin)
    return False


def _find(module: str, qualname: str) -> Any:
    found: Any = sys.modules[module]
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def unwrapped(module: str, qualname: str) -> Any:
    """Import the function that a decorator hides under `module.qualname`."""
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found.__wrapped__
