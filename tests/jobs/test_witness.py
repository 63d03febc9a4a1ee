from __future__ import annotations

import pytest

from parsl.jobs import witness
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.jobs.witness import Doubt, Evidence, judge

LIVE = [s for s in JobState if s not in TERMINAL_STATES]
ENDS = sorted(TERMINAL_STATES)

UNHEARD = Evidence(connected=False, seen=False)
HEARD = Evidence(connected=True, seen=True)
SILENT = Evidence(connected=False, seen=True)


def told(state, message=None):
    return JobStatus(state, message, 7, "/out", "/err")


def believed(state, evidence, message=None):
    return judge(told(state, message), evidence, Doubt(), 0.0)


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("evidence", [UNHEARD, SILENT])
def test_of_a_block_that_is_not_heard_of_the_provider_says_where_it_stands(state, evidence):
    status = told(state)
    assert judge(status, evidence, Doubt(), 0.0) is status


@pytest.mark.parametrize("state", LIVE)
def test_a_block_that_is_heard_of_runs(state):
    status = believed(state, HEARD, "squeue timed out")
    assert status.state is JobState.RUNNING
    if state is not JobState.RUNNING:
        assert status.message == f"the provider says {state.name}, but its managers are connected: squeue timed out"


@pytest.mark.parametrize("state", ENDS)
def test_an_end_is_believed_once_the_managers_are_gone_too(state):
    status = told(state)
    assert judge(status, SILENT, Doubt(), 0.0) is status


@pytest.mark.parametrize("state", ENDS)
def test_a_block_that_ended_unheard_of_is_missing(state):
    status = believed(state, UNHEARD)
    assert status.state is JobState.MISSING
    assert "before its workers connected" in status.message
    assert (status.exit_code, status.stdout_path, status.stderr_path) == (7, "/out", "/err")
    assert believed(state, UNHEARD, "killed by the administrator").message == "killed by the administrator"


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize(("connected", "seen"), [(True, True), (False, True), (False, False)])
def test_the_end_of_a_block_that_was_given_back_is_our_doing(state, connected, seen):
    assert believed(state, Evidence(connected, seen, given_back=True)).state is JobState.SCALED_IN


@pytest.mark.parametrize("state", ENDS)
def test_an_end_that_managers_deny_is_believed_when_the_provider_insists(state):
    doubt = Doubt()
    for now in (100.0, 101.0, 130.0, 159.0):
        status = judge(told(state), HEARD, doubt, now)
        assert status.state is JobState.RUNNING
        assert status.exit_code is None
        assert status.message == f"the provider says {state.name}, but its managers are connected"
    assert judge(told(state), HEARD, doubt, 160.0).state is state


def test_looks_far_apart_are_no_insisting():
    doubt = Doubt()
    judge(told(JobState.COMPLETED), HEARD, doubt, 0.0)
    assert judge(told(JobState.COMPLETED), HEARD, doubt, 1000.0).state is JobState.RUNNING
    assert judge(told(JobState.COMPLETED), HEARD, doubt, 1001.0).state is JobState.COMPLETED


def test_a_provider_that_takes_it_back_has_to_begin_anew():
    doubt = Doubt()
    for now in (0.0, 30.0):
        judge(told(JobState.FAILED), HEARD, doubt, now)
    assert judge(told(JobState.RUNNING), HEARD, doubt, 50.0).message is None
    assert judge(told(JobState.FAILED), HEARD, doubt, 70.0).state is JobState.RUNNING
    assert doubt.looks == 1


def test_a_provider_is_not_believed_sooner_than_its_own_silence():
    assert witness.SECONDS >= 60
    assert witness.LOOKS >= 3
