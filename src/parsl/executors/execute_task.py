"""The call of one packed task."""

from __future__ import annotations

from typing import Any

from parsl.serialize.facade import unpack_apply_message


def execute_task(bufs: bytes) -> Any:
    """Run a function packed with its arguments by `pack_apply_message`, and return its result.

    Raises:
        Exception: whatever the function raises, or DeserializationError.
    """
    function, args, kwargs = unpack_apply_message(bufs)
    return function(*args, **kwargs)
