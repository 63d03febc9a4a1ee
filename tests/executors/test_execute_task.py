"""execute_task: one packed call, made."""

from __future__ import annotations

import pytest

from parsl.executors.execute_task import execute_task
from parsl.serialize.errors import DeserializationError
from parsl.serialize.facade import pack_apply_message


def test_a_packed_call_is_made() -> None:
    assert execute_task(pack_apply_message(pow, (2, 5), {"mod": 7})) == 4


def test_a_function_of_this_module_and_a_closure() -> None:
    base = 10
    assert execute_task(pack_apply_message(lambda x, *, y=1: base + x * y, (2,), {"y": 3})) == 16


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        execute_task(pack_apply_message(divmod, (1, 0), {}))


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x00" * 40, b"3 4 5\n"])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(DeserializationError):
        execute_task(garbage)
