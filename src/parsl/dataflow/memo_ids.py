"""What makes two values the same for memoization: `id_for_memo`, and the types that it knows."""

from __future__ import annotations

import os
import pickle
import types
from collections.abc import Callable, Mapping
from functools import singledispatch
from hashlib import blake2b
from typing import Any

# Fixed, so that the same value gives the same bytes under every Python.
_PROTOCOL = 4

_CHUNK = 1 << 20


@singledispatch
def id_for_memo(obj: Any, output_ref: bool = False) -> bytes:
    """Return bytes that are the same for values that count as the same, and differ for others.

    It is a `functools.singledispatch` function: teach it a type of your own with `@id_for_memo.register(Mine)`.

    Known are numbers, text, bytes, None, functions and classes (by name), list, tuple, dict, set, frozenset,
    range, slice, enums, dataclasses, paths, dates and times, UUIDs, Decimal, Fraction, `File`; and, where these
    libraries are loaded, NumPy arrays and scalars and pandas frames, series and indexes: all by content. Subclasses
    of containers are not known unless they are registered, since they may hold more than their items.

    Args:
        obj: the value.
        output_ref: the value names what the call produces, not what it reads: the content of a File does not count.

    Raises:
        ValueError: when the type is not known.
    """
    handler = _late(type(obj))
    if handler is None:
        cls = type(obj)
        msg = (
            f"unknown type for memoization: {cls.__module__}.{cls.__qualname__}. Teach it how to tell such values "
            f"apart with @parsl.dataflow.memoization.id_for_memo.register({cls.__qualname__}), or name the parameter "
            "in ignore_for_cache"
        )
        raise ValueError(msg)
    return handler(obj, output_ref=output_ref)


Handler = Callable[..., bytes]


def _packed(kind: str, *parts: bytes) -> bytes:
    """Put parts together so that no other parts give the same bytes."""
    return b"".join([kind.encode(), b"(", *(b"%d:%b" % (len(part), part) for part in parts), b")"])


@id_for_memo.register(int)
@id_for_memo.register(float)
@id_for_memo.register(complex)
@id_for_memo.register(str)
@id_for_memo.register(bytes)
@id_for_memo.register(type(None))
def id_for_memo_pickle(obj: Any, output_ref: bool = False) -> bytes:
    """Return the pickle of a value: for types whose equal values have equal pickles."""
    del output_ref
    return pickle.dumps(obj, protocol=_PROTOCOL)


@id_for_memo.register(bool)
def id_for_memo_bool(obj: bool, output_ref: bool = False) -> bytes:
    """Return the identity of a truth value, which is not that of the number it equals."""
    del output_ref
    return b"True" if obj else b"False"


def _only(cls: type, obj: Any) -> None:
    """Refuse a subclass, of which the items may not be all."""
    if type(obj) is not cls:
        msg = f"unknown type for memoization: {type(obj).__qualname__}, a subclass of {cls.__name__}; register it"
        raise ValueError(msg)


@id_for_memo.register(list)
def id_for_memo_list(denormalized_list: list[Any], output_ref: bool = False) -> bytes:
    """Return the identity of a list: that of its items in order."""
    _only(list, denormalized_list)
    return _packed("list", *(id_for_memo(item, output_ref=output_ref) for item in denormalized_list))


@id_for_memo.register(tuple)
def id_for_memo_tuple(denormalized_tuple: tuple[Any, ...], output_ref: bool = False) -> bytes:
    """Return the identity of a tuple: that of its items in order, and for a named tuple that of its class."""
    cls = type(denormalized_tuple)
    named = b"" if cls is tuple else _name_of(cls)
    if named and not hasattr(cls, "_fields"):
        _only(tuple, denormalized_tuple)
    return _packed("tuple", named, *(id_for_memo(item, output_ref=output_ref) for item in denormalized_tuple))


@id_for_memo.register(dict)
def id_for_memo_dict(denormalized_dict: dict[Any, Any], output_ref: bool = False) -> bytes:
    """Return the identity of a dict: that of its keys and values, in whatever order they were put in."""
    _only(dict, denormalized_dict)
    items = sorted(
        (id_for_memo(key), id_for_memo(value, output_ref=output_ref)) for key, value in denormalized_dict.items()
    )
    return _packed("dict", *(part for item in items for part in item))


@id_for_memo.register(set)
@id_for_memo.register(frozenset)
def _id_of_set(obj: set[Any] | frozenset[Any], output_ref: bool = False) -> bytes:
    _only(frozenset if isinstance(obj, frozenset) else set, obj)
    return _packed(type(obj).__name__, *sorted(id_for_memo(item, output_ref=output_ref) for item in obj))


@id_for_memo.register(range)
@id_for_memo.register(slice)
def _id_of_bounds(obj: range | slice, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed(type(obj).__name__, *map(id_for_memo, (obj.start, obj.stop, obj.step)))


@id_for_memo.register(bytearray)
@id_for_memo.register(memoryview)
def _id_of_buffer(obj: bytearray | memoryview, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed(type(obj).__name__, bytes(obj))


@id_for_memo.register(types.FunctionType)
@id_for_memo.register(types.BuiltinFunctionType)
@id_for_memo.register(type)
def _id_of_named(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed("named", _name_of(obj))


def _name_of(obj: Any) -> bytes:
    return f"{obj.__module__}.{obj.__qualname__}".encode()


# -- types of modules that may not be loaded: known by name, and registered when the first such value comes ------------


def _id_of_text(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed("text", _name_of(type(obj)), str(obj).encode(errors="surrogatepass"))


def _id_of_enum(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed("enum", _name_of(type(obj)), str(obj.name).encode())


def _id_of_path(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    # Path("x") is a PosixPath here and a WindowsPath there; a file is the same by text.
    return _packed("path", os.fsencode(obj))


def _id_of_file(obj: Any, output_ref: bool = False) -> bytes:
    """Return the identity of a File: its URL, and for one that is read, and is no remote one, its content.

    A remote file may have been fetched to here or not: what lies here now may be from an earlier run.
    """
    name = _packed("File", obj.url.encode(errors="surrogatepass"))
    if output_ref or obj.scheme != "file":
        return name
    try:
        return _packed("File", name, _content_of(obj.filepath))
    except OSError:
        return name  # not here, or not yet: the app will say so itself, if it needs it here


def _content_of(path: str) -> bytes:
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _id_of_dataclass(obj: Any, output_ref: bool = False) -> bytes:
    fields = [(name, getattr(obj, name)) for name in obj.__dataclass_fields__ if hasattr(obj, name)]
    parts = (part for name, value in fields for part in (name.encode(), id_for_memo(value, output_ref=output_ref)))
    return _packed("dataclass", _name_of(type(obj)), *parts)


def _only_of(library: str, obj: Any) -> None:
    """Refuse a subclass from elsewhere: an array with units, say, is more than its elements."""
    cls = type(obj)
    if cls.__module__.partition(".")[0] != library:
        msg = f"unknown type for memoization: {cls.__qualname__}, which builds on {library}; register it"
        raise ValueError(msg)


def _id_of_array(obj: Any, output_ref: bool = False) -> bytes:
    _only_of("numpy", obj)
    if hasattr(obj, "mask") and hasattr(obj, "filled"):
        # What lies under the mask does not count.
        return _packed("masked", id_for_memo(obj.mask), id_for_memo(obj.filled(), output_ref=output_ref))
    if obj.dtype.hasobject:
        content = id_for_memo(obj.tolist(), output_ref=output_ref)
    else:
        # Of a view, or an array in Fortran's order, the elements in the order of C.
        content = blake2b(obj.tobytes(), digest_size=16).digest()
    return _packed("array", _name_of(type(obj)), repr(obj.dtype.descr).encode(), repr(obj.shape).encode(), content)


def _id_of_scalar(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed("scalar", obj.dtype.str.encode(), obj.tobytes())


def _id_of_frame(obj: Any, output_ref: bool = False) -> bytes:
    _only_of("pandas", obj)
    columns = (obj.iloc[:, i] for i in range(obj.shape[1]))
    values = [id_for_memo(column, output_ref=output_ref) for column in columns]
    return _packed("frame", id_for_memo(obj.index), id_for_memo(obj.columns), *values)


def _id_of_series(obj: Any, output_ref: bool = False) -> bytes:
    _only_of("pandas", obj)
    index = id_for_memo(obj.index) if hasattr(obj, "index") else b""
    values = id_for_memo(obj.to_numpy(), output_ref=output_ref)
    return _packed("series", repr(obj.name).encode(), str(obj.dtype).encode(), index, values)


def _id_of_index(obj: Any, output_ref: bool = False) -> bytes:
    names = repr(list(obj.names)).encode()
    return _packed("index", names, str(obj.dtype).encode(), id_for_memo(list(obj), output_ref=output_ref))


def _id_of_timestamp(obj: Any, output_ref: bool = False) -> bytes:
    del output_ref
    return _packed("timestamp", obj.isoformat().encode())


_BY_NAME: Mapping[str, Handler] = {
    "datetime.date": _id_of_text,
    "datetime.datetime": _id_of_timestamp,
    "datetime.time": _id_of_text,
    "datetime.timedelta": _id_of_text,
    "datetime.timezone": _id_of_text,
    "decimal.Decimal": _id_of_text,
    "enum.Enum": _id_of_enum,
    "fractions.Fraction": _id_of_text,
    "numpy.generic": _id_of_scalar,
    "numpy.ndarray": _id_of_array,
    "pandas.core.frame.DataFrame": _id_of_frame,
    "pandas.DataFrame": _id_of_frame,
    "pandas.core.indexes.base.Index": _id_of_index,
    "pandas.Index": _id_of_index,
    "pandas.core.series.Series": _id_of_series,
    "pandas.Series": _id_of_series,
    "parsl.data_provider.files.File": _id_of_file,
    "pathlib.PurePath": _id_of_path,
    "pathlib._local.PurePath": _id_of_path,
    "uuid.UUID": _id_of_text,
}


def _late(cls: type) -> Handler | None:
    """Find how to tell values of a type apart by the names of its bases; nothing is imported for that."""
    for base in cls.__mro__:
        handler = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if handler is not None:
            id_for_memo.register(base, handler)
            return handler
    if "__dataclass_fields__" in cls.__dict__:
        return _id_of_dataclass
    return None
