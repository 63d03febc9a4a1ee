from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from parsl.jobs.backoff import Backoff


def test_pauses_double_up_to_a_minute():
    backoff, now, pauses = Backoff(), 100.0, []
    for _ in range(9):
        assert not backoff.holds(now)
        pauses.append(backoff.on_failure(now, asked=now))
        now = backoff.until
        assert backoff.holds(now - 0.01)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_without_a_failure_there_is_no_pause():
    assert not Backoff().holds(0.0)
    assert not Backoff().holds(-1e9)


def test_one_that_works_ends_it():
    backoff = Backoff()
    for now in (1.0, 2.0, 3.0):
        backoff.on_failure(now, asked=now)
    backoff.on_success()
    assert not backoff.holds(3.0)
    assert backoff.on_failure(4.0, asked=4.0) == 1


def test_blocks_that_were_asked_for_together_fail_once():
    backoff = Backoff()
    assert backoff.on_failure(10.0, asked=5.0) == 1
    assert backoff.on_failure(10.5, asked=5.0) == 0.5
    assert backoff.on_failure(15.0, asked=5.0) == 0
    assert not backoff.holds(15.0)
    assert backoff.on_failure(20.0, asked=12.0) == 2


def test_one_that_was_asked_for_before_others_worked_counts_as_the_first():
    backoff = Backoff()
    backoff.on_failure(10.0, asked=5.0)
    backoff.on_success()
    assert backoff.on_failure(11.0, asked=5.0) == 1


@example([(True, 52.0), *[(True, 99.02351755722256)] * 8])
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=200))
def test_no_pause_is_longer_than_a_minute_nor_negative(history):
    backoff, now = Backoff(), 0.0
    for failed, seconds in history:
        now += seconds
        if failed:
            assert 0 <= backoff.on_failure(now, asked=now) <= 60
        else:
            backoff.on_success()
        assert backoff.until <= now + 60
