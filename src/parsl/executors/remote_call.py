"""A call as it travels to an engine that knows nothing of this package: bytes there, bytes or an exception back.

The engine's workers run `run_packed`, which needs this package to be installed beside them.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from parsl.app.errors import RemoteExceptionWrapper
from parsl.dataflow.references import Reference, arriving, packing
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.serialize import facade
from parsl.serialize.pickling import is_plain

# Whether a worker may keep a function for further calls, or each is to have a fresh one, with the state it had here.
_KEPT, _FRESH = b"k", b"f"

# The parts of a call behind the function, where it has no arguments.
NO_ARGUMENTS = [facade.pack_arguments((), {})[0]]

_Packed = TypeVar("_Packed")


class CallFailed(Exception):
    """The call raised an exception, which is packed in here: so an engine can carry it that cannot unpack it.

    Args:
        packed: the packed exception and where it was raised.
    """

    def __init__(self, packed: bytes) -> None:
        super().__init__(packed)
        self.packed = packed

    def __str__(self) -> str:
        return f"an exception of {len(self.packed)} bytes"


def pack_parts(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[bytes], list[Reference]]:
    """Pack a call, in several byte strings.

    Returns:
        The parts of the call, which `run_parts` takes, and the references among its arguments. The first two are the
        function, the others its arguments.

    Raises:
        SerializationError: naming the argument that cannot be packed.
    """
    with packing() as references:
        body, buffers = facade.pack_arguments(args, kwargs)
    kept = _KEPT if facade.stays_the_same(function) else _FRESH
    return [kept, facade.pack_function(function), body, *map(bytes, buffers)], references


def pack_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bytes, list[Reference]]:
    """Pack a call, in one byte string.

    Returns:
        The packed call, and the references among its arguments, whose packed values `run_packed` wants in this order.

    Raises:
        SerializationError: naming the argument that cannot be packed.
    """
    parts, references = pack_parts(function, args, kwargs)
    return join_parts(parts), references


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Join parts of a call for `run_packed`; what was joined apart makes a call when it stands one behind the other."""
    return facade.pack_buffers(parts)


def run_packed(call: bytes, path: Sequence[str] = (), *kept: bytes) -> bytes:
    """Make a packed call; on the engine's worker.

    Args:
        call: what `pack_call` returned.
        path: where the submitting script looks for modules, for workers that started elsewhere.
        kept: what earlier calls returned for which references among the arguments stand.

    Returns:
        The packed result.

    Raises:
        CallFailed: the call raised an exception, even one that asks for the end of the process.
        KeyboardInterrupt: the engine has interrupted the call.
    """
    sys.path += [folder for folder in path if folder not in sys.path]
    return _run(lambda: _open(facade.unpack_buffers(call), kept), _packed)


def run_parts(*parts: bytes) -> bytes | tuple[Any]:
    """Make a call without references, in the parts of `pack_parts`; on the engine's worker.

    Returns:
        For `value_of`: the packed result; a plain one, which any engine can carry, as it is, alone in a tuple.

    Raises:
        CallFailed: the call raised an exception, even one that asks for the end of the process.
        KeyboardInterrupt: the engine has interrupted the call.
    """
    return _run(lambda: _open(parts, ()), _packed_unless_plain)


def _run(open_call: Callable[[], tuple[Any, Any, Any]], pack: Callable[[Any], _Packed]) -> _Packed:
    try:
        function, args, kwargs = open_call()
        return pack(function(*args, **kwargs))
    except KeyboardInterrupt:
        raise  # how engines stop a task that runs
    except BaseException as e:  # noqa: BLE001 - whatever the task raises is its result
        traceback = e.__traceback__ and e.__traceback__.tb_next
        where = f"host {socket.gethostname()}, process {os.getpid()}"
        packed, out = facade.pack((RemoteExceptionWrapper(type(e), e, traceback), where), "the exception")
    # Not while the exception is handled, which would make it a part of this one: an engine may be unable to carry it.
    raise CallFailed(_joined(packed, *out))


def _open(parts: Sequence[bytes], kept: Sequence[bytes]) -> tuple[Any, Any, Any]:
    kind, function, body, *buffers = parts
    with arriving(lambda number: unpack(kept[number])):
        args, kwargs = facade.unpack(body, buffers)
    return (_function(function) if kind == _KEPT else facade.deserialize(function)), args, kwargs


def _packed(result: Any) -> bytes:
    packed, out = facade.pack_result(result)
    return _joined(packed, *out)


def _packed_unless_plain(result: Any) -> bytes | tuple[Any]:
    return (result,) if is_plain((result,)) else _packed(result)


def unpack(packed: bytes) -> Any:
    """Unpack what `run_packed` returned.

    Raises:
        DeserializationError: when that cannot be turned back into an object.
    """
    body, *buffers = facade.unpack_buffers(packed)
    return facade.unpack(body, buffers)


def value_of(packed: bytes | tuple[Any]) -> Outcome:
    """Unpack what `run_packed` or `run_parts` returned; what cannot be unpacked is the error of this one task."""
    try:
        return Value(packed[0] if isinstance(packed, tuple) else unpack(packed))
    except Exception as e:  # noqa: BLE001 - unpacking runs users' code
        return Error(e)


def failure_of(failed: CallFailed, task_id: int) -> Error:
    """Unpack the exception of a call, with a note on which task it was and where it ran."""
    try:
        wrapper, where = unpack(failed.packed)
        exception = wrapper.get_exception()
    except Exception as e:  # noqa: BLE001 - unpacking runs users' code
        return Error(e)
    note(exception, f"in task {task_id} on {where}")
    return Error(exception)


@functools.lru_cache(maxsize=128)
def _function(packed: bytes) -> Any:
    return facade.deserialize(packed)


def note(exception: BaseException, text: str) -> None:
    """Give an exception a line that is printed beneath it."""
    # Python 3.10 has no notes; there the line can still be read in the attribute that later releases print.
    notes = getattr(exception, "__notes__", None)
    # Not by plain assignment, which a frozen dataclass refuses.
    BaseException.__setattr__(exception, "__notes__", [*(notes or []), text])


def _joined(*parts: Any) -> bytes:
    return facade.pack_buffers([bytes(part) for part in parts])
