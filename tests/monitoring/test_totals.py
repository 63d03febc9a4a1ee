"""What is added up must be what the whole would come to, however it is cut and however coarse it is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.dataflow.states import States
from parsl.monitoring import totals
from parsl.monitoring.totals import BINS, DURATIONS, FINEST, SLOWEST, Totals

AT = 1_000_000.0
DONE = int(States.exec_done)
SEEN = (3, AT + 1, AT + 2, 0.5, 100, True)


def busy_between(use, level, begin, end, kind=0):
    """Integrate the weight of all lanes from one time to another: both on the edge of a bin, or outside of all."""
    width = 2.0**level

    def until(time):
        rows = [(n * width, row) for (n, *_), row in use.items() if n * width < time]
        return sum(row[kind] * (time - at) - row[kind + 1] for at, row in rows)

    return until(end) - until(begin)


def test_states_are_counted_by_bin():
    made = Totals()
    made.came(AT)
    made.came(AT + 0.001)
    made.launched(AT + 0.5)
    made.ended(AT + 1, DONE)
    made.ended(AT + 1, int(States.dep_fail))
    made.ended(AT + 1, int(States.memo_done))
    sums = made.take()
    first = int(AT * 64)
    assert sums.level == FINEST
    assert sums.flow == {(first,): [2, 0, 0, 0], (first + 32,): [0, 1, 0, 0], (first + 64,): [0, 2, 3, 1]}
    assert made.take().flow == {}


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), max_size=10), st.integers(0, 9))
def test_coarser_bins_hold_the_same_work(tries, steps):
    made = Totals()
    for number, (start, took) in enumerate(tries):
        seen = (1 + number % 2, AT + start, AT + start + took, 0.25, 1000, False)
        made.closed(number, 0, "app", "htex", AT, AT + 200, seen)
    sums = made.take()
    use = totals.coarser_use(sums.use, sums.level, steps, 0, 2**60)
    level = FINEST + steps
    edge = round(AT / 2.0**level) * 2.0**level + 48
    for begin, end in ((AT - 1000, AT + 1000), (edge, edge + 16)):
        expected = sum(max(min(AT + s + took, end) - max(AT + s, begin), 0) for s, took in tries)
        assert busy_between(use, level, begin, end) == pytest.approx(expected, abs=1e-4)
        assert busy_between(use, level, begin, end, 4) == pytest.approx(1000 * expected, abs=1e-1)
    # What took no time at all has used no cores.
    lasting = sum((AT + start + took) > (AT + start) for start, took in tries)
    assert busy_between(use, level, AT - 1000, AT + 1000, 2) == pytest.approx(0.25 * lasting, abs=1e-4)
    assert sum(row[6] for row in use.values()) == len(tries)


def test_a_clock_that_is_far_off_counts_at_the_edge():
    made = Totals()
    made.closed(1, 0, "app", "htex", AT, AT + 1, (1, 5.0, 7.0, 1.0, 10, False))
    made.closed(2, 0, "app", "htex", AT, AT + 1, (1, AT + 1e6, AT + 1e6 + 2, 1.0, 10, False))
    first = int(AT * 64)
    use = totals.coarser_use(made.take().use, FINEST, 0, first, first + BINS - 1)
    assert {key[0] for key in use} == {first, first + BINS - 1}
    assert busy_between(use, FINEST, AT - 10, AT + 100) == pytest.approx(0, abs=1e-6)


def test_levels_rise_until_the_bins_are_few_enough():
    assert totals.level_for(0, BINS - 1, -6) == -6
    assert totals.level_for(0, BINS, -6) == -5
    assert totals.level_for(5, 5, 3) == 3
    assert totals.level_for(0, 60 * 60 * 24 * 365 * 64, -6) == 17  # a year: bins of a day and a half


def test_what_a_worker_says_too_late_takes_the_place_of_the_kernels_times():
    late, soon = Totals(), Totals()
    late.closed(1, 0, "app", "threads", AT, AT + 3, None)
    late.sampled(1, 0, SEEN)
    soon.sampled(1, 0, SEEN)
    soon.closed(1, 0, "app", "threads", AT, AT + 3, None)
    one, other = late.take(), soon.take()
    assert one.durations == other.durations == {("app", DURATIONS.index(1.0)): 1}
    assert {key: row for key, row in one.use.items() if key[1]} == other.use
    assert busy_between(one.use, FINEST, AT - 10, AT + 10) == pytest.approx(1)


def test_samples_of_a_try_count_once_with_the_most_memory():
    made = Totals()
    made.sampled(1, 0, (3, AT + 1, None, 0.1, 900, True))
    made.sampled(1, 0, (3, AT + 1, None, 0.2, 500, True))
    made.closed(1, 0, "app", "htex", AT, AT + 3, SEEN)
    rows = made.take().use.values()
    assert [sum(row[at] for row in rows) for at in (6, 7)] == [1, 0.5]
    assert max(row[8] for row in rows) == 900


def test_only_so_many_tries_without_a_word_are_remembered(monkeypatch):
    monkeypatch.setattr(totals, "_MOST_UNSEEN", 2)
    made = Totals()
    for task in range(3):
        made.closed(task, 0, "app", "threads", AT, AT + 3, None)
    made.take()
    made.sampled(0, 0, SEEN)
    assert made.take().use == {}
    made.sampled(2, 0, SEEN)
    assert made.take().use != {}


def test_the_longest_tries_are_kept():
    made = Totals()
    for task in range(3 * SLOWEST):
        made.closed(task, 0, "app", "htex", AT, AT, (1, AT, AT + (task * 7919) % 997, 0.0, 0, False))
    times = sorted(((task * 7919) % 997 for task in range(3 * SLOWEST)), reverse=True)
    assert [took for _, _, took in made.take().slow] == times[:SLOWEST]
    made.closed(1000, 0, "app", "htex", AT, AT, (1, AT, AT + times[SLOWEST], 0.0, 0, False))
    made.closed(1001, 0, "app", "htex", AT, AT, (1, AT, AT + 5000, 0.0, 0, False))
    assert made.take().slow == [(1001, 0, 5000)]


def test_who_waits_for_whom_is_added_up():
    made = Totals()
    for join in (0, 0, 1):
        made.waits("after", join, {"before": 2, "after": 1})
    assert made.take().edges == {
        ("before", "after", 0): 4, ("after", "after", 0): 2, ("before", "after", 1): 2, ("after", "after", 1): 1,
    }  # fmt: skip
