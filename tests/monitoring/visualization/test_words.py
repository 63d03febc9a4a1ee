from __future__ import annotations

import pytest

from parsl.dataflow.states import States
from parsl.monitoring.visualization import words


def test_every_state_has_a_word_and_a_colour():
    assert set(words.STATES) == set(words.EXPLANATIONS) == set(States)
    assert words.state_word(None) == "unknown"
    assert words.state_kind(States.memo_done) == "memo"


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        (None, words.NOTHING), (-1, "0 ms"), (0, "0 ms"), (0.0012, "1.2 ms"), (0.34, "340 ms"), (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"), (245, "4 min 05 s"), (3599.7, "1 h 00 min"), (7620, "2 h 07 min"), (274000, "3 d 04 h"),
    ],
)  # fmt: skip
def test_durations(seconds, word):
    assert words.duration(seconds) == word


@pytest.mark.parametrize(
    ("number", "word"),
    [(0, "0 B"), (512, "512 B"), (3400, "3.4 kB"), (99_600, "100 kB"), (1.2e9, "1.2 GB"), (5e16, "50000 TB")],
)
def test_sizes(number, word):
    assert words.size(number) == word


def test_numbers_and_times():
    assert words.size(None) == words.NOTHING
    assert words.count(1234567) == "1,234,567"
    assert words.count(None) == words.moment(None) == words.NOTHING
    assert words.moment(0.0)[4:8] == words.exact(0.0)[4:8]
    assert words.exact(0.25).endswith(".250")


def test_a_bar_is_divided_among_states():
    found = words.segments({States.failed: 1, States.exec_done: 2, States.pending: 1, States.joining: 0})
    assert [(s.start, s.length, s.kind, s.title) for s in found] == [
        (0.0, 500.0, "done", "2 done"), (500.0, 250.0, "failed", "1 failed"), (750.0, 250.0, "pending", "1 pending"),
    ]  # fmt: skip
    assert words.segments({}) == []
    assert words.segments({States.exec_done: 1}, total=4)[0].length == 250.0
