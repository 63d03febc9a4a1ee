from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus

LIMIT = JobStatus.SUMMARY_TRUNCATION_THRESHOLD


def test_states_have_the_public_names_and_values() -> None:
    assert {state.name: state.value for state in JobState} == {
        "UNKNOWN": 0,
        "PENDING": 1,
        "RUNNING": 2,
        "CANCELLED": 3,
        "COMPLETED": 4,
        "FAILED": 5,
        "TIMEOUT": 6,
        "HELD": 7,
        "MISSING": 8,
        "SCALED_IN": 9,
    }


@pytest.mark.parametrize("state", JobState)
def test_states_show_by_name_and_compare_as_numbers(state: JobState) -> None:
    assert str(state) == f"{state}" == f"JobState.{state.name}"
    assert f"{state:>20}" == f"JobState.{state.name}".rjust(20)
    assert JobState(int(state)) is state
    assert pickle.loads(pickle.dumps(state)) is state


@pytest.mark.parametrize("state", JobState)
def test_terminal(state: JobState) -> None:
    goes_on = {JobState.UNKNOWN, JobState.PENDING, JobState.RUNNING, JobState.HELD}
    assert JobStatus(state).terminal is (state not in goes_on) is (state in TERMINAL_STATES)
    assert JobStatus(state).status_name == state.name


def test_status_without_files_has_no_output() -> None:
    status = JobStatus(JobState.PENDING)
    assert (status.message, status.exit_code, status.stdout_path, status.stderr_path) == (None, None, None, None)
    assert (status.stdout, status.stderr, status.stdout_summary, status.stderr_summary) == (None, None, None, None)


def test_unreadable_files_are_none_and_not_an_error(tmp_path: Path) -> None:
    status = JobStatus(JobState.FAILED, stdout_path=str(tmp_path / "absent"), stderr_path=str(tmp_path))
    assert (status.stdout, status.stderr, status.stdout_summary, status.stderr_summary) == (None, None, None, None)


def test_short_output_is_shown_whole(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("x" * LIMIT)
    err.write_bytes(b"caf\xc3\xa9 \xff")
    status = JobStatus(JobState.FAILED, stdout_path=str(out), stderr_path=str(err))
    assert status.stdout == status.stdout_summary == "x" * LIMIT
    assert status.stderr == status.stderr_summary == "caf\xe9 \ufffd"


def test_long_output_shows_begin_end_and_what_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("begin" + "x" * LIMIT + "end")
    status = JobStatus(JobState.FAILED, stdout_path=str(out))
    summary = status.stdout_summary
    assert summary is not None
    assert summary.startswith("beginx")
    assert summary.endswith("xend")
    assert "8 bytes truncated" in summary
    assert str(out) in summary
    assert status.stdout == "begin" + "x" * LIMIT + "end"


@given(size=st.integers(0, 3 * LIMIT), threshold=st.integers(2, 2 * LIMIT))
def test_summary_loses_only_what_it_says(tmp_path_factory: pytest.TempPathFactory, size: int, threshold: int) -> None:
    class Small(JobStatus):
        SUMMARY_TRUNCATION_THRESHOLD = threshold

    path = tmp_path_factory.getbasetemp() / "output"
    text = "".join(chr(ord("a") + i % 26) for i in range(size))
    path.write_text(text)
    summary = Small(JobState.FAILED, stderr_path=str(path)).stderr_summary
    assert summary is not None
    if size <= threshold:
        assert summary == text
    else:
        head, notice, tail = summary.split("\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert f" {size - len(head) - len(tail)} bytes truncated" in notice
        assert threshold - 1 <= len(head + tail) <= threshold


def test_repr_shows_what_is_known() -> None:
    assert repr(JobStatus(JobState.RUNNING)) == "JobStatus(JobState.RUNNING)"
    shown = repr(JobStatus(JobState.FAILED, "no luck", 3, "/a.stdout", "/a.stderr"))
    assert shown == (
        "JobStatus(JobState.FAILED, message='no luck', exit_code=3, stdout_path='/a.stdout', stderr_path='/a.stderr')"
    )
    assert "exit_code=0" in repr(JobStatus(JobState.COMPLETED, exit_code=0))
