from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.flux import TaskResult, messages
from parsl.executors.flux.messages import read_result, write_result

NUMBERS = st.integers(0, 2**40)
TO_INSTANCE = st.one_of(
    st.builds(messages.Setup, st.lists(st.text()).map(tuple), st.dictionaries(st.text(), st.booleans() | st.text())),
    st.builds(messages.Run, NUMBERS, st.dictionaries(st.text(), NUMBERS)),
    st.builds(messages.Drop, NUMBERS),
    st.builds(messages.Stop),
    st.builds(messages.Ping),
)
TO_EXECUTOR = st.one_of(
    st.builds(messages.Hello, st.text(), NUMBERS, st.text()),
    st.builds(messages.Started, NUMBERS),
    st.builds(messages.Ended, NUMBERS, st.text()),
    st.builds(messages.Dropped, NUMBERS, st.booleans()),
    st.builds(messages.Bye, st.text()),
)


@given(TO_INSTANCE)
def test_what_goes_to_the_instance_arrives(message: messages.ToInstance) -> None:
    assert messages.for_instance(messages.encode(message)) == message


@given(TO_EXECUTOR)
def test_what_comes_from_the_instance_arrives(message: messages.ToExecutor) -> None:
    assert messages.for_executor(messages.encode(message)) == message


@given(st.binary())
def test_what_is_no_message_is_refused(data: bytes) -> None:
    for decode in (messages.for_instance, messages.for_executor):
        try:
            decode(data)
        except msgspec.DecodeError:
            continue


def test_neither_side_takes_what_is_meant_for_the_other() -> None:
    with pytest.raises(msgspec.ValidationError):
        messages.for_executor(messages.encode(messages.Stop()))
    with pytest.raises(msgspec.ValidationError):
        messages.for_instance(messages.encode(messages.Bye("why")))


@given(st.builds(TaskResult, st.none() | st.binary(), st.none() | st.binary()))
def test_results_are_read_as_they_were_written(result: TaskResult) -> None:
    assert read_result(write_result(result)) == result
