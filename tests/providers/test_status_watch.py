from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.status_watch import GRACE, LONGEST_PAUSE, PATIENCE, YOUNG, JobWatch, SystemWatch

OLD = YOUNG + 1


@pytest.fixture
def job():
    return JobWatch(JobStatus(JobState.RUNNING, stdout_path="out", stderr_path="err"), 0.0)


def test_a_system_that_fails_is_left_alone_ever_longer():
    system, now, pauses = SystemWatch("slurm"), 100.0, []
    assert system.is_due(now)
    for _ in range(2000):
        system.on_failure("no", now)
        assert not system.is_due(now)
        pauses.append(next(pause for pause in (2.0**n for n in range(1, 12)) if system.is_due(now + pause)))
    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) >= LONGEST_PAUSE > pauses[-1] / 2
    system.on_success()
    assert system.is_due(now)


def test_a_system_is_complained_of_from_the_third_failure_and_logged_once(caplog):
    system = SystemWatch("slurm")
    with caplog.at_level(logging.WARNING):
        for n in range(1, 7):
            system.on_failure("Unable to contact slurm controller", 0.0)
            assert (system.complaint is None) == (n < PATIENCE)
    assert "Unable to contact slurm controller" in system.complaint
    assert [record.getMessage().count("Unable") for record in caplog.records] == [1]


def test_a_failure_changes_the_message_at_most(job):
    job.on_failure(None)
    assert job.status.message is None
    job.on_failure("slurm is down")
    assert job.status.state is JobState.RUNNING
    assert job.status.message == "slurm is down"
    job.on_heard(JobStatus(JobState.RUNNING), None, "slurm", 1)
    assert job.status.message is None


def test_a_new_word_leaves_the_state_and_is_shown_the_third_time(job):
    for n in range(1, 5):
        job.on_heard(JobStatus(JobState.UNKNOWN, "squeue says DREAMING"), None, "slurm", OLD)
        assert job.status.state is JobState.RUNNING
        assert ("DREAMING" in str(job.status.message)) == (n >= PATIENCE)


def test_paths_are_kept(job):
    job.on_heard(JobStatus(JobState.FAILED, exit_code=3), None, "slurm", OLD)
    assert (job.status.stdout_path, job.status.stderr_path) == ("out", "err")


def test_a_young_job_may_be_unknown():
    job = JobWatch(JobStatus(JobState.PENDING), 0.0)
    for now in range(int(YOUNG)):
        job.on_silence(None, "slurm", float(now))
    assert job.status.state is JobState.PENDING
    assert job.status.message is None


def test_a_job_without_trace_has_ended_when_that_was_said_for_a_while(job):
    for now in (OLD, OLD + 1, OLD + 2, OLD + GRACE - 0.1):
        job.on_silence(None, "slurm", now)
        assert job.status.state is JobState.RUNNING
    job.on_silence(None, "slurm", OLD + GRACE)
    assert job.status.state is JobState.FAILED
    assert "from outside" in job.status.message


def test_a_word_in_between_begins_the_silence_anew(job):
    job.on_silence(None, "slurm", OLD)
    job.on_heard(JobStatus(JobState.RUNNING), None, "slurm", OLD + 50)
    for now in (OLD + 55, OLD + GRACE, OLD + 100):
        job.on_silence(None, "slurm", now)
    assert job.status.state is JobState.RUNNING


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (3, JobState.FAILED)])
def test_what_the_script_left_ends_the_silence_at_once(job, code, state):
    job.on_silence(code, "slurm", 1)
    assert (job.status.state, job.status.exit_code) == (state, code)


def test_a_cancelled_job_that_is_gone_was_cancelled(job):
    job.cancelled = True
    job.on_silence(None, "slurm", OLD)
    assert job.status.state is JobState.CANCELLED


def test_a_cancelled_job_did_not_fail(job):
    job.cancelled = True
    job.on_heard(JobStatus(JobState.FAILED, exit_code=137), None, "slurm", OLD)
    assert job.status.state is JobState.CANCELLED


def test_a_job_that_ended_well_before_it_was_cancelled_completed(job):
    job.cancelled = True
    job.on_heard(JobStatus(JobState.COMPLETED, exit_code=0), None, "slurm", OLD)
    assert job.status.state is JobState.COMPLETED


def test_a_completed_job_whose_script_failed_has_failed(job):
    job.on_heard(JobStatus(JobState.COMPLETED), 5, "torque", OLD)
    assert (job.status.state, job.status.exit_code) == (JobState.FAILED, 5)


HEARD = st.tuples(
    st.just("heard"), st.sampled_from([*JobState]), st.none() | st.integers(0, 255), st.none() | st.integers(0, 255)
)
EVENTS = st.one_of(
    HEARD,
    st.tuples(st.just("silence"), st.none() | st.integers(0, 255)),
    st.tuples(st.just("failure")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("time"), st.floats(0, 50)),
)


@given(st.lists(EVENTS, max_size=40))
def test_no_history_makes_a_guess(events):
    job, now, silent_since, silences = JobWatch(JobStatus(JobState.PENDING), 0.0), 0.0, None, 0
    for event in events:
        before = job.status
        kind, *facts = event
        if kind == "heard":
            state, code, left = facts
            if state is JobState.MISSING:  # like silence, see there
                continue
            job.on_heard(JobStatus(state, "words", code), left, "slurm", now)
            known = {state, JobState.CANCELLED if job.cancelled else state, before.state}
            failed = state is JobState.COMPLETED and (code if code is not None else left)
            assert job.status.state in known | ({JobState.FAILED} if failed else set())
            assert not (job.status.state is JobState.COMPLETED and not before.terminal and (job.status.exit_code or 0))
            silent_since, silences = None, 0
        elif kind == "silence":
            job.on_silence(facts[0], "slurm", now)
            if facts[0] is None and now >= YOUNG:
                silent_since = now if silent_since is None else silent_since
                silences += 1
            ended = job.status.terminal and not before.terminal
            patient = silent_since is not None and now - silent_since >= GRACE
            assert not ended or facts[0] is not None or job.cancelled or patient
            assert job.status.state is not JobState.COMPLETED or before.terminal or facts[0] == 0
        elif kind == "failure":
            job.on_failure("down")
            assert job.status.state is before.state
        elif kind == "cancel":
            job.cancelled = True
        else:
            now += facts[0]
        assert not before.terminal or job.status is before
