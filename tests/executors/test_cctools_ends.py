"""What the engine's words and exit codes mean."""

from __future__ import annotations

import pytest

from parsl.executors.cctools_ends import reason_of
from parsl.executors.cctools_messages import End


@pytest.mark.parametrize(
    ("end", "reason", "lost"),
    [
        (End(1, "success", 0), "the task's command has left no answer", False),
        (End(1, "success", 3), "the task's command ended with exit code 3 and left no answer", False),
        (
            End(1, "output missing", 127, "it said: python3: not found"),
            "exit code 127 and left no answer: it",
            False,
        ),
        (End(1, "output missing", 0), "not all of its output files were there at its end (OUTPUT_MISSING)", False),
        (End(1, "output missing", 137), "the task's process was ended by signal 9", True),
        (End(1, "success", -15), "the task's process was ended by signal 15", True),
        (End(1, "output missing", 9), "the task's process was ended by signal 9", True),
        (End(1, "resource exhaustion", 0, "memory (limit 100)"), "(RESOURCE_EXHAUSTION): memory (limit 100)", False),
        (End(1, "resource exhaustion", 137), "it used more than it was given (RESOURCE_EXHAUSTION)", False),
        (End(1, "max retries", 0), "its worker was lost as often as max_retries allows (MAX_RETRIES)", True),
        (End(1, "signal", 0), "its process was ended by a signal (SIGNAL)", True),
        (End(1, "forsaken", 0), "(FORSAKEN)", True),
        (End(1, "library exit", 0), "(LIBRARY_EXIT)", True),
        (End(1, "some new word", 0), "the engine gave it up (SOME_NEW_WORD)", False),
    ],
)
def test_the_reason_and_whether_it_is_a_loss(end: End, reason: str, lost: bool) -> None:
    told, is_lost = reason_of(end)
    assert reason in told
    assert is_lost is lost
