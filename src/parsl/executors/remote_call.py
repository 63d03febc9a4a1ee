"""A call as it travels to an engine that knows nothing of this package: bytes there, bytes back.

The engine's workers run `run_packed`, which needs this package to be installed beside them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.dataflow.references import Reference, arriving, packing
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.serialize import facade

_VALUE, _EXCEPTION = b"v", b"e"


def pack_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bytes, list[Reference]]:
    """Pack a call.

    Returns:
        The packed call, and the references among its arguments, whose answers `run_packed` wants in this order.

    Raises:
        SerializationError: naming the argument that cannot be packed.
    """
    with packing() as references:
        body, buffers = facade.pack_arguments(args, kwargs)
    return facade.pack_buffers([facade.pack_function(function), body, *map(bytes, buffers)]), references


def run_packed(call: bytes, path: Sequence[str] = (), *kept: bytes) -> bytes:
    """Make a packed call and pack how it ended; on the engine's worker.

    Args:
        call: what `pack_call` returned.
        path: where the submitting script looks for modules, for workers that started elsewhere.
        kept: the answers of the earlier calls to which references among the arguments stand.
    """
    sys.path += [folder for folder in path if folder not in sys.path]
    try:
        function, body, *buffers = facade.unpack_buffers(call)
        with arriving(lambda number: _value_in(kept[number])):
            args, kwargs = facade.unpack(body, buffers)
        answer = _VALUE, *facade.pack_result(facade.deserialize(function)(*args, **kwargs))
    except BaseException as e:  # noqa: BLE001 - whatever the task raises is its result, its wish to exit included
        traceback = e.__traceback__ and e.__traceback__.tb_next
        where = f"host {socket.gethostname()}, process {os.getpid()}"
        answer = _EXCEPTION, *facade.pack((RemoteExceptionWrapper(type(e), e, traceback), where), "the exception")
    mark, packed, out = answer
    return mark + facade.pack_buffers([packed, *map(bytes, out)])


def has_failed(answer: bytes) -> bool:
    """Tell whether an answer of `run_packed` is an exception."""
    return answer[:1] != _VALUE


def unpack_outcome(answer: bytes, task_id: int) -> Outcome:
    """Unpack what `run_packed` returned.

    Args:
        answer: the bytes.
        task_id: number of the task, for the note that an exception gets on where it was raised.

    Returns:
        The outcome; an answer that cannot be unpacked is an error as well.
    """
    try:
        value = _value_in(answer)
    except Exception as e:  # noqa: BLE001 - unpacking runs users' code, and is this one task's error
        return Error(e)
    if not has_failed(answer):
        return Value(value)
    wrapper, where = value
    exception = wrapper.get_exception()
    note(exception, f"in task {task_id} on {where}")
    return Error(exception)


def _value_in(answer: bytes) -> Any:
    body, *buffers = facade.unpack_buffers(answer[1:])
    return facade.unpack(body, buffers)


def note(exception: BaseException, text: str) -> None:
    """Give an exception a line that is printed beneath it."""
    # Python 3.10 has no notes; there the line can still be read in the attribute that later releases print.
    notes = getattr(exception, "__notes__", None)
    # Not by plain assignment, which a frozen dataclass refuses.
    BaseException.__setattr__(exception, "__notes__", [*(notes or []), text])
