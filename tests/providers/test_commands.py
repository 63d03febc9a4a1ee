from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.providers.commands import Answer, batched, match_rows

ROW = re.compile(r"(\d+) (\w+)")


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_are_full_but_the_last(things, n):
    batches = list(batched(things, n))
    assert [thing for batch in batches for thing in batch] == things
    assert all(len(batch) == n for batch in batches[:-1])
    assert all(0 < len(batch) <= n for batch in batches)


def test_a_strict_batch_is_full():
    assert list(batched("abcd", 2, strict=True)) == [("a", "b"), ("c", "d")]
    with pytest.raises(ValueError, match="last batch"):
        list(batched("abc", 2, strict=True))


def test_batches_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        list(batched("abc", 0))


def test_rows_are_found_among_banners():
    assert [row[1] for row in match_rows(ROW, "Welcome!\n\n 1 RUNNING\n2 PENDING\n")] == ["1", "2"]


def test_an_empty_table_has_no_rows():
    assert match_rows(ROW, " \n\n") == []


def test_a_text_without_any_row_is_not_an_empty_table():
    with pytest.raises(ValueError, match="down for maintenance"):
        match_rows(ROW, "The cluster is down for maintenance.\n")


def test_words_are_one_line_with_the_exit_code():
    assert Answer("squeue -h", 1, "", "slurm:\n  no\n").words == "squeue: slurm: no (exit code 1)"


def test_words_come_from_standard_output_if_nothing_else_was_said():
    assert Answer("qdel 1", 1, "denied\n", " ").words == "qdel: denied (exit code 1)"


def test_a_missing_command_is_named():
    words = Answer("no-such-command 1", 127, "", "sh: not found").words
    assert "no-such-command" in words
    assert "PATH" in words
