from __future__ import annotations

import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.errors import ParslError
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler, windowed_error_handler
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState, JobStatus

FAILED = [JobState.FAILED, JobState.TIMEOUT, JobState.MISSING]


class Executor:
    """What a handler may touch, and nothing else."""

    def __init__(self, init_blocks: int = 1) -> None:
        self.provider = types.SimpleNamespace(init_blocks=init_blocks)
        self.exceptions: list[Exception] = []

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        self.exceptions.append(exception)


def blocks(*states: JobState, first: int = 0) -> dict[str, JobStatus]:
    return {str(first + i): JobStatus(state) for i, state in enumerate(states)}


def test_noop_never_gives_up() -> None:
    executor = Executor()
    noop_error_handler(executor, blocks(*FAILED * 10))
    assert executor.exceptions == []


@pytest.mark.parametrize("state", JobState)
def test_simple_counts_failures_only(state: JobState) -> None:
    executor = Executor()
    simple_error_handler(executor, blocks(state))
    assert bool(executor.exceptions) is (state in FAILED)


@pytest.mark.parametrize(("init_blocks", "needed"), [(0, 1), (1, 1), (2, 2), (5, 5)])
def test_simple_waits_for_as_many_as_the_executor_begins_with(init_blocks: int, needed: int) -> None:
    executor = Executor(init_blocks)
    for count in range(needed):
        simple_error_handler(executor, blocks(*[JobState.FAILED] * count))
    assert executor.exceptions == []
    simple_error_handler(executor, blocks(*[JobState.FAILED] * needed))
    assert isinstance(executor.exceptions[0], TooManyJobFailuresError)
    assert isinstance(executor.exceptions[0], ParslError)


@pytest.mark.parametrize("good", sorted(set(JobState) - set(FAILED)))
def test_simple_is_stopped_by_one_block_that_did_not_fail(good: JobState) -> None:
    executor = Executor()
    simple_error_handler(executor, blocks(JobState.FAILED, good, JobState.FAILED, JobState.MISSING))
    assert executor.exceptions == []


def test_windowed_looks_at_the_newest_three_by_number() -> None:
    executor = Executor()
    status = blocks(*[JobState.FAILED] * 9, JobState.RUNNING, JobState.FAILED, JobState.FAILED)
    windowed_error_handler(executor, status)
    assert executor.exceptions == []  # blocks 9, 10, 11; the text order would be 7, 8, 9
    windowed_error_handler(executor, {**status, "12": JobStatus(JobState.MISSING)})
    text = str(executor.exceptions[0])
    assert "Block 10: FAILED" in text
    assert "Block 12: MISSING" in text
    assert "Block 9" not in text
    assert "Block 1:" not in text


def test_windowed_needs_a_full_window() -> None:
    executor = Executor()
    windowed_error_handler(executor, blocks(JobState.FAILED, JobState.FAILED))
    assert executor.exceptions == []
    windowed_error_handler(executor, blocks(JobState.FAILED, JobState.FAILED), threshold=2)
    assert len(executor.exceptions) == 1


def test_ids_that_are_no_numbers_count_as_older() -> None:
    executor = Executor()
    status = {"10": JobStatus(JobState.FAILED), "auto": JobStatus(JobState.RUNNING), "9": JobStatus(JobState.FAILED)}
    windowed_error_handler(executor, status, threshold=2)
    assert len(executor.exceptions) == 1


@given(
    states=st.lists(st.sampled_from(list(JobState)), max_size=8), threshold=st.integers(1, 5), first=st.integers(0, 99)
)
def test_windowed_gives_up_just_when_the_end_of_the_row_failed(
    states: list[JobState], threshold: int, first: int
) -> None:
    executor = Executor()
    row = blocks(*states, first=first)
    windowed_error_handler(executor, dict(reversed(row.items())), threshold)
    expected = len(states) >= threshold and all(state in FAILED for state in states[-threshold:])
    assert bool(executor.exceptions) is expected


def test_the_exception_tells_all_about_each_failed_block(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("hello\nthere\n")
    err.write_text("no such module\n" + "x" * 10_000 + "\nlast words\n")
    executor = Executor()
    status = {
        "0": JobStatus(JobState.MISSING, "ended before a worker registered", 0, str(out), str(err)),
        "1": JobStatus(JobState.FAILED, "submit failed"),
    }
    simple_error_handler(executor, status)
    text = str(executor.exceptions[0])
    assert text.startswith("2 blocks failed")
    assert "Block 0: MISSING: ended before a worker registered\n    EXIT CODE: 0\n" in text
    assert "    STDOUT:\n        hello\n        there\n" in text
    assert "no such module" in text
    assert "truncated" in text
    assert "last words" in text
    assert text.endswith("Block 1: FAILED: submit failed")
    assert len(text) < 3000
