"""Packing of objects and calls, with the serializers that are registered.

A packed object is the serializer's identifier, a line feed, and the bytes that it wrote. Large buffers may lie beside
it instead of inside, see `pack` and `unpack`.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import weakref
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from parsl.serialize import pickling
from parsl.serialize.base import SerializerBase
from parsl.serialize.blame import culprit, culprit_argument
from parsl.serialize.concretes import DillCallableSerializer, DillSerializer, PickleSerializer, ValueSerializer
from parsl.serialize.errors import DeserializationError, DeserializerPluginError, SerializationError

_value, _dill, _dill_code = ValueSerializer(), DillSerializer(), DillCallableSerializer()

# Tried in order until one succeeds; users' own are put in front.
methods_for_data: dict[bytes, SerializerBase] = {s.identifier: s for s in (_value, _dill)}
methods_for_code: dict[bytes, SerializerBase] = {s.identifier: s for s in (_value, _dill_code)}
_deserializers: dict[bytes, SerializerBase] = {s.identifier: s for s in (_value, _dill, _dill_code, PickleSerializer())}

_VALUE_HEADER = ValueSerializer.identifier + b"\n"


def register_method_for_data(s: SerializerBase) -> None:
    """Try serializer `s` before all others for data."""
    _register(methods_for_data, s)


def register_method_for_code(s: SerializerBase) -> None:
    """Try serializer `s` before all others for functions."""
    _register(methods_for_code, s)


def _register(methods: dict[bytes, SerializerBase], s: SerializerBase) -> None:
    if b"\n" in s.identifier:
        msg = f"serializer identifier {s.identifier!r} must not contain a line feed"
        raise ValueError(msg)
    others = [m for m in methods.values() if m.identifier != s.identifier]
    methods.clear()
    methods.update((m.identifier, m) for m in (s, *others))
    _deserializers[s.identifier] = s


def unregister(s: SerializerBase) -> None:
    """Undo the registrations of `s`."""
    for methods in (methods_for_data, methods_for_code, _deserializers):
        methods.pop(s.identifier, None)


def serialize(obj: Any, buffer_threshold: int = int(1e6)) -> bytes:
    """Pack an object.

    Args:
        obj: what to pack; a callable is packed as code, all else as data.
        buffer_threshold: kept for callers of earlier releases; not used.

    Raises:
        SerializationError: naming the offending part, when no serializer can pack it.
    """
    del buffer_threshold
    return _serialize(obj, lambda: culprit(obj, getattr(obj, "__name__", None) or "an object"))


def _serialize(obj: Any, what: Callable[[], str]) -> bytes:
    methods = methods_for_code if callable(obj) else methods_for_data
    error: BaseException | None = None
    for method in list(methods.values()):
        try:
            return method.identifier + b"\n" + method.serialize(obj)
        except Exception as e:  # noqa: BLE001 - the next serializer is tried; the first error is told if all fail
            error = error or e
    raise SerializationError(what()) from error


def deserialize(payload: bytes | bytearray | memoryview) -> Any:
    """Unpack what `serialize` packed.

    Raises:
        DeserializationError: when the bytes cannot be turned back into an object.
        DeserializerPluginError: when they name an unknown serializer.
    """
    data = bytes(payload)
    header, separator, body = data.partition(b"\n")
    if not separator:
        msg = f"{data[:40]!r} has no serializer's header"
        raise DeserializationError(msg)
    method = _deserializers.get(header) or _import_serializer(header)
    try:
        return method.deserialize(body)
    except Exception as e:
        raise _failed(e) from e


def _failed(e: Exception) -> DeserializationError:
    return DeserializationError(f"{type(e).__name__}: {e}")


def _import_serializer(header: bytes) -> SerializerBase:
    try:
        module, name = header.decode().split(" ")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        found = found()
    except Exception as e:
        raise DeserializerPluginError(header) from e
    if not isinstance(found, SerializerBase):
        raise DeserializerPluginError(header)
    _deserializers[header] = found
    return found


# -- packing with large buffers beside: what the executors use ---------------------------------------------------------


def pack(obj: Any, name: str) -> tuple[bytes, pickling.Buffers]:
    """Pack data, leaving large buffers (arrays, bytes) where they are.

    Args:
        obj: what to pack.
        name: how to call it in an error.

    Returns:
        The packed object, and the buffers that `unpack` wants with it.

    Raises:
        SerializationError: naming the offending part.
    """
    return _pack(obj, lambda: culprit(obj, name))


def _value_comes_first() -> bool:
    return next(iter(methods_for_data), None) == ValueSerializer.identifier


def _pack(obj: Any, what: Callable[[], str]) -> tuple[bytes, pickling.Buffers]:
    if not _value_comes_first():
        return _serialize(obj, what), []
    buffers: pickling.Buffers = []
    try:
        return _VALUE_HEADER + pickling.dumps(obj, buffers), buffers
    except Exception as e:  # noqa: BLE001 - dill may still manage; if not, this first error is told
        try:
            return DillSerializer.identifier + b"\n" + _dill.serialize(obj), []
        except Exception:  # noqa: BLE001 - the first error says more
            raise SerializationError(what()) from e


_NO_BUFFERS: pickling.Buffers = []
_NO_ARGUMENTS = _VALUE_HEADER + pickle.dumps(((), {}), pickling.PROTOCOL)


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, pickling.Buffers]:
    """Pack the arguments of a call, as `pack` does."""
    if not kwargs and _value_comes_first():
        if not args:
            return _NO_ARGUMENTS, _NO_BUFFERS
        if pickling.is_plain(args):
            return _VALUE_HEADER + pickle.dumps((args, kwargs), pickling.PROTOCOL), _NO_BUFFERS
    return _pack((args, kwargs), lambda: culprit_argument(args, kwargs))


def pack_result(result: Any) -> tuple[bytes, pickling.Buffers]:
    """Pack the result of a call, as `pack` does."""
    if pickling.is_plain((result,)) and _value_comes_first():
        return _VALUE_HEADER + pickle.dumps(result, pickling.PROTOCOL), _NO_BUFFERS
    return pack(result, "the result")


def unpack(body: bytes, buffers: Sequence[Any] = ()) -> Any:
    """Unpack what one of the functions above packed.

    Raises:
        DeserializationError: when the bytes cannot be turned back into an object.
        DeserializerPluginError: when they name an unknown serializer.
    """
    if body[:3] != _VALUE_HEADER:
        return deserialize(body)
    try:
        return pickle.loads(memoryview(body)[3:], buffers=buffers)  # noqa: S301 - from a peer that holds the run's keys
    except Exception as e:
        raise _failed(e) from e


_packed_functions: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def stays_the_same(function: Any) -> bool:
    """Tell whether a callable can be packed once for all its calls.

    A bound method or any other object that can be called may change between two calls, and may count as equal to
    another one.
    """
    kind = type(function)
    if kind is FunctionType or kind is type:
        return True
    if kind is functools.partial:
        parts = (function.func, *function.args, *function.keywords.values())
        return all(pickling.is_plain((p,)) or stays_the_same(p) for p in parts)
    return kind is BuiltinFunctionType and isinstance(function.__self__, ModuleType)


def pack_function(function: Callable[..., Any]) -> bytes:
    """Pack a function; if it stays the same, once for each function object, as long as it lives."""
    if not stays_the_same(function):
        return serialize(function)
    packed = _packed_functions.get(function)
    if packed is None:
        packed = serialize(function)
        _packed_functions[function] = packed
    return packed


# -- the message form of calls, kept for libraries that pack their own -------------------------------------------------


# Digits of the length of what no memory holds.
_LONGEST_LENGTH = 20


def pack_buffers(buffers: Sequence[bytes]) -> bytes:
    """Join byte strings so that `unpack_buffers` can part them."""
    return b"".join(b"%d\n%b" % (len(b), b) for b in buffers)


def unpack_buffers(packed_buffer: bytes) -> list[bytes]:
    """Part what `pack_buffers` joined.

    Raises:
        DeserializationError: when the bytes are not of that form.
    """
    parts, at = [], 0
    while at < len(packed_buffer):
        end = packed_buffer.find(b"\n", at)
        length = packed_buffer[at:end] if end >= 0 else b"?"
        if not length.isdigit() or len(length) > _LONGEST_LENGTH or end + 1 + int(length) > len(packed_buffer):
            msg = f"no length at byte {at} of {len(packed_buffer)}"
            raise DeserializationError(msg)
        at = end + 1 + int(length)
        parts.append(packed_buffer[end + 1 : at])
    return parts


def unpack_and_deserialize(packed_buffer: bytes) -> list[Any]:
    """Part joined byte strings and unpack each."""
    return [deserialize(part) for part in unpack_buffers(packed_buffer)]


def pack_apply_message(func: Any, args: Any, kwargs: Any, buffer_threshold: int = int(128e6)) -> bytes:
    """Pack a call: function, positional and keyword arguments."""
    del buffer_threshold
    packed_args = _serialize(args, lambda: culprit_argument(args, {}))
    packed_kwargs = _serialize(kwargs, lambda: culprit_argument((), kwargs))
    return pack_buffers([pack_function(func), packed_args, packed_kwargs])


def unpack_apply_message(packed_buffer: bytes) -> list[Any]:
    """Unpack a call into function, positional and keyword arguments.

    Raises:
        DeserializationError: when the bytes are no such call.
    """
    parts = unpack_buffers(packed_buffer)
    if len(parts) != 3:
        msg = f"a call has 3 parts, but here are {len(parts)}"
        raise DeserializationError(msg)
    return [deserialize(part) for part in parts]


def pack_res_spec_apply_message(
    func: Any,
    args: Any,
    kwargs: Any,
    resource_specification: Any,
    buffer_threshold: int = int(128e6),
) -> bytes:
    """Pack a call together with its resource specification."""
    return pack_buffers([serialize(resource_specification), pack_apply_message(func, args, kwargs, buffer_threshold)])


def unpack_res_spec_apply_message(packed_buffer: bytes) -> list[Any]:
    """Unpack a call with its resource specification: function, positional, keyword arguments, specification."""
    parts = unpack_buffers(packed_buffer)
    if len(parts) != 2:
        msg = f"a call with its resource specification has 2 parts, but here are {len(parts)}"
        raise DeserializationError(msg)
    return [*unpack_apply_message(parts[1]), deserialize(parts[0])]
