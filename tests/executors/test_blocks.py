from __future__ import annotations

import pytest

from parsl.executors.blocks import Block
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus


@pytest.mark.parametrize("state", JobState)
def test_a_block_is_live_while_it_has_a_job_that_has_not_ended(state):
    assert Block("job", JobStatus(state)).live == (state not in TERMINAL_STATES)
    assert not Block(None, JobStatus(state)).live


def test_a_block_without_a_job_is_being_submitted():
    assert Block(None, JobStatus(JobState.PENDING)).submitting
    assert not Block("job", JobStatus(JobState.PENDING)).submitting
