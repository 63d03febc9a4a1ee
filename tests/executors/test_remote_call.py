"""Calls packed for engines that know nothing of this package."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.executors.remote_call import (
    NO_ARGUMENTS,
    CallFailed,
    failure_of,
    join_parts,
    note,
    pack_call,
    pack_parts,
    run_packed,
    run_parts,
    unpack,
    value_of,
)
from parsl.serialize.errors import DeserializationError, SerializationError


class Here(Reference):
    """A reference whose value is at hand."""

    def __init__(self, value: Any) -> None:
        super().__init__("engine")
        self.value = value

    def fetch(self, done: Callable[[Outcome], object]) -> None:
        done(Value(self.value))


@pytest.fixture
def path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def packed(value: Any) -> bytes:
    call, _ = pack_call(lambda: value, (), {})
    return run_packed(call)


def test_a_call_goes_there_and_comes_back() -> None:
    call, references = pack_call(lambda a, b=0: (a, b), ([1, "two"],), {"b": 3})
    assert references == []
    assert unpack(run_packed(call)) == ([1, "two"], 3)


def test_a_function_is_unpacked_once_and_an_object_with_state_for_each_call() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def up(self) -> int:
            self.count += 1
            return self.count

    def remember(seen: list[int] = []) -> int:  # noqa: B006 - what a kept function remembers
        seen.append(1)
        return len(seen)

    kept, _ = pack_call(remember, (), {})
    assert [unpack(run_packed(kept)) for _ in range(2)] == [1, 2]
    fresh, _ = pack_call(Counter().up, (), {})
    assert [unpack(run_packed(fresh)) for _ in range(2)] == [1, 1]


def test_large_buffers_go_along() -> None:
    data = bytearray(b"x" * 1_000_000)
    call, _ = pack_call(lambda d: bytes(d) + b"y", (data,), {})
    assert unpack(run_packed(call)) == b"x" * 1_000_000 + b"y"


@pytest.mark.parametrize("value", [None, 7, "text", (1, [2]), {"a": 1}, b"x" * 1_000_000])
def test_parts_do_as_well_as_one_string(value: Any) -> None:
    parts, references = pack_parts(lambda a, b: (a, b)[0], (value,), {"b": bytearray(1_000_000)})
    assert references == []
    # As any engine sends them.
    done = run_parts(*pickle.loads(pickle.dumps(parts)))
    outcome = value_of(pickle.loads(pickle.dumps(done)))
    assert isinstance(outcome, Value)
    assert outcome.result == value


def test_function_and_arguments_may_travel_apart() -> None:
    parts, _ = pack_parts(lambda a, b=0: (a, b), (1,), {"b": 2})
    assert unpack(run_packed(join_parts(parts[:2]) + join_parts(parts[2:]))) == (1, 2)
    assert pack_parts(dict, (), {})[0][2:] == NO_ARGUMENTS
    assert pack_parts(dict, (), {"a": 1})[0][2:] != NO_ARGUMENTS


def test_a_plain_result_stays_as_it_is_and_others_are_packed() -> None:
    assert run_parts(*pack_parts(lambda: 7, (), {})[0]) == (7,)
    packed = run_parts(*pack_parts(lambda: lambda: 7, (), {})[0])
    assert isinstance(packed, bytes)
    assert unpack(packed)() == 7
    with pytest.raises(CallFailed) as raised:
        run_parts(*pack_parts(lambda: 1 / 0, (), {})[0])
    assert isinstance(failure_of(raised.value, 1).exception, ZeroDivisionError)


def test_an_exception_comes_as_one_that_any_engine_can_carry() -> None:
    class OddError(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("odd")

    def fail() -> None:
        raise OddError(1, 2)

    call, _ = pack_call(fail, (), {})
    with pytest.raises(CallFailed) as raised:
        run_packed(call)
    assert raised.value.__context__ is None
    carried = pickle.loads(pickle.dumps(raised.value))
    assert str(len(carried.packed)) in str(carried)
    exception = failure_of(carried, 7).exception
    assert type(exception).__name__ == "OddError"
    assert exception.__notes__[-1].startswith("in task 7 on host ")
    traceback = exception.__traceback__
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "fail"


def test_a_wish_to_exit_is_an_exception_and_an_interrupt_stays_one() -> None:
    call, _ = pack_call(sys.exit, (3,), {})
    with pytest.raises(CallFailed) as raised:
        run_packed(call)
    assert isinstance(failure_of(raised.value, 1).exception, SystemExit)

    def interrupted() -> None:
        raise KeyboardInterrupt

    call, _ = pack_call(interrupted, (), {})
    with pytest.raises(KeyboardInterrupt):
        run_packed(call)


def test_what_cannot_be_packed_names_the_argument() -> None:
    with pytest.raises(SerializationError, match="'made'"):
        pack_call(len, (), {"made": (i for i in ())})


def test_a_result_that_cannot_be_packed_is_the_call_s_failure() -> None:
    call, _ = pack_call(lambda: (i for i in ()), (), {})
    with pytest.raises(CallFailed) as raised:
        run_packed(call)
    assert isinstance(failure_of(raised.value, 1).exception, SerializationError)


def test_garbage_is_an_error_and_no_crash() -> None:
    with pytest.raises(DeserializationError):
        unpack(b"garbage")
    for outcome in (value_of(b"garbage"), value_of(b""), failure_of(CallFailed(b"garbage"), 1)):
        assert isinstance(outcome, Error)
    with pytest.raises(CallFailed):
        run_packed(b"garbage")


def test_references_travel_as_numbers_and_arrive_as_values() -> None:
    one, two = Here("unused"), Here("unused")
    call, references = pack_call(lambda boxes, last: (boxes, last), ([{"a": one}, two],), {"last": one})
    assert references == [one, two]
    assert unpack(run_packed(call, (), packed(1), packed([2]))) == ([{"a": 1}, [2]], 1)


def test_a_reference_is_packed_for_nobody_else() -> None:
    with pytest.raises(TypeError, match="has stayed on executor engine"):
        pickle.dumps(Here(1))
    # Nor once a call has been packed.
    pack_call(len, ([Here(1)],), {})
    with pytest.raises(TypeError, match="has stayed on executor engine"):
        pickle.dumps(Here(1))


def test_modules_are_looked_for_where_the_script_looks(path: None, tmp_path: Any) -> None:
    (tmp_path / "module_of_the_script.py").write_text("answer = 42\n")
    call, _ = pack_call(lambda: __import__("module_of_the_script").answer, (), {})
    assert unpack(run_packed(call, [str(tmp_path)])) == 42
    assert run_packed(call, [str(tmp_path)])
    assert sys.path.count(str(tmp_path)) == 1


def test_notes_gather_even_on_what_refuses_attributes() -> None:
    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    error = Frozen()
    note(error, "one")
    note(error, "two")
    assert error.__notes__ == ["one", "two"]
