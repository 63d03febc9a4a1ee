"""The words of explanations."""

from __future__ import annotations

import pytest

from parsl.dataflow.explanations import (
    Cause,
    ExecutorStatus,
    Reason,
    Status,
    Step,
    Trail,
    ordinal,
    plural,
    span,
    waits_for,
)


def trail(count, **last):
    made = Trail()
    for number in range(count):
        made.add(Step(number, "f", Cause(Reason.DEPENDENCY, f"waits for task {number + 1} (f)")))
    return made.explanation(**last)


def test_a_short_chain_is_told_whole():
    cause = Cause(Reason.QUEUED, "is 3rd of 9 in the queue of executor htex", ["Block 0 is RUNNING."])
    found = trail(2, last=cause)
    assert (found.task, found.reason, found.blocker.task, found.skipped) == (0, Reason.DEPENDENCY, 1, 0)
    assert str(found) == (
        "Task 0 (f) waits for task 1 (f).\n"
        "  Task 1 (f) is 3rd of 9 in the queue of executor htex.\n"
        "    Block 0 is RUNNING."
    )


@pytest.mark.parametrize(("length", "kept", "skipped"), [(8, 8, 0), (9, 9, 0), (10, 9, 1), (100_000, 9, 99_991)])
def test_a_long_chain_keeps_its_head_and_its_end(length, kept, skipped):
    found = trail(length)
    assert (len(found.steps), found.skipped, found.blocker.task) == (kept, skipped, length - 1)
    assert ("more tasks that wait" in str(found)) == (skipped > 0)


def test_what_is_no_task_is_told_of_too():
    assert str(Step(None, None, Cause(Reason.FUTURE, "waits"))) == "It waits."


@pytest.mark.parametrize(
    ("still", "of", "text"),
    [
        (1, 1, "waits for task 7 (f)"),
        (3, 3, "waits for its 3 arguments, of which none is done; the first is task 7 (f)"),
        (2, 3, "waits for 2 of its 3 arguments; the first that is not done is task 7 (f)"),
    ],
)
def test_how_many_are_waited_for(still, of, text):
    cause = waits_for(Reason.DEPENDENCY, "arguments", still, of, "task 7 (f)")
    assert (cause.text, cause.facts) == (text, {"open": still, "of": of})


def test_numbers_in_words():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
    ]  # fmt: skip
    assert (plural(1, "task"), plural(0, "task")) == ("1 task", "0 tasks")
    assert [span(s) for s in (-1, 0.4, 119, 120, 7199, 7200)] == ["0 s", "0 s", "119 s", "2 min", "120 min", "2.0 h"]


def test_a_status_prints_well():
    executors = {
        "htex": ExecutorStatus("HighThroughputExecutor", 3, 2, {"RUNNING": 1, "PENDING": 2}, None),
        "bad": ExecutorStatus("HighThroughputExecutor", 0, 0, {}, "all blocks have failed"),
        "mine": ExecutorStatus("Mine", None, None, {}, None),
    }
    text = str(Status("id", "runinfo/000", {"pending": 2, "launched": 1}, executors, 100, 1))
    assert text == (
        "Run runinfo/000\n"
        "Tasks: 2 pending, 1 launched\n"
        "1 thread held back: 100 tasks are open\n"
        "Executor htex (HighThroughputExecutor): 3 tasks; 2 workers; blocks: 1 RUNNING, 2 PENDING\n"
        "Executor bad (HighThroughputExecutor): 0 tasks; 0 workers; can run no more tasks: all blocks have failed\n"
        "Executor mine (Mine): does not tell more"
    )
    assert "Tasks: none yet" in str(Status("id", "runinfo/000", {}, {}, None, 0))
