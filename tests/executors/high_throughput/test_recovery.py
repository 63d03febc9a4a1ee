from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput.recovery import BUSY, FROZEN, WELL, Pulse, Recovery, RestartLimit

# -- calls of a dead interchange ---------------------------------------------------------------------------------------


def test_what_no_manager_has_is_to_be_sent_again():
    recovery = Recovery([3, 1, 2, 4], ["a", "b"])
    recovery.held("a", [2, 99])
    assert not recovery.complete
    recovery.held("b", [4])
    assert recovery.complete
    assert recovery.nowhere() == [1, 3]


def test_without_managers_there_is_nothing_to_wait_for():
    assert Recovery([1], []).complete


def test_who_has_not_come_back_is_known():
    recovery = Recovery([1], ["a", "b"])
    recovery.held("a", [])
    assert recovery.awaited == {"b"}


@given(
    calls=st.sets(st.integers(1, 20)),
    managers=st.dictionaries(st.sampled_from("abcd"), st.sets(st.integers(1, 25))),
    back=st.lists(st.sampled_from("abcde")),
)
def test_a_call_is_with_a_manager_or_nowhere(calls, managers, back):
    recovery = Recovery(calls, managers)
    for name in back:
        recovery.held(name, managers.get(name, ()))
    held = set().union(*(managers[n] for n in back if n in managers))
    assert set(recovery.nowhere()) == calls - held
    assert recovery.awaited == set(managers) - set(back)
    assert recovery.complete == (not recovery.awaited)


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_so_many_restarts_in_so_much_time_and_no_more():
    limit = RestartLimit(2, 60)
    assert [limit.allows(t) for t in (0, 1, 2, 60, 60.5, 61.5)] == [True, True, False, False, True, True]


@given(times=st.lists(st.floats(0, 300)).map(sorted), most=st.integers(0, 4))
def test_never_more_restarts_than_the_limit_in_any_window(times, most):
    limit = RestartLimit(most, 60)
    allowed = [t for t in times if limit.allows(t)]
    for first in allowed:
        assert sum(first <= t <= first + 60 for t in allowed) <= max(most, 0)


# -- signs of life -----------------------------------------------------------------------------------------------------


class Process:
    """How much of the processor somebody has used; negative when it is stopped."""

    def __init__(self):
        self.used = 1.0

    def __call__(self):
        return self.used


@pytest.fixture
def process():
    return Process()


@pytest.fixture
def pulse():
    return Pulse(period=1, limit=1.5, patience=30, now=0)


def test_who_answers_is_well(pulse, process):
    for now in range(1, 10):
        pulse.heard(now - 0.9)
        assert pulse.look(now, process) == WELL


def test_a_stopped_process_is_frozen_as_soon_as_it_is_silent(pulse, process):
    process.used = -1.0
    assert pulse.look(1, process) == WELL
    assert pulse.look(2, process) == FROZEN


def test_one_that_waits_for_ever_is_frozen_a_look_later(pulse, process):
    assert [pulse.look(now, process) for now in (1, 2, 3)] == [WELL, BUSY, FROZEN]


def test_a_busy_process_gets_more_time_but_not_for_ever(pulse, process):
    said = []
    for now in range(1, 33):
        process.used += 0.5
        said.append(pulse.look(now, process))
    assert said[0] == WELL
    assert set(said[1:30]) == {BUSY}
    assert said[30:] == [FROZEN, FROZEN]


def test_who_answers_after_all_is_well_again(pulse, process):
    pulse.look(1, process)
    assert pulse.look(2, process) == BUSY
    pulse.heard(2.5)
    assert pulse.look(3, process) == WELL
    assert pulse.look(4, process) == WELL
    assert pulse.look(5, process) == BUSY, "its processor time is compared with what it was in this silence"


def test_who_looks_late_was_asleep_itself(pulse, process):
    process.used = -1.0
    pulse.look(1, process)
    assert pulse.look(100, process) == WELL
    assert pulse.look(101, process) == FROZEN
