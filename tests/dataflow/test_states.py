"""The table of states."""

from __future__ import annotations

import pytest

from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, LEGAL, States


def reachable(start: States) -> set[States]:
    found = {start}
    todo = [start]
    while todo:
        for state in LEGAL[todo.pop()] - found:
            found.add(state)
            todo.append(state)
    return found


def test_the_numbers_are_those_of_the_database() -> None:
    assert {s.name: s.value for s in States} == {
        "unsched": -1,
        "pending": 0,
        "running": 2,
        "exec_done": 3,
        "failed": 4,
        "dep_fail": 5,
        "launched": 7,
        "fail_retryable": 8,
        "memo_done": 9,
        "joining": 10,
        "running_ended": 11,
    }


def test_each_state_has_a_row() -> None:
    assert set(LEGAL) == set(States)


def test_every_state_can_be_reached() -> None:
    assert reachable(States.unsched) == set(States)


@pytest.mark.parametrize("state", States, ids=lambda s: s.name)
def test_an_end_can_be_reached_from_every_state_and_is_one(state: States) -> None:
    assert reachable(state) & FINAL_STATES
    assert (not LEGAL[state]) == (state in FINAL_STATES)


def test_no_state_follows_itself() -> None:
    assert not any(state in LEGAL[state] for state in States)


def test_failures_are_final() -> None:
    assert FINAL_FAILURE_STATES < FINAL_STATES
    assert {States.failed, States.dep_fail} == FINAL_FAILURE_STATES


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        LEGAL[States.pending] = frozenset()  # type: ignore[index]
